"""What a stack of SAEs sees, batch by batch: the rows of each member, canonical and moved."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch

from orbitlens.training._data import HeldData, StreamedData, around_of, squared_deviations
from orbitlens.training.member import Member
from orbitlens.training.views import Batch
from orbitlens.typing import Float, Int, StackedActivations, Tensor

Found = tuple[Float[Tensor, "_ dim"], Int[Tensor, " batch"]]


class Feed(ABC):
    """The interface: the batches of a stack, one epoch after the other."""

    @abstractmethod
    def start_epoch(self, epoch: int) -> None:
        """Draw what an epoch is made of; its number counts from 0."""

    @abstractmethod
    def batch(self, number: int) -> Batch:
        """Return a batch of the epoch, which come in their order."""

    def note(self, targets: StackedActivations) -> None:
        """Look at the targets of a batch, shape [member, batch, dim], while they are in cache."""
        del targets

    @abstractmethod
    def variance(self) -> Float[Tensor, " member"]:
        """Sum of the targets' squared distances from their mean over the whole epoch, float64."""

    def state(self) -> dict[str, Tensor]:
        """Return what a later `restore` needs to go on within the epoch."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on, after `start_epoch`, as if the batches so far had been seen."""
        del state


def feed_of(members: Sequence[Member], batch_size: int, *, moved: bool) -> Feed:
    """Return the feed of a stack.

    Args:
        members: Its members, whose data are all held or all streamed.
        batch_size: Orbits per step.
        moved: Whether the moved samples are the targets, rather than the canonical ones.
    """
    build = StreamedFeed if isinstance(members[0].data, StreamedData) else HeldFeed
    return build(members, batch_size, moved=moved)


@final
class HeldFeed(Feed):
    """Batches of data in memory: each member draws its own from its own generator."""

    def __init__(self, members: Sequence[Member], batch_size: int, *, moved: bool) -> None:
        self._members, self._batch_size, self._target_moves = members, batch_size, moved
        held = list({id(m.data): m.data for m in members if isinstance(m.data, HeldData)}.values())
        ends = np.cumsum([len(data.rows) for data in held])
        starts = {id(d): int(end) - len(d.rows) for d, end in zip(held, ends, strict=True)}
        self._starts = [starts[id(member.data)] for member in members]
        self._rows = _joined([data.rows for data in held])
        self._deviations = _joined([data.squared_deviations(moved=moved) for data in held])
        self._coordinates, self._shift = self._in_coordinates()

    @torch.no_grad()
    def _in_coordinates(
        self,
    ) -> tuple[Float[Tensor, "coordinate_rows dim"] | None, Int[Tensor, "member 1"] | None]:
        """Turn activations into the members' coordinates once, not batch by batch in every step."""
        if not self._members[0].sae.dictionary.has_coordinates:
            return None, None
        parts: list[tuple[Member, Tensor]] = []
        starts: list[int] = []
        for member in self._members:
            known = [own for own, _ in parts]
            place = next((i for i, own in enumerate(known) if _shares(member, own)), len(parts))
            if place == len(parts) and isinstance(member.data, HeldData):
                rows = member.sae.dictionary.coordinates(member.data.rows)
                parts.append((member, rows))
            starts.append(sum(len(rows) for _, rows in parts[:place]))
        shift = torch.tensor(starts) - torch.tensor(self._starts)
        return _joined([rows for _, rows in parts]), shift[:, None].to(self._rows.device)

    def start_epoch(self, epoch: int) -> None:
        """Draw order and elements of every member from its own generator."""
        del epoch
        canonical, moved = [], []
        for member, start in zip(self._members, self._starts, strict=True):
            data, generator = member.data, member.generator
            first = start + torch.randperm(data.n, generator=generator) * data.order
            canonical.append(first)
            moved.append(first + torch.randint(data.order, (data.n,), generator=generator))
        device = self._rows.device
        self._canonical = torch.stack(canonical).to(device)
        self._moved = torch.stack(moved).to(device)

    def batch(self, number: int) -> Batch:
        """Return a batch of rows, of which each member sees its own."""
        own = slice(number * self._batch_size, (number + 1) * self._batch_size)
        return Batch(
            self._rows,
            self._canonical[:, own],
            self._moved[:, own],
            self._members[0].data.order,
            self._coordinates,
            self._shift,
        )

    def variance(self) -> Float[Tensor, " member"]:
        """Sum over the targets of the epoch, which are known before it begins."""
        return self._deviations[self._moved if self._target_moves else self._canonical].sum(-1)


@final
class StreamedFeed(Feed):
    """Batches read from disk, shared by all members of a store; each draws its own elements."""

    def __init__(self, members: Sequence[Member], batch_size: int, *, moved: bool) -> None:
        del batch_size  # that of the readers
        self._members, self._target_moves = members, moved
        streamed = {id(m.data): m.data for m in members if isinstance(m.data, StreamedData)}
        self._data = list(streamed.values())
        self._own = [list(streamed).index(id(member.data)) for member in members]
        self._epoch = 0
        device = members[0].sae.b_dec.device
        self._variance = torch.zeros(len(members), dtype=torch.float64, device=device)

    def start_epoch(self, epoch: int) -> None:
        """Begin to count anew."""
        self._epoch, self._variance = epoch, torch.zeros_like(self._variance)

    def batch(self, number: int) -> Batch:
        """Read a batch, and draw the elements of each member from its seed and the two numbers."""
        found = [data.batch(self._epoch, number) for data in self._data]
        if len(found) > 1:
            found = self._side_by_side(found)
        order, device = self._members[0].data.order, found[0][0].device
        canonical = torch.stack([found[own][1] for own in self._own])
        elements = [self._elements(member, number, canonical.shape[1]) for member in self._members]
        moved = canonical + torch.stack(elements).to(device)
        return Batch(found[0][0], canonical, moved, order)

    def _side_by_side(self, found: Sequence[Found]) -> list[Found]:
        """Copy the orbits of each batch alone into rows that all members share."""
        order = self._members[0].data.order
        elements = torch.arange(order, device=found[0][0].device)
        rows = torch.cat([rows[first[:, None] + elements].flatten(0, 1) for rows, first in found])
        firsts = torch.arange(0, len(rows), order, device=rows.device).chunk(len(found))
        return [(rows, first) for first in firsts]

    def _elements(self, member: Member, number: int, count: int) -> Int[Tensor, " batch"]:
        key = np.random.SeedSequence(member.seed, spawn_key=(self._epoch, number))
        generator = torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
        return torch.randint(member.data.order, (count,), generator=generator)

    def note(self, targets: StackedActivations) -> None:
        """Add their squared distances from the mean to the sum."""
        means = [around_of(m.data.orbit_mean, moved=self._target_moves) for m in self._members]
        sums = [
            squared_deviations(own, mean).sum() for own, mean in zip(targets, means, strict=True)
        ]
        self._variance = self._variance + torch.stack(sums)

    def variance(self) -> Float[Tensor, " member"]:
        """Sum over the targets of the batches that were read."""
        return self._variance

    def state(self) -> dict[str, Tensor]:
        """Return the sum so far; everything else follows from the number of the batch."""
        return {"variance": self._variance}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up the sum."""
        self._variance = state["variance"].to(self._variance)


def _shares(member: Member, other: Member) -> bool:
    """Whether two members see the same activations in the same coordinates."""
    own, others = member.sae.dictionary, other.sae.dictionary
    return member.data is other.data and own.shares_coordinates(others)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate; one part alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
