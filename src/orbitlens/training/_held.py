"""Training data in memory: each member draws its own order and elements."""

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.training._data import Feed, TrainingData
from orbitlens.training._member import Member
from orbitlens.training._source import Source
from orbitlens.training._views import Batch
from orbitlens.typing import Float, Int, StackedActivations, Tensor

_PIECE = 2**24
"""Bytes that are read together."""


@final
class HeldData(TrainingData):
    """Orbits in memory on a device; row i * |G| + g of a store is its orbit i moved by g."""

    depends_on_memory = False

    def __init__(
        self,
        stores: Sequence[ActivationStore],
        samples: Sequence[Int[np.ndarray, " n"]],
        device: torch.device,
    ) -> None:
        pairs = zip(stores, samples, strict=True)
        self._rows = dict(_read(store, own, device) for store, own in pairs)
        self.sources = list(self._rows)

    def every(self, source: Source, stride: int) -> Float[Tensor, "rows dim"]:
        """Return the scaled rows of every `stride`-th orbit of a source."""
        orbits = self._rows[source].unflatten(0, (source.n, source.order))
        return orbits[::stride].flatten(0, 1)

    def make_feed(self, members: Sequence[Member], batch_size: int, *, moved: bool) -> Feed:
        """Return the batches of a stack."""
        return _HeldFeed(self._rows, members, batch_size, moved=moved)


def _read(
    store: ActivationStore, samples: Int[np.ndarray, " n"], device: torch.device
) -> tuple[Source, Float[Tensor, "rows dim"]]:
    """Read and scale the orbits of a store."""
    n, order = len(samples) * store.positions, store.group.order
    orbits = torch.empty(n, order, store.dim)
    end = 0
    for block in store.chunks(samples, _PIECE // (4 * order * store.dim)):
        orbits[end : end + len(block)] = block
        end += len(block)
    source = Source.of([orbits], n, device)
    return source, orbits.mul_(source.scale).flatten(0, 1).to(device)


@final
class _HeldFeed(Feed):
    """Batches of rows in memory; the rows of several stores are joined."""

    def __init__(
        self,
        rows: Mapping[Source, Float[Tensor, "_ dim"]],
        members: Sequence[Member],
        batch_size: int,
        *,
        moved: bool,
    ) -> None:
        self._members, self._batch_size, self._target_moves = members, batch_size, moved
        own = {member.source: rows[member.source] for member in members}
        ends = np.cumsum([len(part) for part in own.values()])
        starts = {
            source: int(end) - len(own[source]) for source, end in zip(own, ends, strict=True)
        }
        self._starts = [starts[member.source] for member in members]
        self._lengths = {source: len(part) for source, part in own.items()}
        self._rows = _join(list(own.values()))
        self._deviations = _join(
            [source.squared_deviations(part, moved=moved) for source, part in own.items()]
        )
        self._coordinates, self._shift = self._to_coordinates(own)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Convert the rows again: a checkpoint has the coordinates of the machine it began on."""
        del state
        starts = dict(zip((m.source for m in self._members), self._starts, strict=True))
        own = {
            source: self._rows[start : start + self._lengths[source]]
            for source, start in starts.items()
        }
        self._coordinates, self._shift = self._to_coordinates(own)

    @torch.no_grad()
    def _to_coordinates(
        self, rows: Mapping[Source, Tensor]
    ) -> tuple[Float[Tensor, "coordinate_rows dim"] | None, Int[Tensor, "member 1"] | None]:
        """Convert rows to the members' coordinates once, rather than in every step."""
        if not self._members[0].sae.dictionary.has_coordinates:
            return None, None
        parts: list[tuple[Member, Tensor]] = []
        starts: list[int] = []
        for member in self._members:
            known = [own for own, _ in parts]
            place = next((i for i, own in enumerate(known) if _shares(member, own)), len(parts))
            if place == len(parts):
                own = member.sae.dictionary.coordinates(rows[member.source])
                parts.append((member, own))
            starts.append(sum(len(own) for _, own in parts[:place]))
        shift = torch.tensor(starts) - torch.tensor(self._starts)
        return _join([own for _, own in parts]), shift[:, None].to(self._rows.device)

    def start_epoch(self, epoch: int) -> None:
        """Draw order and elements of every member from its own generator."""
        del epoch
        canonical, moved = [], []
        for member, start in zip(self._members, self._starts, strict=True):
            source, generator = member.source, member.generator
            first = start + torch.randperm(source.n, generator=generator) * source.order
            canonical.append(first)
            moved.append(first + torch.randint(source.order, (source.n,), generator=generator))
        device = self._rows.device
        self._canonical = torch.stack(canonical).to(device)
        self._moved = torch.stack(moved).to(device)

    def batch(self, number: int) -> Batch:
        """Return all rows and the places of each member's samples in them."""
        own = slice(number * self._batch_size, (number + 1) * self._batch_size)
        return Batch(
            self._rows,
            self._canonical[:, own],
            self._moved[:, own],
            self._members[0].source.order,
            self._coordinates,
            self._shift,
        )

    def note(self, targets: StackedActivations) -> None:
        """Do nothing: the deviations of all rows are known."""

    def variance(self) -> Float[Tensor, " member"]:
        """Sum over the targets of the epoch, which are known before it begins."""
        return self._deviations[self._moved if self._target_moves else self._canonical].sum(-1)


def _shares(member: Member, other: Member) -> bool:
    """Whether two members see the same activations in the same coordinates."""
    own, others = member.sae.dictionary, other.sae.dictionary
    return member.source is other.source and own.shares_coordinates(others)


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
