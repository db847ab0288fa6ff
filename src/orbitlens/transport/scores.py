"""R^2 of a transport on orbits, about the mean of the target, with an interval."""

import math
from dataclasses import dataclass
from typing import final

import torch

from orbitlens.activations import ActivationStore
from orbitlens.activations.store import check_store
from orbitlens.checks import as_axes, as_seed, check_kind, usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.transport._door import some_samples
from orbitlens.transport._token_kinds import position_orbits
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Numbers, Tensor

_RESAMPLES = 1000
_DRAWN_AT_ONCE = 2**16
"""Inputs that are drawn in one call: few, so that they stay in the cache."""
_LEVEL = 0.95
_ROUNDING = 1e-11


@dataclass(frozen=True, eq=False)
class Scores:
    """R^2 of a motion on some orbits.

    Args:
        r2: 1 - sum ||psi(gx) - rho(g) psi(x)||^2 / sum ||psi(gx) - mean_g||^2, both sums over all
            inputs, all positions and all elements but the identity; mean_g is the mean over inputs
            at each position. It is 1 for a group of one element. If the target does not vary, it is
            NaN for an exact prediction, which says nothing, and minus infinity otherwise.
        interval: Its 95% interval under resampling of the inputs.
        per_element: The same R^2 for each element, shape [|G|].
    """

    r2: float
    interval: tuple[float, float]
    per_element: Float[Tensor, " group"]


@final
class ScoreSums:
    """The sums behind `Scores`, chunk by chunk: two numbers for each input and element.

    Sums run in float64 about the first sample, so that a large mean costs no precision. `motion`
    predicts psi(gx) from psi(x).
    """

    def __init__(self, motion: Motion) -> None:
        self._motion = motion.to(torch.float64)
        self._residuals: list[Float[Tensor, "n group"]] = []
        self._powers: list[Float[Tensor, "n group"]] = []
        self._origin = self._shift = torch.zeros((), dtype=torch.float64)
        self._about_zero = torch.zeros((), dtype=torch.float64)

    def update(self, orbits: Numbers) -> None:
        """Add the orbits of some inputs, with all positions, [n, position, group, dim]."""
        sizes = {"group": len(self._motion.core), "dim": self._motion.dim}
        axes = "n position group dim"
        orbits = as_axes("orbits", orbits, axes, sizes=sizes, least=1, finite=False).double()
        start = orbits[:, :, 0]
        if not self._residuals:
            self._origin = orbits[0].clone()
            self._shift = torch.zeros_like(self._origin)
        residuals, powers = [], []
        for g in range(orbits.shape[2]):
            target = orbits[:, :, g]
            residuals.append((target - self._motion(start, g)).square().sum((1, 2)))
            shifted = target - self._origin[:, g]
            powers.append(shifted.square().sum((1, 2)))
            self._shift[:, g] += shifted.sum(0)
        self._residuals.append(torch.stack(residuals, dim=1))
        self._powers.append(torch.stack(powers, dim=1))
        self._about_zero = self._about_zero + orbits.square().sum((0, 1, 3))

    def scores(self, *, seed: int = 0) -> Scores:
        """Return R^2 and its interval; `seed` is that of the resampling."""
        if not self._residuals:
            raise OrbitLensError(
                "orbits to measure R^2 on",
                expected="at least one",
                received=0,
                remedy="call update(orbits) first",
            )
        if not self._about_zero.isfinite().all():
            raise OrbitLensError(
                "orbits to measure R^2 on",
                expected="finite numbers",
                received="NaN or infinity",
                remedy="harvest them again, or leave these samples out",
            )
        seed = as_seed(seed)
        residuals, powers = torch.cat(self._residuals), torch.cat(self._powers)
        # Shift from the first sample to the mean; every resample uses the mean of all inputs.
        between = self._shift.square().sum((0, 2)) / len(powers)
        totals = powers - between / len(powers)
        # Constant activations leave only rounding errors in numerator and denominator.
        rounding = _ROUNDING * self._about_zero
        constant = totals.sum(0) <= rounding
        totals = torch.where(constant, 0.0, totals)
        residuals = torch.where(constant & (residuals.sum(0) <= rounding), 0.0, residuals)
        per_element = [_r2(r, t) for r, t in zip(residuals.sum(0), totals.sum(0), strict=True)]
        moved, about_mean = residuals[:, 1:].sum(1), totals[:, 1:].sum(1)
        alone = residuals.shape[1] == 1  # nothing moves, and nothing is left to predict
        return Scores(
            r2=1.0 if alone else _r2(moved.sum(), about_mean.sum()),
            interval=(1.0, 1.0) if alone else _interval(moved, about_mean, seed),
            per_element=torch.tensor(per_element),
        )


