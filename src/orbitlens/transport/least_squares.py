"""The unconstrained transport in closed form, from one pass over the orbits."""

from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.transport._moments import RIDGE, cross_moments, least_squares_from_moments
from orbitlens.transport.motion import Motion
from orbitlens.typing import Int


def least_squares(
    store: ActivationStore, train: Int[ndarray, " n"], *, ridge: float = RIDGE
) -> Motion:
    """Fit each rho(g) by least squares over all pairs of an orbit.

    rho(g) = argmin_M sum_{x,h} ||psi(gh x) - M psi(h x)||^2 + lambda ||M - I||_F^2
           = (C(g) + lambda I) (C(e) + lambda I)^-1

    The ridge pulls towards the identity, where the paper starts, so that directions without
    variance stay unchanged instead of going to zero.

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].
        ridge: lambda as a share of the mean variance of a dimension, times the number of
            activations; default 1e-6.

    Returns:
        rho, shape [|G|, dim, dim], float32; rho(e) = I.
    """
    moments = cross_moments(store.chunks(train), store.group, store.dim)
    return least_squares_from_moments(moments, ridge=ridge)
