"""The transport of a circle: a generator fitted to finite turns, which gives any angle."""

import math

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_axes
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, turns_and_flips
from orbitlens.transport._cost import check_cost
from orbitlens.transport._door import fits
from orbitlens.transport._moments import cross_moments, exact_from_moments
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Matrices, Numbers, Tensor

_FEWEST_TURNS = 3
_ALIASED = 0.01


@fits
def lie(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Fit A with rho(theta) = exp(theta A), from the n equal turns of a cyclic group.

    The exact transport of C_n turns planes by whole multiples k of 2 pi / n. The generator is

        A = sum_{k < n/2} k S_k,   S_k = 2/n sum_p sin(2 pi k p / n) rho(r^p)

    so that a plane of frequency k turns k times in a whole turn. A is skew in the whitened space.
    C_n cannot distinguish the frequency k from n - k; the fit takes the lower one. Power at the
    highest frequency that n turns can show, floor(n / 2), suggests more power beyond it, and is
    refused above 1%. The n turns do not determine planes of frequency n/2; these stay.

    Args:
        store: Activations of orbits under C_n, n at least 3.
        train: Samples to fit on, shape [n].

    Returns:
        A, and rho at the n turns, float64.

    Raises:
        OrbitLensError: If the group is not cyclic, if it has fewer than 3 turns, or if more than 1%
            of the turning power is at frequency floor(n / 2).
    """
    group = store.group
    known = turns_and_flips(group)
    if known is None or known[1] or group.order < _FEWEST_TURNS:
        raise OrbitLensError(
            "group of the store for `lie`",
            expected="equal turns, C3, C4, C5, ...: the more, the higher the frequencies",
            received=group.name,
            remedy="harvest the orbits under C16, for example, with interpolation bilinear",
        )
    check_cost(store, train)
    moments = cross_moments(store.chunks(train), group, store.dim)
    motion = exact_from_moments(moments, group, store.positions).motion
    _check_resolved(group, motion.core, moments.products[0])
    generator = torch.zeros_like(motion.core[0])
    for k in range(1, (group.order + 1) // 2):
        generator += k * _part(motion.core, k)
    angles = 2 * math.pi / group.order * torch.arange(group.order, dtype=generator.dtype)
    turns = torch.linalg.matrix_exp(angles[:, None, None] * generator)
    return Motion(turns, variable=motion.variable, generator=generator)


def frequencies(generator: Numbers) -> tuple[int, ...]:
    """Count the planes that turn 1, 2, 3, ... times in a whole turn.

    Each pair of eigenvalues +-ik of A is a plane of frequency k.

    Args:
        generator: A of `lie`, shape [dim, dim].

    Returns:
        The number of planes of frequency k at index k - 1, up to the highest frequency.

    Example:
        >>> frequencies(torch.block_diag(*[torch.tensor([[0.0, -2.0], [2.0, 0.0]])] * 3))
        (0, 3)
    """
    generator = as_axes("generator", generator, "dim dim", dtype=torch.float64)
    found = torch.linalg.eigvals(generator).imag.round().long()
    highest = int(found.max()) if len(found) else 0
    return tuple(int((found == k).sum()) for k in range(1, highest + 1))


def _part(matrices: Matrices, k: int) -> Float[Tensor, "dim dim"]:
    """Return S_k, a quarter turn of the planes of frequency k and zero elsewhere."""
    n = len(matrices)
    weights = torch.sin(2 * math.pi * k / n * torch.arange(n, dtype=matrices.dtype))
    return 2 / n * torch.einsum("p,pij->ij", weights, matrices)


def _check_resolved(group: Group, matrices: Matrices, second: Float[Tensor, "dim dim"]) -> None:
    """Check that almost no power turns at the highest frequency that these turns can show."""
    n, highest = group.order, group.order // 2
    angles = 2 * math.pi * highest / n * torch.arange(n, dtype=matrices.dtype)
    weights = torch.cos(angles) * (1 if 2 * highest == n else 2) / n
    fastest = torch.einsum("p,pij->ij", weights, matrices)
    turning = ((torch.eye(len(second)).to(second) - matrices.mean(0)) @ second).trace()
    share = (fastest @ second).trace() / turning.clamp_min(torch.finfo(second.dtype).tiny)
    if share > _ALIASED:
        raise OrbitLensError(
            f"angles between the {n} turns of {group.name}",
            expected=f"at most {_ALIASED:.0%} of the power that turns at frequency {highest}, the "
            "highest that these turns can show",
            received=f"{float(share):.1%}",
            remedy=f"harvest the orbits under a finer group, such as C{2 * n}",
        )
