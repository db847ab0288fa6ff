"""The activations that SAEs are trained on: held in memory, or read as they are needed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import final

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.activations.store.shuffled_batches import OrbitBatches, Place
from orbitlens.metrics.reconstruction import squared_error
from orbitlens.typing import Float, Int, Orbits, Tensor

_CHUNK = 2**17
"""Numbers that are looked at at once, so that they stay in the processor's cache."""
_PIECE = 2**24
"""Bytes that are read at once."""


@dataclass(frozen=True)
class Statistics:
    """What training needs to know of all activations before it begins.

    Args:
        orbit_mean: The mean activation under each element, shape [|G|, dim], float64.
        scale: The factor that brings activations to a mean square of one about their mean.
    """

    orbit_mean: Float[Tensor, "group dim"]
    scale: float

    @classmethod
    def of(cls, blocks: Iterable[Orbits]) -> "Statistics":
        """Look at all activations once, in float64, block by block.

        Args:
            blocks: Orbits, each block [batch, |G|, dim]; at least one.

        Example:
            >>> Statistics.of([torch.tensor([[[1.0], [5.0]]])])
            Statistics(orbit_mean=tensor([[1.], [5.]], dtype=torch.float64), scale=0.5)
        """
        remaining = iter(blocks)
        first = next(remaining)
        # About a typical activation, so that small differences survive the squares.
        orbits = max(1, _CHUNK // first[0].numel())
        shift = first[:orbits].double().mean((0, 1))
        sums = torch.zeros(first.shape[1:], dtype=torch.float64)
        squares, power, count = 0.0, 0.0, 0
        for block in chain([first], remaining):
            for part in block.split(orbits):
                exact = part.double()
                power += float(exact.square().sum())
                exact -= shift
                sums += exact.sum(0)
                squares += float(exact.square().sum())
                count += len(part)
        mean = sums / count
        numbers = count * mean.numel()
        variance = squares / numbers - float(mean.mean(0).square().mean())
        deviation, size = math.sqrt(max(variance, 0.0)), math.sqrt(power / numbers)
        # Below this share of its size, a deviation is float32 rounding.
        scale = 1.0 / deviation if deviation > 1e-6 * size else 1.0
        return cls(mean + shift, scale)


def unit_scale(orbits: Orbits) -> float:
    """Return the factor that brings activations to a mean square of one about their mean.

    Args:
        orbits: Activations, shape [batch, group, dim].

    Returns:
        The factor; 1 for activations without variance.

    Example:
        >>> unit_scale(torch.tensor([[[1.0], [5.0]]]))
        0.5
    """
    return Statistics.of([orbits]).scale


class TrainingData(ABC):
    """The interface: the orbits of one store to train on, scaled.

    Attributes:
        n: Number of orbits.
        order: Rows of an orbit, |G|.
        scale: What activations are multiplied with.
        orbit_mean: The mean scaled activation under each element, shape [|G|, dim].
    """

    n: int
    order: int
    scale: float
    orbit_mean: Float[Tensor, "group dim"]

    @abstractmethod
    def every(self, stride: int) -> Float[Tensor, "rows dim"]:
        """Return the scaled rows of about every `stride`-th orbit."""


@final
class HeldData(TrainingData):
    """Orbits in memory: `rows[i * order + g]` is orbit i moved by g, scaled.

    Args:
        store: Where they come from.
        samples: Samples to train on, shape [n].
        device: Where the rows are kept.
    """

    def __init__(
        self, store: ActivationStore, samples: Int[np.ndarray, " n"], device: torch.device
    ) -> None:
        self.n, self.order = len(samples) * store.positions, store.group.order
        orbits = torch.empty(self.n, self.order, store.dim)
        end = 0
        for block in store.chunks(samples, _PIECE // (4 * self.order * store.dim)):
            orbits[end : end + len(block)] = block
            end += len(block)
        known = Statistics.of([orbits])
        self.scale = known.scale
        self.orbit_mean = (known.orbit_mean * known.scale).float().to(device)
        self.rows = orbits.mul_(known.scale).flatten(0, 1).to(device)

    def every(self, stride: int) -> Float[Tensor, "rows dim"]:
        """Return the scaled rows of every `stride`-th orbit."""
        return self.rows.unflatten(0, (self.n, self.order))[::stride].flatten(0, 1)

    def squared_deviations(self, *, moved: bool) -> Float[Tensor, " rows"]:
        """Squared distance of every row from the mean of all rows, or of the canonical ones."""
        around = around_of(self.orbit_mean, moved=moved)
        return squared_deviations(self.rows, around)


@final
class StreamedData(TrainingData):
    """Orbits on disk, of which a part is in memory at a time.

    Args:
        store: Where they come from.
        samples: Samples to train on, shape [n].
        device: Where batches go.
        batch_size: Orbits per step.
        memory: Budget in bytes.
        seed: Seed of the order.
    """

    def __init__(
        self,
        store: ActivationStore,
        samples: Int[np.ndarray, " n"],
        device: torch.device,
        *,
        batch_size: int,
        memory: int,
        seed: int,
    ) -> None:
        self.batches = OrbitBatches(
            store, batch_size=batch_size, memory=memory, samples=samples, seed=seed
        )
        self.n, self.order = self.batches.n, store.group.order
        known = Statistics.of(self.batches.everything())
        self.scale = known.scale
        self.batches.scale_(known.scale)
        self.orbit_mean = (known.orbit_mean * known.scale).float().to(device)
        self._store, self._samples, self._device = store, samples, device
        self._at = (-1, -1)
        self._iterator: Iterator[Place] = iter(())
        self._present: tuple[Float[Tensor, "rows dim"], Int[Tensor, " batch"]] | None = None

    def batch(
        self, epoch: int, number: int
    ) -> tuple[Float[Tensor, "rows dim"], Int[Tensor, " batch"]]:
        """Return where a batch lies; the next one, or the same again, costs least.

        Args:
            epoch: Number of the epoch, from 0.
            number: Number of the batch in it, from 0.

        Returns:
            Scaled rows, among others those of the batch, an orbit in successive ones; and the first
            row of each orbit of the batch. Until another batch is asked for.
        """
        if self._present is None or self._at != (epoch, number):
            self._present = None  # its buffers make room for those of another epoch
            if self._at != (epoch, number - 1):
                self._iterator = self.batches.places(epoch, start=number)
            orbits, batch = next(self._iterator)
            if batch is not None and self._device.type != "cpu":  # a whole buffer is not sent there
                orbits, batch = orbits.index_select(0, batch), None
            orbits = orbits.to(self._device, non_blocking=True)
            if batch is None:
                batch = torch.arange(len(orbits), device=self._device)
            self._present = orbits.flatten(0, 1), batch * self.order
            self._at = (epoch, number)
        return self._present

    def every(self, stride: int) -> Float[Tensor, "rows dim"]:
        """Return the scaled rows of every `stride`-th sample."""
        orbits = self._store.orbits(self._samples[::stride])
        return orbits.mul_(self.scale).flatten(0, 1).to(self._device)


def squared_deviations(
    rows: Float[Tensor, "rows dim"], around: Float[Tensor, " dim"]
) -> Float[Tensor, " rows"]:
    """Return the squared distance of every row from a point, float64."""
    parts = rows.split(max(1, _CHUNK // len(around)))
    return torch.cat([squared_error(part, around.expand_as(part)).double() for part in parts])


def around_of(orbit_mean: Float[Tensor, "group dim"], *, moved: bool) -> Float[Tensor, " dim"]:
    """Return the mean of all activations, or of the canonical ones, shape [dim]."""
    return orbit_mean.mean(0) if moved else orbit_mean[0]
