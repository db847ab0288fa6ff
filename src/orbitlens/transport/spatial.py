"""The transport of feature maps and token grids: places move, and a channel matrix acts on each."""

from collections.abc import Iterator

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.transport.exact import exact_of_moments
from orbitlens.transport.moments import CrossMoments, MomentSums
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor


def spatial(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Fit rho = (permutation of places) (x) (channel matrix), both representations of the group.

    psi(gx)[gp] = mu[gp] + M(g) (psi(x)[p] - mu[p])   for every place p of a map or grid
    psi(gx)[t]  = mu[t] + M_t(g) (psi(x)[t] - mu[t])  for every token t before the grid

    with the mean map mu over inputs and elements: patterns that a layer puts out for every input,
    such as position embeddings, say nothing of what the group does. Each M is an exact transport of
    its own. A map of 256 x 28 x 28 needs matrices of 256 x 256.

    Args:
        store: Activations with positions: maps or tokens harvested with positions="all".
        train: Samples to fit on, shape [n].

    Returns:
        M in float64, with the matrices of the tokens, the mean map, and where places move.

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
    first = tokens_before_places(store)
    kinds = [slice(first, None), *(slice(t, t + 1) for t in range(first))]
    sums = [MomentSums(store.group, store.dim) for _ in kinds]
    totals = torch.zeros(store.positions, store.group.order, store.dim, dtype=torch.float64)
    for orbits in grids(store, train):
        for kind, each in zip(kinds, sums, strict=True):
            each.update(orbits[:, kind].flatten(0, 1))
        totals += orbits.sum(0, dtype=torch.float64)
    mean = mean_map(totals / len(train), store.moves)
    aligned = at_moved_places(mean, store)
    fitted = [
        exact_of_moments(
            _about_mean(each.moments, totals[kind], aligned[kind], len(train), store.group),
            store.group,
            store.positions - first if kind.stop is None else 1,
        ).motion
        for kind, each in zip(kinds, sums, strict=True)
    ]
    return Motion(
        fitted[0].core,
        variable=fitted[0].variable,
        tokens=torch.stack([each.core for each in fitted[1:]]) if first else None,
        moves=store.moves,
        mean=mean,
    )


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


def _about_mean(
    moments: CrossMoments,
    totals: Float[Tensor, "position group dim"],
    mean: Float[Tensor, "position group dim"],
    n: int,
    group: Group,
) -> CrossMoments:
    """Turn moments about zero into moments about the mean map.

    With a = sum_x psi and m = mean, both at the moved place, sum_x (psi - m)(psi - m)^T is
    sum_x psi psi^T - a m^T - m a^T + n m m^T.
    """
    table = torch.from_numpy(group.table.copy())
    products = moments.products.clone()
    for g, product in enumerate(products):
        a, m = totals[:, table[g]], mean[:, table[g]]
        crossed = torch.einsum("phi,phj->ij", a - n * m, mean)
        product -= crossed + torch.einsum("phi,phj->ij", m, totals)
    return CrossMoments(products, torch.zeros_like(moments.total), moments.n)
