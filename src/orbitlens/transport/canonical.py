"""Equivariance and invariance by canonical correlations, without a model of either.

In the spirit of SEIS: Lin, Farrahi & Cai 2026, arXiv 2602.04054, who compare subspaces of
activations on inputs and on moved inputs.
"""

import torch

from orbitlens.transport.moments import CrossMoments
from orbitlens.typing import Float, Tensor

_KEPT = 0.99


def canonical_scores(train: CrossMoments, held_out: CrossMoments) -> tuple[float, float]:
    """Return how well moved activations are known from unmoved ones, re-encoded or as they are.

    equivariance = mean over g != e and i of corr(u_i . psi(gx), v_i . psi(x))
    invariance   = mean over g != e and i of corr(a_i . psi(gx), a_i . psi(x))

    with the canonical directions u_i, v_i of the training orbits, the whitened axes a_i, and the
    correlations of held-out orbits. Only the leading directions that hold 99% of the variance take
    part. A layer that loses what the group does scores high on both; one that keeps it in another
    form on the first alone.

    Args:
        train: Cross-moments of training orbits.
        held_out: Cross-moments of held-out orbits.

    Returns:
        Equivariance and invariance, 1 at best; 1 and 1 without variance, or under one element.

    Example:
        >>> swap = torch.stack([torch.eye(2), torch.eye(2).flip(0)]).double()
        >>> moments = CrossMoments(4 * swap, torch.zeros(2).double(), n=4)
        >>> equivariance, invariance = canonical_scores(moments, moments)
        >>> round(equivariance, 6), round(abs(invariance), 6)
        (1.0, 0.0)
    """
    whiten = _leading_whitening(train.covariances[0])
    if not whiten.shape[0] or len(train.products) == 1:
        return 1.0, 1.0
    fitted = whiten @ train.covariances @ whiten.T
    tested = whiten @ held_out.covariances @ whiten.T
    U, _, Vh = torch.linalg.svd(fitted[1:])
    equivariance = _correlations(U.mT @ tested[1:] @ Vh.mT, U, Vh.mT, tested[0])
    axes = torch.eye(len(whiten), dtype=whiten.dtype).expand_as(U)
    invariance = _correlations(tested[1:], axes, axes, tested[0])
    return float(equivariance), float(invariance)


def _leading_whitening(covariance: Float[Tensor, "dim dim"]) -> Float[Tensor, "kept dim"]:
    """Rows that scale the leading principal directions to unit variance."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    total = values.sum()
    if total <= 0:
        return vectors[:, :0].T
    # The first direction with which the share is reached still takes part.
    kept = int((values.cumsum(0) < _KEPT * total).sum()) + 1
    return (vectors[:, :kept] * values[:kept].rsqrt()).T


def _correlations(
    crossed: Float[Tensor, "elements kept kept"],
    left: Float[Tensor, "elements kept kept"],
    right: Float[Tensor, "elements kept kept"],
    covariance: Float[Tensor, "kept kept"],
) -> Float[Tensor, ""]:
    """The mean of crossed_ii over the standard deviations of left_i and right_i."""
    variances = [((covariance @ side) * side).sum(1) for side in (left, right)]
    scale = (variances[0] * variances[1]).sqrt().clamp_min(torch.finfo(covariance.dtype).tiny)
    return (crossed.diagonal(dim1=1, dim2=2) / scale).mean()
