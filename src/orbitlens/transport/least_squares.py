"""The unconstrained transport in closed form, from one pass of cross-moments."""

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.transport.moments import CrossMoments, cross_moments
from orbitlens.transport.motion import Motion
from orbitlens.typing import Int

_RIDGE = 1e-6


def least_squares(
    store: ActivationStore, train: Int[ndarray, " n"], *, ridge: float = _RIDGE
) -> Motion:
    """Fit each rho(g) by least squares over all pairs of an orbit.

    rho(g) = argmin_M sum_{x,h} ||psi(gh x) - M psi(h x)||^2 + lambda ||M - I||_F^2
           = (C(g) + lambda I) (C(e) + lambda I)^-1

    The ridge pulls towards the identity, the paper's starting point, so directions without variance
    stay where they are instead of being lost.

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].
        ridge: lambda as a share of the mean variance of a dimension, times the number of
            activations; default 1e-6.

    Returns:
        rho, shape [|G|, dim, dim], float32; rho(e) = I.
    """
    moments = cross_moments(store.chunks(train), store.group, store.dim)
    return least_squares_of_moments(moments, ridge=ridge)


def least_squares_of_moments(moments: CrossMoments, *, ridge: float = _RIDGE) -> Motion:
    """Fit the unconstrained transport to sums that have been taken already.

    Args:
        moments: Cross-moments of orbits.
        ridge: As for `least_squares`.

    Returns:
        rho, shape [|G|, dim, dim], float32.
    """
    dim = len(moments.total)
    # Activations without variance leave nothing to fit; a positive weight then gives the identity.
    weight = ridge * moments.variance * moments.n or 1.0
    penalised = moments.products + weight * torch.eye(dim, dtype=torch.float64)
    matrices = torch.linalg.solve(penalised[0], penalised, left=False).float()
    return Motion(matrices, variable=dim)
