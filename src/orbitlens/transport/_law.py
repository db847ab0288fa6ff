"""The law that the orbits of an array obey: which element moves as the product of two."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float64, Int

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, isomorphisms
from orbitlens.typing import Float, Matrices, Tensor

FEWEST_ROWS_PER_DIM = 2
_ROWS_PER_DIM = 8
_MOST_NUMBERS = 2**25
_PREDICTED = 0.9
_APART = 0.5
_MOST_ORDERS = 200

_Orbits = Float64[Tensor, "rows group dim"]


def rows_for_law(order: int, dim: int) -> int:
    """Return how many rows of orbits show the law; 0 if the memory holds too few of them."""
    rows = min(_ROWS_PER_DIM * dim, _MOST_NUMBERS // (order * dim))
    return rows if rows >= FEWEST_ROWS_PER_DIM * dim else 0


def distances_of_products(
    orbits: _Orbits, matrices: Matrices
) -> Iterator[Float[Tensor, "group group"]]:
    """Yield for each j the table ||M_j M_k psi(x) - psi_l(x)||^2 over x, for all k and l."""
    for matrix in matrices:
        products = orbits[:, 0] @ (matrix @ matrices).mT  # [k, rows, dim]
        yield torch.stack([(each[:, None] - orbits).square().sum((0, 2)) for each in products])


def free_matrices(orbits: _Orbits) -> Matrices | None:
    """Fit M_j = argmin ||psi_j(x) - M psi_0(x)||^2; None if one explains less than 0.9."""
    start, moved = orbits[:, 0], orbits.transpose(0, 1)
    if len(start) < FEWEST_ROWS_PER_DIM * start.shape[1]:
        return None
    found = (torch.linalg.pinv(start) @ moved).mT
    residual = (moved - start @ found.mT).square().sum((1, 2))
    total = (orbits - orbits.mean(0)).square().sum((0, 2))
    return found if bool((residual <= (1 - _PREDICTED) * total).all()) else None


def orders_by_law(orbits: _Orbits, group: Group) -> list[list[int]]:
    """Return the orders of a group's elements in which orbits obey its product table.

    `order[j]` is the element at [:, j], and e is at [:, 0]. The first ones keep the most generators
    of the group in their places, and then the most elements.

    Raises:
        OrbitLensError: If the elements cannot be told apart, or multiply as another group.
    """
    table = _table(orbits, group)
    found = [np.argsort(f).tolist() for f in islice(isomorphisms(group, table), _MOST_ORDERS)]
    if not found:
        raise _unknown(
            f"elements that multiply as those of {group.name} in some order",
            "activations that move as another group",
        )
    moved = [sum(g != element for g, element in enumerate(order)) for order in found]
    kept = [sum(order[g] == g for g in group.generators) for order in found]
    best = sorted(range(len(found)), key=lambda i: (-kept[i], moved[i]))
    return [found[i] for i in best]


def keeps_generators(order: list[int], group: Group) -> bool:
    """Return whether every generator of a group is in its own place."""
    return all(order[g] == g for g in group.generators)


def _table(orbits: _Orbits, group: Group) -> Int[np.ndarray, "order order"]:
    matrices = free_matrices(orbits)
    if matrices is None:
        rows, dim = len(orbits), orbits.shape[2]
        few = rows < FEWEST_ROWS_PER_DIM * dim
        raise _unknown(
            f"at least {FEWEST_ROWS_PER_DIM * dim} samples for dim = {dim}"
            if few
            else "[:, 0] to say, by one matrix for each element, how the others look",
            rows if few else f"R^2 below {_PREDICTED} for one of them",
        )
    table = []
    for distances in distances_of_products(orbits, matrices):
        nearest, second = distances.topk(2, largest=False).values.unbind(1)
        if group.order > 1 and bool((nearest >= _APART * second).any()):
            raise _unknown(
                "products of two elements that one element explains clearly better than the others",
                "some that are not clear",
            )
        table.append(distances.argmin(1))
    return torch.stack(table).numpy()


def _unknown(expected: str, received: object) -> OrbitLensError:
    return OrbitLensError(
        "the order of the elements, as the activations show it",
        expected=expected,
        received=received,
        remedy="give `order`, the elements as they lie on axis 1",
    )
