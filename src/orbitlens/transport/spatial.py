"""The transport of feature maps and token grids: places move, and one matrix acts on channels."""

from dataclasses import replace

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.transport._cost import check_cost
from orbitlens.transport._door import fits
from orbitlens.transport._moments import CrossMoments
from orbitlens.transport._token_kinds import KindSums, mean_map, move_mean, position_orbits
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor


@fits
def spatial(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Fit rho = (permutation of places) (x) (channel matrix), both representations of the group.

    psi(gx)[gp] = mu[gp] + M(g) (psi(x)[p] - mu[p])   for every place p of a map or grid
    psi(gx)[t]  = mu[t] + M_t(g) (psi(x)[t] - mu[t])  for every token t before the grid

    mu is the mean map over inputs and elements. A pattern that the layer puts out for every input,
    such as position embeddings, says nothing about the group, so mu removes it. Each M is an exact
    transport. A map of 256 x 28 x 28 needs matrices of 256 x 256.

    Args:
        store: Activations with positions: maps or tokens harvested with positions="all".
        train: Samples to fit on, shape [n].

    Returns:
        M in float64, with the matrices of the tokens, the mean map, and the moves of the places.

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
    check_cost(store, train)
    kinds = KindSums(store)
    totals = torch.zeros(store.positions, store.group.order, store.dim, dtype=torch.float64)
    for orbits in position_orbits(store, train):
        kinds.update(orbits)
        totals += orbits.sum(0, dtype=torch.float64)
    mean = mean_map(totals / len(train), store.moves)
    aligned = move_mean(mean, store)
    moments = [
        _about_mean(each, totals[own], aligned[own], len(train), store.group)
        for each, own in zip(kinds.moments, kinds.slices, strict=True)
    ]
    return replace(kinds.join(kinds.exact(moments)), mean=mean)


def _about_mean(
    moments: CrossMoments,
    totals: Float[Tensor, "position group dim"],
    mean: Float[Tensor, "position group dim"],
    n: int,
    group: Group,
) -> CrossMoments:
    """Convert moments about zero to moments about the mean map.

    sum_x (psi - m)(psi - m)^T = sum_x psi psi^T - a m^T - m a^T + n m m^T, with a = sum_x psi and
    m = mean, both at the moved place.
    """
    table = torch.from_numpy(group.table.copy())
    products = moments.products.clone()
    for g, product in enumerate(products):
        a, m = totals[:, table[g]], mean[:, table[g]]
        crossed = torch.einsum("phi,phj->ij", a - n * m, mean)
        product -= crossed + torch.einsum("phi,phj->ij", m, totals)
    return CrossMoments(products, torch.zeros_like(moments.total), moments.n)
