"""Few activations of a wide layer, in coordinates of the space that they span."""

from typing import NamedTuple

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.transport._cost import check_cost
from orbitlens.typing import Float, Int, Tensor

_WIDE = 512
"""Width from which on the coordinates save time; a narrower layer takes a second or less."""


class Span(NamedTuple):
    """An orthonormal basis of the span of some orbits, and the orbits in its coordinates."""

    basis: Float[Tensor, "dim rank"]
    orbits: Float[Tensor, "n group rank"]


def span_of(store: ActivationStore, train: Int[ndarray, " n"]) -> Span | None:
    """Return the span of the training orbits if they are fewer than a wide layer's width.

    The cross-moments C(g) map every direction into the span, so a fit in its coordinates, with the
    identity on all other directions, is the fit in the whole space.
    """
    rows = len(train) * store.positions * store.group.order
    if store.dim < _WIDE or rows >= store.dim:
        return None
    check_cost(store, train, width=rows, height=store.dim)
    orbits = torch.cat(list(store.chunks(train))).double()
    basis = torch.linalg.qr(orbits.flatten(0, 1).T).Q
    return Span(basis, orbits @ basis)
