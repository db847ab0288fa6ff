"""Searches for the largest pre-activations, or all positive ones, which arrive block by block."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch

from orbitlens.kernels import _cpu as cpu
from orbitlens.kernels._choice import kernels_for
from orbitlens.kernels._largest import RunningLargest, largest
from orbitlens.kernels._pattern import Pattern, starts_of
from orbitlens.typing import Bool, Float, Int, Tensor

Found = tuple[Float[Tensor, " entries"], Pattern]


class Block(NamedTuple):
    """Pre-activations from the first sample and latent on; `biases` are not added yet, or None."""

    pre: Float[Tensor, "member rows columns"]
    sample: int
    latent: int
    biases: Float[Tensor, "member columns"] | None = None

    def among(self, chosen: Bool[Tensor, "member latents"]) -> "Block":
        """Return the block with all other latents at minus infinity."""
        others = ~chosen[:, self.latent : self.latent + self.pre.shape[-1]]
        if self.biases is None:
            return self._replace(pre=self.pre.masked_fill(others[:, None], -torch.inf))
        return self._replace(biases=self.biases.masked_fill(others, -torch.inf))


class _Search(ABC):
    """The interface: searches block after block."""

    adds_biases = False
    """Whether it adds the biases of a block itself."""

    @abstractmethod
    def add(self, block: Block) -> None:
        """Search a block."""

    @abstractmethod
    def finish(self) -> Found:
        """Return the values found and their places in the codes of the stack."""


def per_sample(
    like: Tensor, shape: tuple[int, int, int], *, k: int, width: int, ordered: bool
) -> _Search:
    """Return a search for the k largest pre-activations of every sample, of either sign.

    `shape` is that of a stack: members, samples, latents. `width` is the number of latents of a
    block. The search takes blocks with `add` and returns the entries with `finish`; `ordered` puts
    those of a sample in the order of their latents.
    """
    if _compiled(like, shape) and cpu.searches(width, k):
        return _PerSampleCompiled(k, shape[-1])
    return _PerSample(k, shape[-1], ordered=ordered)


def per_batch(like: Tensor, shape: tuple[int, int, int], *, k: int) -> _Search:
    """Return a search for the k * batch largest positive pre-activations of each member's batch.

    It takes blocks with `add` and returns the entries with `finish`, see `per_sample`.
    """
    if like.is_cuda:
        return _PerBatchSized(k, *shape)
    return _PerBatch(k, *shape, compiled=_compiled(like, shape))


def every_positive(shape: tuple[int, int, int]) -> _Search:
    """Return a search for all positive pre-activations, however many; see `per_sample`.

    Their number is known after the search alone, so on a GPU the host waits for it.
    """
    return _EveryPositive(*shape)


def _compiled(like: Tensor, shape: tuple[int, int, int]) -> bool:
    """Whether to search so many numbers by a compiled loop."""
    return like.is_cpu and kernels_for(like, math.prod(shape)) is not None


@final
class _PerSample(_Search):
    """Find the k largest of every sample, by torch."""

    def __init__(self, k: int, latents: int, *, ordered: bool) -> None:
        self.k, self.latents, self.ordered = k, latents, ordered
        self._found: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def add(self, block: Block) -> None:
        values, columns = largest(block.pre, min(self.k, block.pre.shape[-1]))
        self._found.setdefault(block.sample, []).append((values, columns + block.latent))

    def finish(self) -> Found:
        kept = [self._merge(parts) for parts in self._found.values()]
        values, places = (torch.cat(parts, dim=1) for parts in zip(*kept, strict=True))
        if self.ordered:
            places, order = places.sort(-1)
            values = values.gather(-1, order)
        return _entries(values, places, self.latents)

    def _merge(self, parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if len(parts) == 1:
            return parts[0]
        values, places = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
        best, order = largest(values, self.k)
        return best, places.gather(-1, order)


@final
class _PerSampleCompiled(_Search):
    """Find the k largest of every sample, by a loop that updates them with each block."""

    adds_biases = True

    def __init__(self, k: int, latents: int) -> None:
        self.k, self.latents = k, latents
        self._found: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, block: Block) -> None:
        pre, shape = block.pre, (*block.pre.shape[:2], self.k)
        if block.sample not in self._found:
            places = torch.empty(shape, dtype=torch.long)
            self._found[block.sample] = torch.empty(shape), places
        found = [part.flatten(0, 1) for part in self._found[block.sample]]
        biases = torch.zeros(1, pre.shape[-1]) if block.biases is None else block.biases
        cpu.keep_largest(pre.flatten(0, 1), biases, *found, first=block.latent)

    def finish(self) -> Found:
        values, places = (
            torch.cat(parts, dim=1) for parts in zip(*self._found.values(), strict=True)
        )
        return _entries(values, places, self.latents)


def _entries(
    values: Float[Tensor, "member batch k"], places: Int[Tensor, "member batch k"], latents: int
) -> Found:
    """Lay out k entries of each sample as entries of a stack."""
    members, batch, k = values.shape
    offset = latents * torch.arange(members, device=places.device)
    columns = (places + offset[:, None, None]).flatten()
    starts = torch.arange(0, members * batch * k + 1, k, device=places.device)
    return values.flatten(), Pattern(starts, columns, members * latents)


@final
class _PerBatch(_Search):
    """Find the k * batch largest positive ones of every member's batch.

    The compiled loop, which finds numbers above a floor, adds the biases itself.
    """

    def __init__(
        self, k: int, members: int, batch: int, latents: int, *, compiled: bool = False
    ) -> None:
        self.batch, self.latents, self.adds_biases = batch, latents, compiled
        self._running = [RunningLargest(k * batch) for _ in range(members)]

    def add(self, block: Block) -> None:
        first = block.sample * self.latents + block.latent
        for member, (pre, running) in enumerate(zip(block.pre, self._running, strict=True)):
            biases = None if block.biases is None else block.biases[member]
            if biases is None or running.floor == 0.0:
                pre = pre if biases is None else pre + biases
                running.add(pre, first=first, stride=self.latents)
            else:
                values, row, column = cpu.above(pre, biases, running.floor)
                running.take(values, first + row * self.latents + column)

    def finish(self) -> Found:
        found = [running.finish() for running in self._running]
        latents, members = self.latents, len(found)
        values = torch.cat([values for values, _ in found])
        rows = torch.cat([m * self.batch + at // latents for m, (_, at) in enumerate(found)])
        columns = torch.cat([m * latents + at % latents for m, (_, at) in enumerate(found)])
        return values, Pattern(starts_of(rows, members * self.batch), columns, members * latents)


@final
class _PerBatchSized(_Search):
    """Find the same as `_PerBatch`, filled up with other numbers where too few are positive.

    The number of entries is known beforehand, so the host does not wait for a GPU. A CPU never
    waits, and has less work with `_PerBatch`, which drops most blocks.
    """

    def __init__(self, k: int, members: int, batch: int, latents: int) -> None:
        del members
        self.budget, self.batch, self.latents = k * batch, batch, latents
        self._found: list[tuple[Tensor, Tensor]] = []

    def add(self, block: Block) -> None:
        width, pre = block.pre.shape[-1], block.pre.flatten(1)
        values, at = largest(pre, min(self.budget, pre.shape[-1]))
        first = block.sample * self.latents + block.latent
        self._found.append((values, first + at // width * self.latents + at % width))
        if len(self._found) > 1:
            values, places = (torch.cat(part, dim=-1) for part in zip(*self._found, strict=True))
            best, order = largest(values, min(self.budget, values.shape[-1]))
            self._found = [(best, places.gather(-1, order))]

    def finish(self) -> Found:
        ((values, places),) = self._found
        places, order = places.sort(-1)
        members, latents = len(places), self.latents
        member = torch.arange(members, device=places.device)[:, None]
        rows = (member * self.batch + places // latents).flatten()
        columns = (member * latents + places % latents).flatten()
        starts = starts_of(rows, members * self.batch)
        return values.gather(-1, order).flatten(), Pattern(starts, columns, members * latents)


@final
class _EveryPositive(_Search):
    """Find every positive one, sample after sample and latent after latent."""

    def __init__(self, members: int, batch: int, latents: int) -> None:
        self.height, self.batch, self.latents = members * batch, batch, latents
        self.members = members
        self._found: list[tuple[Tensor, Tensor]] = []

    def add(self, block: Block) -> None:
        member, row, column = (block.pre > 0).nonzero(as_tuple=True)
        sample = member * self.batch + block.sample + row
        places = sample * self.latents + block.latent + column
        self._found.append((block.pre[member, row, column], places))

    def finish(self) -> Found:
        values, places = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        if len(self._found) > 1:
            places, order = places.sort()
            values = values[order]
        rows, latent = places // self.latents, places % self.latents
        columns = rows // self.batch * self.latents + latent
        starts = starts_of(rows, self.height)
        return values, Pattern(starts, columns, self.members * self.latents)
