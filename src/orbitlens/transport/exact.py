"""The transport that is a representation: whitened, orthogonal, made of irreps.

Over an orbit-closed data set the mean mu is fixed by rho, and rho S rho^T = S for the second
moment S. With whitening W = S^(-1/2), Q(g) = W rho(g) W^-1 is therefore orthogonal, and orthogonal
matrices that nearly are a representation have a true one beside them.
"""

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.reps import exactify
from orbitlens.transport.moments import CrossMoments, cross_moments
from orbitlens.typing import Float, Int, Matrices, Tensor

_RANK = 1e-10
_MEAN = 1e-3


def exact(store: ActivationStore, train: Int[ndarray, " n"]) -> Matrices:
    """Fit matrices with rho(gh) = rho(g) rho(h), rho(g^-1) = rho(g)^-1 and rho(g) mu = mu.

    D(g) = W (sum_{x,h} psi(gh x) psi(h x)^T / n) W^T,   Q = exactify(D),   rho(g) = W^+ Q(g) W

    on the directions with variance, and the identity on the rest. D(g) holds the correlations of
    whitened activations with moved ones.

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].

    Returns:
        rho, shape [|G|, dim, dim], float64.

    Raises:
        OrbitLensError: If there are fewer than two activations for each direction with variance.
    """
    moments = cross_moments(store.chunks(train), store.group, store.dim)
    basis = _with_variance(moments)
    if moments.n < 2 * basis.shape[1]:
        raise OrbitLensError(
            "orbits to fit the exact transport on",
            expected=f"at least {-(-2 * basis.shape[1] // store.group.order)}, two activations "
            f"for each of the {basis.shape[1]} directions with variance",
            received=len(train),
            remedy="harvest more inputs",
        )
    second = basis.T @ moments.products @ basis / moments.n
    scale, axes = torch.linalg.eigh(second[0])
    whiten, colour = axes * scale.rsqrt() @ axes.T, axes * scale.sqrt() @ axes.T
    free = _mean_complement(whiten @ basis.T @ moments.total / moments.n)
    correlations = free.T @ whiten @ second @ whiten @ free
    moved = exactify(store.group, correlations).matrices
    change = moved - torch.eye(free.shape[1], dtype=torch.float64)
    left, right = basis @ colour @ free, free.T @ whiten @ basis.T
    return torch.eye(store.dim, dtype=torch.float64) + left @ change @ right


def _with_variance(moments: CrossMoments) -> Float[Tensor, "dim rank"]:
    """An orthonormal basis of the directions that are not always zero."""
    values, vectors = torch.linalg.eigh(moments.products[0])
    return vectors[:, values > _RANK * values[-1].clamp_min(torch.finfo(values.dtype).tiny)]


def _mean_complement(mean: Float[Tensor, " rank"]) -> Float[Tensor, "rank free"]:
    """An orthonormal basis of what is orthogonal to the whitened mean.

    The mean of whole orbits is invariant. Fixing it beforehand keeps a large mean, which says
    nothing about the group, from being turned by a small error. One near zero has no direction.
    """
    if mean.square().sum() < _MEAN:
        return torch.eye(len(mean), dtype=mean.dtype)
    return torch.linalg.qr(mean[:, None], mode="complete").Q[:, 1:]