@usual_torch()
def transport_scores(
    store: ActivationStore, samples: Numbers, motion: Motion, *, seed: int = 0
) -> Scores:
    """Measure R^2 of psi(gx) ~ rho(g) psi(x), streamed in float64.

    Args:
        store: Activations of orbits.
        samples: Samples to measure on, as indices, shape [n], or as a boolean mask.
        motion: rho.
        seed: Seed of the resampling for the interval.

    Returns:
        R^2 over all elements but the identity, its interval, and R^2 per element.

    Example:
        >>> import numpy as np
        >>> from orbitlens.activations import store_from_array
        >>> from orbitlens.groups import cyclic
        >>> orbits = torch.tensor([[[1.0], [0.0]], [[1.0], [2.0]]])  # their mean under r is 1
        >>> store = store_from_array(orbits, group=cyclic(2))
        >>> transport_scores(store, np.arange(2), Motion(torch.ones(2, 1, 1), variable=1)).r2
        0.0
    """
    check_kind("motion", motion, Motion, "take that of a transport, `.motion`")
    if (len(motion.core), motion.dim) != (check_store(store).group.order, store.dim):
        raise OrbitLensError(
            "`motion`",
            expected=f"{store.group.order} matrices for activations of width {store.dim}",
            received=f"{len(motion.core)} for width {motion.dim}",
            remedy="fit the transport on activations of this layer and group",
        )
    sums = ScoreSums(motion)
    for orbits in position_orbits(store, some_samples(store, samples)):
        sums.update(orbits)
    return sums.scores(seed=seed)


def transport_r2(
    store: ActivationStore, samples: Numbers, matrices: Numbers
) -> tuple[float, Float[Tensor, " group"]]:
    """Measure R^2 of psi(gx) ~ rho(g) psi(x) for given matrices.

    Args:
        store: Activations of orbits.
        samples: Samples to measure on, as indices, shape [n], or as a boolean mask.
        matrices: rho(g) for every element, shape [|G|, dim, dim].

    Returns:
        R^2 over all elements but the identity, and R^2 per element of shape [|G|].
    """
    matrices = as_axes("matrices", matrices, "group dim dim", sizes={"dim": check_store(store).dim})
    scores = transport_scores(store, samples, Motion(matrices, variable=matrices.shape[-1]))
    return scores.r2, scores.per_element


def _r2(residual: Tensor, total: Tensor) -> float:
    if total > 0:
        return float(1 - residual / total)
    return math.nan if residual == 0 else -math.inf


def _interval(
    residuals: Float[Tensor, " n"], totals: Float[Tensor, " n"], seed: int
) -> tuple[float, float]:
    """Return the interval of 1 - sum residual / sum total over resampled inputs."""
    r2 = _r2(residuals.sum(), totals.sum())
    if not math.isfinite(r2) or totals.sum() == 0:
        return r2, r2
    generator = torch.Generator().manual_seed(seed)
    n, found = len(residuals), []
    at_once = max(1, _DRAWN_AT_ONCE // n)
    for begun in range(0, _RESAMPLES, at_once):
        chosen = torch.randint(n, (min(at_once, _RESAMPLES - begun), n), generator=generator)
        total = totals[chosen].sum(1)
        found.append(torch.where(total > 0, 1 - residuals[chosen].sum(1) / total, r2))
    tails = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.cat(found), tails).tolist()
    return low, high
