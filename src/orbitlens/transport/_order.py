"""Are the orbits of a store in the order of the group's elements?"""

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.typing import Int, Matrices, Tensor

_ROWS_PER_DIM = 8
_PREDICTED = 0.9
_APART = 0.5


def check_element_order(store: ActivationStore, train: Int[ndarray, " n"]) -> None:
    """Raise if every element has a matrix of its own, but they multiply as another order would.

    M(g) = argmin ||psi(gx) - M psi(x)||^2 over x;   M(g) M(h) should be nearest to M(gh)

    Where some M(g) explains less than 0.9 of its target, nothing is known and nothing is raised.

    Args:
        store: Activations of orbits.
        train: Samples to look at, shape [n].

    Raises:
        OrbitLensError: Naming the elements whose product is another one than the group's.
    """
    group = store.group
    orbits = _some_orbits(store, train)
    matrices = _from_canonical(orbits)
    if matrices is None:
        return
    for g in range(group.order):
        products = orbits[:, 0] @ (matrices[g] @ matrices).mT  # [h, rows, dim]
        for h in range(group.order):
            distance = (products[h][:, None] - orbits).square().sum((0, 2))
            nearest, due = int(distance.argmin()), group.multiply(g, h)
            if distance[nearest] < _APART * distance[due]:
                names = group.element_names
                raise OrbitLensError(
                    f"order of the elements of {group.name} in the store",
                    expected=f"[:, {g}] after [:, {h}] to move as [:, {due}], {names[due]}",
                    received=f"activations that move as [:, {nearest}] instead",
                    remedy=f"put the orbits in the order {', '.join(names)}",
                )


def _some_orbits(store: ActivationStore, train: Int[ndarray, " n"]) -> Tensor:
    """Read a few times as many rows as there are dimensions, in float64."""
    samples = -(-_ROWS_PER_DIM * store.dim // store.positions)
    return store.orbits(train[:samples]).double()


def _from_canonical(orbits: Tensor) -> Matrices | None:
    """Fit one matrix per element by least squares; None if one of them predicts badly."""
    start, moved = orbits[:, 0], orbits.transpose(0, 1)
    if len(start) < 2 * start.shape[1]:
        return None
    found = (torch.linalg.pinv(start) @ moved).mT
    residual = (moved - start @ found.mT).square().sum((1, 2))
    total = (orbits - orbits.mean(0)).square().sum((0, 2))
    return found if bool((residual <= (1 - _PREDICTED) * total).all()) else None
