"""The transport that is a representation: whitened, orthogonal, made of irreps.

Over an orbit-closed data set the mean mu is fixed by rho, and rho S rho^T = S for the second
moment S. With whitening W = S^(-1/2), Q(g) = W rho(g) W^-1 is therefore orthogonal, and orthogonal
matrices that nearly are a representation have a true one beside them.
"""

from dataclasses import dataclass

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps import exactify
from orbitlens.transport._order import check_element_order
from orbitlens.transport.moments import CrossMoments, cross_moments
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor

_RANK = 1e-10
_MEAN = 1e-3
_POOR = 0.51
"""Half of the elements can fit in a wrong order, and rounding leaves a little more than a half."""


def exact(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Fit matrices with rho(gh) = rho(g) rho(h), rho(g^-1) = rho(g)^-1 and rho(g) mu = mu.

    D(g) = W (sum_{x,h} psi(gh x) psi(h x)^T / n) W^T,   Q = exactify(D),   rho(g) = W^+ Q(g) W

    on the directions with variance, and the identity on the rest. D(g) holds the correlations of
    whitened activations with moved ones. A direction has variance if its second moment is above
    1e-10 of the largest. rho(g) mu = mu is given up where that predicts the training orbits better,
    as on activations that move by the group in part alone.

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
    fit = exact_of_moments(moments, store.group, store.positions, subject=f"layer {store.layer!r}")
    if fit.clarity < _POOR:
        check_element_order(store, train)
    return fit.motion


@dataclass(frozen=True, eq=False)
class ExactFit:
    """An exact transport fitted to moments.

    Args:
        motion: rho, float64.
        clarity: The mean over g of tr(Q(g)^T D(g)) / rank: 1 where whitened activations move
            exactly as rho says, near 0 where they do not move by the group.
        mean_fixed: Whether rho(g) mu = mu was kept.
    """

    motion: Motion
    clarity: float
    mean_fixed: bool


def exact_of_moments(
    moments: CrossMoments,
    group: Group,
    positions: int = 1,
    *,
    subject: str = "this layer",
    mean_fixed: bool | None = None,
) -> ExactFit:
    """Fit the exact transport to sums that have been taken already.

    Args:
        moments: Cross-moments of orbits.
        group: The group.
        positions: Activations per input that were summed, for the message.
        subject: What is fitted, for the message.
        mean_fixed: Whether rho(g) mu = mu is kept; None (the default) takes what predicts better,
            in twice the time.

    Returns:
        rho in float64, and how clear it is.

    Raises:
        OrbitLensError: If there are fewer than two activations for each direction with variance.
    """
    dim, order = len(moments.total), group.order
    basis = _with_variance(moments)
    rank = basis.shape[1]
    if moments.n < 2 * rank:
        raise OrbitLensError(
            f"training orbits of {subject} under {group.name}, to fit the exact transport on",
            expected=f"at least {-(-2 * rank // (order * positions))}, two activations "
            f"for each of the {rank} directions with variance",
            received=moments.n // (order * positions),
            remedy="harvest more inputs, or keep fewer directions (rank, max_dim)",
        )
    second = basis.T @ moments.products @ basis / moments.n
    # The basis is made of principal axes, so whitening divides by their standard deviations.
    deviations = second[0].diagonal().sqrt()
    whitened = second / torch.outer(deviations, deviations)
    choices = _free_directions(basis.T @ moments.total / moments.n / deviations)
    if mean_fixed is not None:
        choices = {mean_fixed: choices.get(mean_fixed, choices[False])}
    found = {fixed: _fit(group, whitened, free) for fixed, free in choices.items()}
    inside = {fixed: deviations[:, None] * Q / deviations for fixed, (Q, _) in found.items()}
    best = min(found, key=lambda fixed: _residual(inside[fixed], second))
    change = inside[best] - torch.eye(rank, dtype=torch.float64)
    matrices = torch.eye(dim, dtype=torch.float64) + basis @ change @ basis.T
    return ExactFit(Motion(matrices, variable=rank), found[best][1], mean_fixed=best)


def _fit(
    group: Group, whitened: Float[Tensor, "group rank rank"], free: Float[Tensor, "rank free"]
) -> tuple[Float[Tensor, "group rank rank"], float]:
    """Fit Q on some whitened directions, the identity on the others; and its clarity."""
    correlations = free.T @ whitened @ free
    moved = exactify(group, correlations).matrices
    change = moved - torch.eye(free.shape[1], dtype=torch.float64)
    Q = torch.eye(len(free), dtype=torch.float64) + free @ change @ free.T
    if not free.shape[1]:
        return Q, 1.0
    return Q, float((moved * correlations).sum((1, 2)).mean() / free.shape[1])


def _residual(
    matrices: Float[Tensor, "group rank rank"], second: Float[Tensor, "group rank rank"]
) -> float:
    """sum_g ||psi(gx) - rho(g) psi(x)||^2 less what no rho changes, from second moments alone."""
    return float((matrices * (matrices @ second[0] - 2 * second)).sum())


def _free_directions(whitened: Float[Tensor, " rank"]) -> dict[bool, Float[Tensor, "rank free"]]:
    """Orthonormal bases of the whitened directions that may move, with the mean fixed or not.

    The mean of whole orbits is invariant. Fixing it beforehand keeps a large mean, which says
    nothing about the group, from being turned by a small error; but where the group acts in part
    alone, whoever fixes the mean pays elsewhere. So both are tried. A mean near zero has no
    direction.

    Args:
        whitened: The whitened mean.
    """
    everything = torch.eye(len(whitened), dtype=whitened.dtype)
    if whitened.square().sum() < _MEAN:
        return {False: everything}
    others = torch.linalg.qr(whitened[:, None], mode="complete").Q[:, 1:]
    return {True: others, False: everything}


def _with_variance(moments: CrossMoments) -> Float[Tensor, "dim rank"]:
    """An orthonormal basis of the directions that are not always zero."""
    values, vectors = torch.linalg.eigh(moments.products[0])
    return vectors[:, values > _RANK * values[-1].clamp_min(torch.finfo(values.dtype).tiny)]
