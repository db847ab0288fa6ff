"""Figures of a layer that need no transport: its symmetry spectrum and its canonical scores."""

import torch

from orbitlens.checks import as_axes, as_count, check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.reps import character_norm, irreps
from orbitlens.transport._moments import CrossMoments
from orbitlens.typing import Float, Numbers, Tensor

_KEPT = 0.99


def symmetry_spectrum(group: Group | str, autocorrelation: Numbers) -> Float[Tensor, " irreps"]:
    """Return the share of each irrep in the variance along orbits.

    s_i = dim_i / (<chi_i, chi_i> |G|) sum_g chi_i(g) a(g) / a(e),
    a(g) = sum_{x,h} <psi(ghx) - mu, psi(hx) - mu>

    An orbit of activations is a function on the group, and s_i is the share of its isotypic part i.
    If psi(gx) = rho(g) psi(x), this is the share of energy in P_i psi(x), where P_i is the isotypic
    projection of rho. The spectrum needs no transport, so it exists for any network. The first
    share is the invariant part. Activations unrelated to the group have the shares of the regular
    representation: its number of dimensions of type i, divided by |G|.

    Source: Serre, *Linear Representations of Finite Groups*, section 2.6.

    Args:
        group: The group, or its name.
        autocorrelation: a(g) for every element, shape [|G|]; `CrossMoments.autocorrelation`.

    Returns:
        One share for each of `reps.irreps(group)`, shape [irreps]; they add up to 1. Without
        variance, the invariant share is 1.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> symmetry_spectrum(cyclic(2), torch.tensor([1.0, 0.5])).tolist()
        [0.75, 0.25]
    """
    group = as_group(group)
    autocorrelation = as_axes(
        "autocorrelation", autocorrelation, "group", sizes={"group": group.order}
    )
    found = irreps(group)
    if autocorrelation[0] <= 0:
        return torch.eye(len(found))[0].to(autocorrelation)
    weights = torch.stack(
        [i.dim / (character_norm(i) * group.order) * i.character.to(autocorrelation) for i in found]
    )
    return weights @ (autocorrelation / autocorrelation[0])


def canonical_scores(train: CrossMoments, held_out: CrossMoments) -> tuple[float, float]:
    """Measure how well unmoved activations predict moved ones, re-encoded or unchanged.

    equivariance = mean over g != e and i of corr(u_i . psi(gx), v_i . psi(x))
    invariance   = mean over g != e and i of corr(a_i . psi(gx), a_i . psi(x))

    u_i, v_i are the canonical directions of the training orbits and a_i the whitened axes; the
    correlations are those of held-out orbits. Only the leading directions with 99% of the variance
    count. A layer that ignores the group scores high on both. A layer that keeps its effect in
    another form scores high on the first alone.

    Source: in the spirit of SEIS (Lin, Farrahi & Cai 2026, arXiv 2602.04054), which compares
    subspaces of activations on inputs and on moved inputs.

    Args:
        train: Cross-moments of training orbits.
        held_out: Cross-moments of held-out orbits.

    Returns:
        Equivariance and invariance, at most 1; both are 1 without variance, or for one element.

    Example:
        >>> swap = torch.stack([torch.eye(2), torch.eye(2).flip(0)]).double()
        >>> moments = CrossMoments(4 * swap, torch.zeros(2).double(), n=4)
        >>> equivariance, invariance = canonical_scores(moments, moments)
        >>> round(equivariance, 6), round(abs(invariance), 6)
        (1.0, 0.0)
    """
    for name, moments in (("train", train), ("held_out", held_out)):
        check_kind(name, moments, CrossMoments, "see `cross_moments`")
        as_axes(f"{name}.products", moments.products, "group dim dim", least=1)
        as_count(f"{name}.n", moments.n)
    if train.products.shape != held_out.products.shape:
        raise OrbitLensError(
            "`held_out`",
            expected=f"moments of the group and width of `train`, {list(train.products.shape)}",
            received=list(held_out.products.shape),
            remedy="take both from one layer under one group",
        )
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
    """Return rows that scale the leading principal directions to unit variance."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    total = values.sum()
    if total <= 0:
        return vectors[:, :0].T
    # Keep the direction with which the share is reached.
    kept = int((values.cumsum(0) < _KEPT * total).sum()) + 1
    return (vectors[:, :kept] * values[:kept].rsqrt()).T


def _correlations(
    crossed: Float[Tensor, "elements kept kept"],
    left: Float[Tensor, "elements kept kept"],
    right: Float[Tensor, "elements kept kept"],
    covariance: Float[Tensor, "kept kept"],
) -> Float[Tensor, ""]:
    """Return the mean of crossed_ii over the standard deviations of left_i and right_i."""
    variances = [((covariance @ side) * side).sum(1) for side in (left, right)]
    scale = (variances[0] * variances[1]).sqrt().clamp_min(torch.finfo(covariance.dtype).tiny)
    return (crossed.diagonal(dim1=1, dim2=2) / scale).mean()
