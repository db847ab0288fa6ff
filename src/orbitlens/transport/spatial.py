"""The transport of feature maps and token grids: places move, and a channel matrix acts on each."""

from collections.abc import Iterator

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.transport.exact import exact_of_moments
from orbitlens.transport.moments import CrossMoments, MomentSums
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor


def spatial(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Fit rho = (permutation of places) (x) (channel matrix), both representations of the group.

    psi(gx)[g p] = M(g) psi(x)[p]   for every place p of a map or grid
    psi(gx)[t]   = M_t(g) psi(x)[t] for every token t before the grid: class token, registers

    Each M is an exact transport of its own. A map of 256 x 28 x 28 needs matrices of 256 x 256.

    Args:
        store: Activations with positions: maps or tokens harvested with positions="all".
        train: Samples to fit on, shape [n].

    Returns:
        M in float64, with the matrices of the tokens and where places move.

    Raises:
        OrbitLensError: If the store has no positions, or too few samples.
    """
    if store.positions == 1:
        raise OrbitLensError(
            "`spatial` on a store of vectors",
            expected="feature maps or token grids, more than one position for each input",
            received=f"{store}",
            remedy='harvest with positions="all", or fit the transport "exact"',
        )
    places, tokens = spatial_moments(store, train)
    motion = exact_of_moments(places, store.group, store.positions - len(tokens)).motion
    fitted = [exact_of_moments(each, store.group).motion for each in tokens]
    return Motion(
        motion.core,
        variable=motion.variable,
        tokens=torch.stack([each.core for each in fitted]) if fitted else None,
        moves=store.moves,
    )


def spatial_moments(
    store: ActivationStore, train: Int[ndarray, " n"]
) -> tuple[CrossMoments, list[CrossMoments]]:
    """Sum the cross-moments of all places together, and of each token before them alone.

    Args:
        store: Activations with positions.
        train: Samples to read, shape [n].

    Returns:
        The moments of the places, and those of the tokens.
    """
    n_tokens = tokens_before_places(store)
    places = MomentSums(store.group, store.dim)
    tokens = [MomentSums(store.group, store.dim) for _ in range(n_tokens)]
    for grids in _grids(store, train):
        places.update(grids[:, n_tokens:].flatten(0, 1))
        for position, sums in enumerate(tokens):
            sums.update(grids[:, position])
    return places.moments, [sums.moments for sums in tokens]


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


def _grids(
    store: ActivationStore, train: Int[ndarray, " n"]
) -> Iterator[Float[Tensor, "n position group dim"]]:
    for rows in store.chunks(train):
        yield rows.unflatten(0, (-1, store.positions))
