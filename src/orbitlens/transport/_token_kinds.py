"""Positions of a store by kind: places that the group moves, and tokens that stay."""

from collections.abc import Iterator
from typing import final

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.groups import Group
from orbitlens.transport._moments import (
    CrossMoments,
    ExactFit,
    MomentSums,
    exact_from_moments,
    least_squares_from_moments,
)
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor


@final
class KindSums:
    """Cross-moments of all places together, and of each token before them.

    `others` are groups of the same order for controls, as for `MomentSums`.
    """

    def __init__(self, store: ActivationStore, *others: Group) -> None:
        self._groups, self._moves = (store.group, *others), store.moves
        self._subject = f"layer {store.layer!r}"
        first = tokens_before_places(store)
        self.slices = [slice(first, store.positions), *(slice(t, t + 1) for t in range(first))]
        self._sums = [MomentSums(store.group, store.dim, *others) for _ in self.slices]

    def update(self, orbits: Float[Tensor, "n position group dim"]) -> None:
        """Add the orbits of some inputs, with all positions."""
        for own, sums in zip(self.slices, self._sums, strict=True):
            sums.update(orbits[:, own].flatten(0, 1))

    @property
    def moments(self) -> list[CrossMoments]:
        """The moments of the places, then of each token."""
        return [sums.moments for sums in self._sums]

    @property
    def autocorrelation(self) -> Float[Tensor, " group"]:
        """The sum of the autocorrelations of all kinds."""
        return torch.stack([each.autocorrelation for each in self.moments]).sum(0)

    def exact(self, moments: list[CrossMoments] | None = None) -> list[ExactFit]:
        """Fit an exact transport to each kind, or to `moments` given one for each kind."""
        pairs = zip(moments or self.moments, self.slices, strict=True)
        return [
            exact_from_moments(each, self._groups[0], own.stop - own.start, subject=self._subject)
            for each, own in pairs
        ]

    def control(self, fits: list[ExactFit], reading: int = 0) -> Motion:
        """Fit each kind under one of the groups, with the mean fixed or free as in `fits`."""
        pairs = zip(self._sums, fits, strict=True)
        group = self._groups[reading]
        found = [
            exact_from_moments(sums.moments_under(reading), group, mean_fixed=fit.mean_fixed)
            for sums, fit in pairs
        ]
        return self.join(found)

    def unconstrained(self) -> Motion:
        """Fit each kind by least squares."""
        return self._join([least_squares_from_moments(moments) for moments in self.moments])

    def join(self, fits: list[ExactFit]) -> Motion:
        """Combine the fits of places and tokens into one motion."""
        return self._join([fit.motion for fit in fits])

    def _join(self, motions: list[Motion]) -> Motion:
        places, *tokens = motions
        cores = torch.stack([each.core for each in tokens]) if tokens else None
        return Motion(places.core, places.variable, tokens=cores, moves=self._moves)


def position_orbits(
    store: ActivationStore, samples: Int[ndarray, " n"]
) -> Iterator[Float[Tensor, "n position group dim"]]:
    """Yield the orbits of some samples with their positions: [n, p, g] is psi(gx) at gp."""
    for rows in store.chunks(samples):
        yield rows.unflatten(0, (-1, store.positions))


def mean_map(
    means: Float[Tensor, "position group dim"], moves: Int[ndarray, "group position"] | None
) -> Float[Tensor, "position dim"]:
    """Return the mean over the group at each position: `means[p, g]` is the mean of psi(gx) at gp.

    `moves[g, p]` is gp, or None if positions stay.
    """
    if moves is None:
        return means.mean(1)
    found = torch.zeros_like(means[:, 0])
    for g, places in enumerate(moves):
        found[torch.from_numpy(places)] += means[:, g]
    return found / len(moves)


def move_mean(
    mean: Float[Tensor, "position dim"], store: ActivationStore
) -> Float[Tensor, "position group dim"]:
    """Return the mean map at moved positions: entry [p, g] is mean[gp]."""
    if store.moves is None:
        return mean[:, None].expand(-1, store.group.order, -1)
    return mean[torch.from_numpy(store.moves.T.copy())]


def tokens_before_places(store: ActivationStore) -> int:
    """Count the leading positions that no element moves (class token, registers).

    0 if the store has no positions, or if none of them moves.
    """
    if store.moves is None:
        return 0
    moving = (store.moves != store.moves[0]).any(axis=0)
    return int(moving.argmax())
