"""The kinds of positions of a store: places that the group moves, and tokens that stay."""

from collections.abc import Iterator
from typing import final

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.groups import Group
from orbitlens.transport.exact import ExactFit, exact_of_moments
from orbitlens.transport.least_squares import least_squares_of_moments
from orbitlens.transport.moments import CrossMoments, MomentSums
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor


@final
class KindSums:
    """Moments of places, all together, and of each token before them, as orbits come.

    Args:
        store: Where the orbits come from.
        others: Groups of the same order that the same orbits are read under, as controls.
    """

    def __init__(self, store: ActivationStore, *others: Group) -> None:
        self._groups, self._moves = (store.group, *others), store.moves
        self._subject = f"layer {store.layer!r}"
        first = tokens_before_places(store)
        self.slices = [slice(first, store.positions), *(slice(t, t + 1) for t in range(first))]
        self._sums = [MomentSums(store.group, store.dim, *others) for _ in self.slices]

    def update(self, orbits: Float[Tensor, "n position group dim"]) -> None:
        """Add the orbits of some inputs, all of their positions."""
        for own, sums in zip(self.slices, self._sums, strict=True):
            sums.update(orbits[:, own].flatten(0, 1))

    @property
    def moments(self) -> list[CrossMoments]:
        """Of places, then of the tokens."""
        return [sums.moments for sums in self._sums]

    @property
    def autocorrelation(self) -> Float[Tensor, " group"]:
        """Of everything."""
        return torch.stack([each.autocorrelation for each in self.moments]).sum(0)

    def exact(self, moments: list[CrossMoments] | None = None) -> list[ExactFit]:
        """Fit the exact transport, of places and then of the tokens.

        Args:
            moments: Moments to fit to in the stead of those that were summed, one for each kind.
        """
        pairs = zip(moments or self.moments, self.slices, strict=True)
        return [
            exact_of_moments(each, self._groups[0], own.stop - own.start, subject=self._subject)
            for each, own in pairs
        ]

    def control(self, fits: list[ExactFit], reading: int = 0) -> Motion:
        """Fit the exact transport to what these orbits are, as others were fitted."""
        pairs = zip(self._sums, fits, strict=True)
        group = self._groups[reading]
        return self.joined(
            [
                exact_of_moments(sums.moments_under(reading), group, mean_fixed=fit.mean_fixed)
                for sums, fit in pairs
            ]
        )

    def unconstrained(self) -> Motion:
        """Fit by least squares."""
        return self._joined([least_squares_of_moments(moments) for moments in self.moments])

    def joined(self, fits: list[ExactFit]) -> Motion:
        """Put the motions of places and tokens together."""
        return self._joined([fit.motion for fit in fits])

    def _joined(self, motions: list[Motion]) -> Motion:
        places, *tokens = motions
        cores = torch.stack([each.core for each in tokens]) if tokens else None
        return Motion(places.core, places.variable, tokens=cores, moves=self._moves)


def grids(
    store: ActivationStore, samples: Int[ndarray, " n"]
) -> Iterator[Float[Tensor, "n position group dim"]]:
    """Yield the orbits of some samples with their positions: [n, p, g] is psi(gx) at gp."""
    for rows in store.chunks(samples):
        yield rows.unflatten(0, (-1, store.positions))


def mean_map(
    means: Float[Tensor, "position group dim"], moves: Int[ndarray, "group position"] | None
) -> Float[Tensor, "position dim"]:
    """Return the mean over the group at each position, from means that follow the positions.

    Args:
        means: Entry [p, g] is the mean of psi(gx) at gp over inputs.
        moves: `moves[g, p]` is gp; None where positions stay.

    Returns:
        The mean at each position, shape [positions, dim].

    Example:
        >>> import numpy as np
        >>> swap = np.array([[0, 1], [1, 0]])
        >>> mean_map(torch.tensor([[[1.0], [4.0]], [[2.0], [3.0]]]), swap).flatten().tolist()
        [2.0, 3.0]
    """
    if moves is None:
        return means.mean(1)
    found = torch.zeros_like(means[:, 0])
    for g, places in enumerate(moves):
        found[torch.from_numpy(places)] += means[:, g]
    return found / len(moves)


def at_moved_places(
    mean: Float[Tensor, "position dim"], store: ActivationStore
) -> Float[Tensor, "position group dim"]:
    """Return the mean map where each element takes each position: entry [p, g] is mean[gp]."""
    if store.moves is None:
        return mean[:, None].expand(-1, store.group.order, -1)
    return mean[torch.from_numpy(store.moves.T.copy())]


def tokens_before_places(store: ActivationStore) -> int:
    """Count the leading positions that no element moves: class token and registers.

    Args:
        store: Activations; those without positions, and grids of which nothing moves, have none.

    Returns:
        Their number.

    Example:
        >>> import numpy as np
        >>> from dataclasses import replace
        >>> from orbitlens.activations import store_from_array
        >>> from orbitlens.groups import cyclic
        >>> grid = store_from_array(np.zeros((2, 2, 3, 1), np.float32), group=cyclic(2))
        >>> tokens_before_places(replace(grid, moves=np.array([[0, 1, 2], [0, 2, 1]])))
        1
    """
    if store.moves is None:
        return 0
    moving = (store.moves != store.moves[0]).any(axis=0)
    return int(moving.argmax())
