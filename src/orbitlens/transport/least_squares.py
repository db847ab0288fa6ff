"""The unconstrained transport in closed form, from one pass over the orbits."""

from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_number
from orbitlens.errors import out_of_range
from orbitlens.transport._cost import check_cost
from orbitlens.transport._door import fits
from orbitlens.transport._moments import RIDGE, cross_moments, least_squares_from_moments
from orbitlens.transport._span import span_of
from orbitlens.transport.motion import Motion
from orbitlens.typing import Int


@fits
def least_squares(
    store: ActivationStore, train: Int[ndarray, " n"], *, ridge: float = RIDGE
) -> Motion:
    """Fit each rho(g) by least squares over all pairs of an orbit.

    rho(g) = argmin_M sum_{x,h} ||psi(gh x) - M psi(h x)||^2 + lambda ||M - I||_F^2
           = (C(g) + lambda I) (C(e) + lambda I)^-1

    If a wide layer has fewer activations than directions, this is solved in the space X that they
    span, with an orthonormal basis B of it: rho(g) = I + B (R(g) - I) B^T, and R(g) is the same fit
    in coordinates B^T psi. C(g) maps into X, so both are equal.

    The ridge pulls towards the identity, where the paper starts, so that directions without
    variance stay unchanged instead of going to zero.

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].
        ridge: lambda as a share of the mean variance of a dimension, times the number of
            activations; default 1e-6. 0 gives plain least squares; where that leaves a choice, the
            matrices nearest to the identity.

    Returns:
        rho, shape [|G|, dim, dim], float32; or R and B. rho(e) = I.

    Raises:
        OrbitLensError: If the matrices of a wide layer do not fit into memory. A fit that would
            take long warns first.
    """
    if not as_number("ridge", ridge, "0 or more") >= 0:
        raise out_of_range("ridge", "0 or more", ridge)
    span = span_of(store, train)
    if span is not None:
        rank = span.basis.shape[1]
        inside = cross_moments([span.orbits], store.group, rank)
        # The ridge is a share of the variance of a dimension of the layer.
        motion = least_squares_from_moments(inside, ridge=ridge * rank / store.dim)
        return Motion(motion.core, variable=rank, basis=span.basis.float())
    check_cost(store, train)
    moments = cross_moments(store.chunks(train), store.group, store.dim)
    return least_squares_from_moments(moments, ridge=ridge)
