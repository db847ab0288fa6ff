"""Training data read from disk in shuffled buffers: members share orders, not elements."""

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.activations.store import OrbitBatches, Place
from orbitlens.training._data import Feed, TrainingData
from orbitlens.training._member import Member
from orbitlens.training._source import Source
from orbitlens.training._views import Batch
from orbitlens.typing import Float, Int, StackedActivations, Tensor

_Found = tuple[Float[Tensor, "_ dim"], Int[Tensor, " batch"]]


@final
class StreamedData(TrainingData):
    """Orbits on disk; buffers of `memory` bytes in all are on their way to a device."""

    depends_on_memory = True

    def __init__(
        self,
        stores: Sequence[ActivationStore],
        samples: Sequence[Int[np.ndarray, " n"]],
        device: torch.device,
        *,
        batch_size: int,
        memory: int,
        seed: int,
    ) -> None:
        share, pairs = memory // len(stores), zip(stores, samples, strict=True)
        readers = [Reader(store, own, device, batch_size, share, seed) for store, own in pairs]
        self._readers = {reader.source: reader for reader in readers}
        self.sources = list(self._readers)

    def every(self, source: Source, stride: int) -> Float[Tensor, "rows dim"]:
        """Return the scaled rows of every `stride`-th sample of a source."""
        return self._readers[source].every(stride)

    def make_feed(self, members: Sequence[Member], batch_size: int, *, moved: bool) -> Feed:
        """Return the batches of a stack; the readers know the batch size."""
        del batch_size
        return _StreamedFeed(self._readers, members, moved=moved)


@final
class Reader:
    """The orbits of one store in an order that depends on the seed, epoch by epoch."""

    def __init__(
        self,
        store: ActivationStore,
        samples: Int[np.ndarray, " n"],
        device: torch.device,
        batch_size: int,
        memory: int,
        seed: int,
    ) -> None:
        self._store, self._samples, self._device = store, samples, device
        self._batches = OrbitBatches(
            store, batch_size=batch_size, memory=memory, samples=samples, seed=seed
        )
        self.source = Source.of(self._batches.everything(), self._batches.n, device)
        self._batches.scale_(self.source.scale)
        self._at = (-1, -1)
        self._iterator: Iterator[Place] = iter(())
        self._present: _Found | None = None

    def batch(self, epoch: int, number: int) -> _Found:
        """Return scaled rows and the first row of each orbit of a batch; epochs count from 0.

        They are valid until another batch is requested. The next batch, or the same one again,
        costs least.
        """
        if self._present is None or self._at != (epoch, number):
            self._present = None  # its buffers make room for those of another epoch
            if self._at != (epoch, number - 1):
                self._iterator = self._batches.places(epoch, start=number)
            orbits, batch = next(self._iterator)
            if batch is not None and self._device.type != "cpu":  # send the batch, not the buffer
                orbits, batch = orbits.index_select(0, batch), None
            orbits = orbits.to(self._device, non_blocking=True)
            if batch is None:
                batch = torch.arange(len(orbits), device=self._device)
            self._present = orbits.flatten(0, 1), batch * self.source.order
            self._at = (epoch, number)
        return self._present

    def every(self, stride: int) -> Float[Tensor, "rows dim"]:
        """Return the scaled rows of every `stride`-th sample."""
        orbits = self._store.orbits(self._samples[::stride])
        return orbits.mul_(self.source.scale).flatten(0, 1).to(self._device)


@final
class _StreamedFeed(Feed):
    """Batches from disk, shared by all members of a store; each draws its own elements."""

    def __init__(
        self, readers: Mapping[Source, Reader], members: Sequence[Member], *, moved: bool
    ) -> None:
        self._members, self._target_moves = members, moved
        sources = list(dict.fromkeys(member.source for member in members))
        self._readers = [readers[source] for source in sources]
        self._own = [sources.index(member.source) for member in members]
        self._epoch = 0
        device = members[0].sae.b_dec.device
        self._variance = torch.zeros(len(members), dtype=torch.float64, device=device)

    def start_epoch(self, epoch: int) -> None:
        """Start the sum of an epoch at zero."""
        self._epoch, self._variance = epoch, torch.zeros_like(self._variance)

    def batch(self, number: int) -> Batch:
        """Read a batch, and draw the elements of each member from its seed and the two numbers."""
        found = [reader.batch(self._epoch, number) for reader in self._readers]
        order, device = self._members[0].source.order, found[0][0].device
        if len(found) > 1:
            found = _side_by_side(found, order)
        canonical = torch.stack([found[own][1] for own in self._own])
        elements = [self._elements(member, number, canonical.shape[1]) for member in self._members]
        moved = canonical + torch.stack(elements).to(device)
        return Batch(found[0][0], canonical, moved, order)

    def _elements(self, member: Member, number: int, count: int) -> Int[Tensor, " batch"]:
        key = np.random.SeedSequence(member.seed, spawn_key=(self._epoch, number))
        generator = torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
        return torch.randint(member.source.order, (count,), generator=generator)

    def note(self, targets: StackedActivations) -> None:
        """Add the targets' squared distances from the mean to the sum."""
        moved, pairs = self._target_moves, zip(self._members, targets, strict=True)
        sums = [member.source.squared_deviations(own, moved=moved).sum() for member, own in pairs]
        self._variance = self._variance + torch.stack(sums)

    def variance(self) -> Float[Tensor, " member"]:
        """Sum over the targets of the batches read so far."""
        return self._variance

    def state(self) -> dict[str, Tensor]:
        """Return the sum so far; the number of the batch determines everything else."""
        return {"variance": self._variance}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with this sum."""
        self._variance = state["variance"].to(self._variance)


def _side_by_side(found: Sequence[_Found], order: int) -> list[_Found]:
    """Copy the orbits of each batch into rows that all members share."""
    elements = torch.arange(order, device=found[0][0].device)
    rows = torch.cat([rows[first[:, None] + elements].flatten(0, 1) for rows, first in found])
    firsts = torch.arange(0, len(rows), order, device=rows.device).chunk(len(found))
    return [(rows, first) for first in firsts]
