"""Orbits whose elements are in another order than those of their group."""

from typing import NamedTuple

from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError, warn
from orbitlens.groups import Group
from orbitlens.transport._law import (
    distances_of_products,
    free_matrices,
    keeps_generators,
    orders_by_law,
    rows_for_law,
)
from orbitlens.typing import Int, Tensor

_APART = 0.5
_FAR = 0.1


class _Other(NamedTuple):
    """[:, g] after [:, h] moves as [:, nearest], where [:, due] is their product."""

    g: int
    h: int
    nearest: int
    due: int
    remedy: str


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
            remedy=found.remedy,
        )


def warn_of_element_order(store: ActivationStore, train: Int[ndarray, " n"]) -> None:
    """Warn if an array was given whose elements seem to be in another order.

    An order that an automorphism of the group makes, such as turns the other way round, obeys the
    same product table; no activations can tell.
    """
    # Harvested activations have a layout, and the order of the group.
    found = _another_order(store, train, far=_FAR) if store.layout is None else None
    if found is not None:
        names = store.group.element_names
        warn(
            f"layer {store.layer!r}",
            found=f"the elements seem to be in another order than those of {store.group.name}: "
            f"[:, {found.g}] after [:, {found.h}] moves as [:, {found.nearest}], not as "
            f"[:, {found.due}], {names[found.due]}",
            remedy=found.remedy,
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
    rows = rows_for_law(group.order, store.dim)
    if rows == 0:
        return None
    orbits = store.orbits(train[: -(-rows // store.positions)]).double()
    matrices = free_matrices(orbits)
    if matrices is None:
        return None
    totals = (orbits - orbits.mean(0)).square().sum((0, 2))
    for g, distances in enumerate(distances_of_products(orbits, matrices)):
        for h, distance in enumerate(distances):
            nearest, due = int(distance.argmin()), group.multiply(g, h)
            if distance[nearest] < _APART * distance[due] and distance[due] > far * totals[due]:
                return _Other(g, h, nearest, due, _remedy(orbits, group))
    return None


def _remedy(orbits: Tensor, group: Group) -> str:
    """Name the call that brings the elements into an order that fits."""
    names = group.element_names
    wanted = f"put the orbits in the order {', '.join(names)}, with g(hx) = (gh)x"
    try:
        order = orders_by_law(orbits, group)[0]
    except OrbitLensError:
        return f"{wanted}: ol.reorder(store, order=[...]) does it, given the elements as they lie"
    call = f"{wanted}: ol.reorder(store, order={order})"
    if keeps_generators(order, group):
        where = " and ".join(f"[:, {g}] is {names[g]}" for g in group.generators)
        return f"{call} does it, if {where}"
    return f"{call} is one of the orders that fit, and activations cannot tell which is yours"
