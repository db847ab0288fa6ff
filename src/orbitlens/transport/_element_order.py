"""Orbits whose elements are in another order than those of their group."""

from typing import NamedTuple

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError, warn
from orbitlens.typing import Int, Matrices, Tensor

_ROWS_PER_DIM = 8
_FEWEST_ROWS_PER_DIM = 2
_MOST_NUMBERS = 2**25
_PREDICTED = 0.9
_APART = 0.5
_FAR = 0.1


class _Other(NamedTuple):
    """[:, g] after [:, h] moves as [:, nearest], where [:, due] is their product."""

    g: int
    h: int
    nearest: int
    due: int


def check_element_order(store: ActivationStore, train: Int[ndarray, " n"]) -> None:
    """Raise if the orbits of a store are in another order than its group."""
    found = _another_order(store, train)
    if found is not None:
        names = store.group.element_names
        raise OrbitLensError(
            f"order of the elements of {store.group.name} in the store",
            expected=f"[:, {found.g}] after [:, {found.h}] to move as [:, {found.due}], "
            f"{names[found.due]}",
            received=f"activations that move as [:, {found.nearest}] instead",
            remedy=f"put the orbits in the order {', '.join(names)}",
        )


def warn_of_element_order(store: ActivationStore, train: Int[ndarray, " n"]) -> None:
    """Warn if an array was given whose elements seem to be in another order.

    An order that an automorphism of the group makes, such as turns the other way round, obeys the
    same product table; no activations can tell.
    """
    found = _another_order(store, train, far=_FAR) if store.action == "given" else None
    if found is not None:
        names = store.group.element_names
        warn(
            f"layer {store.layer!r}",
            found=f"the elements seem to be in another order than those of {store.group.name}: "
            f"[:, {found.g}] after [:, {found.h}] moves as [:, {found.nearest}], not as "
            f"[:, {found.due}], {names[found.due]}",
            remedy=f"put the orbits in the order {', '.join(names)}, with g(hx) = (gh)x",
        )


def _another_order(
    store: ActivationStore, train: Int[ndarray, " n"], *, far: float = 0.0
) -> _Other | None:
    """Find elements that have a matrix each, but whose products are nearer to another element.

    M(g) = argmin ||psi(gx) - M psi(x)||^2 over x, and M(g) M(h) should be nearest to M(gh). Nothing
    is found if some M(g) explains less than 0.9 of its target, or if M(g) M(h) misses M(gh) by less
    than the share `far` of its variance.
    """
    group = store.group
    rows = min(_ROWS_PER_DIM * store.dim, _MOST_NUMBERS // (group.order * store.dim))
    if rows < _FEWEST_ROWS_PER_DIM * store.dim:
        return None
    orbits = store.orbits(train[: -(-rows // store.positions)]).double()
    matrices = _free_matrices(orbits)
    if matrices is None:
        return None
    totals = (orbits - orbits.mean(0)).square().sum((0, 2))
    for g in range(group.order):
        products = orbits[:, 0] @ (matrices[g] @ matrices).mT  # [h, rows, dim]
        for h in range(group.order):
            distance = (products[h][:, None] - orbits).square().sum((0, 2))
            nearest, due = int(distance.argmin()), group.multiply(g, h)
            if distance[nearest] < _APART * distance[due] and distance[due] > far * totals[due]:
                return _Other(g, h, nearest, due)
    return None


def _free_matrices(orbits: Tensor) -> Matrices | None:
    """Fit each M(g) by least squares from the canonical samples; None if one predicts badly."""
    start, moved = orbits[:, 0], orbits.transpose(0, 1)
    if len(start) < _FEWEST_ROWS_PER_DIM * start.shape[1]:
        return None
    found = (torch.linalg.pinv(start) @ moved).mT
    residual = (moved - start @ found.mT).square().sum((1, 2))
    total = (orbits - orbits.mean(0)).square().sum((0, 2))
    return found if bool((residual <= (1 - _PREDICTED) * total).all()) else None
