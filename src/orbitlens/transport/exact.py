"""The transport that is a representation: orthogonal after whitening, and made of irreps.

Harvested orbits are closed under the group, so rho fixes their mean mu, and rho S rho^T = S for
their second moment S. So Q(g) = W rho(g) W^-1 is orthogonal with the whitening W = S^(-1/2), and
orthogonal matrices that are nearly a representation have an exact one nearby.
"""

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.transport._moments import cross_moments, exact_from_moments
from orbitlens.transport.motion import Motion
from orbitlens.typing import Int, Matrices, Tensor

# In a wrong order half of the elements can still fit, and rounding adds a little.
_POOR = 0.51
_ROWS_PER_DIM = 8
_PREDICTED = 0.9
_APART = 0.5


def exact(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Fit matrices with rho(gh) = rho(g) rho(h), rho(g^-1) = rho(g)^-1 and rho(g) mu = mu.

    D(g) = W (sum_{x,h} psi(gh x) psi(h x)^T / n) W^T,   Q = exactify(D),   rho(g) = W^+ Q(g) W

    on the directions with variance, and the identity on the others. A direction has variance if its
    second moment is above 1e-10 of the largest. D(g) holds the correlations of whitened activations
    with moved ones. rho(g) mu = mu is dropped if that predicts the training orbits better, as when
    the group moves the activations only in part.

    Derivation: docs/theory/transport.md.

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].

    Returns:
        rho, shape [|G|, dim, dim], float64.

    Raises:
        OrbitLensError: If there are fewer than two activations for each direction with variance, or
            if the orbits are not in the order of the group's elements.
    """
    moments = cross_moments(store.chunks(train), store.group, store.dim)
    subject = f"layer {store.layer!r}"
    fit = exact_from_moments(moments, store.group, store.positions, subject=subject)
    if fit.clarity < _POOR:
        _check_element_order(store, train)
    return fit.motion


def _check_element_order(store: ActivationStore, train: Int[ndarray, " n"]) -> None:
    """Raise if each element has a matrix of its own, but the matrices multiply in another order.

    M(g) = argmin ||psi(gx) - M psi(x)||^2 over x, and M(g) M(h) should be nearest to M(gh). Nothing
    is raised if some M(g) explains less than 0.9 of its target.
    """
    group = store.group
    samples = -(-_ROWS_PER_DIM * store.dim // store.positions)
    orbits = store.orbits(train[:samples]).double()
    matrices = _free_matrices(orbits)
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


def _free_matrices(orbits: Tensor) -> Matrices | None:
    """Fit each M(g) by least squares from the canonical samples; None if one predicts badly."""
    start, moved = orbits[:, 0], orbits.transpose(0, 1)
    if len(start) < 2 * start.shape[1]:
        return None
    found = (torch.linalg.pinv(start) @ moved).mT
    residual = (moved - start @ found.mT).square().sum((1, 2))
    total = (orbits - orbits.mean(0)).square().sum((0, 2))
    return found if bool((residual <= (1 - _PREDICTED) * total).all()) else None
