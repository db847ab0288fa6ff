"""The spread of outputs, which is the unit of errors, and what rounding does to it.

All of it is in units of a power of two near the largest output: the square of 1e200 is infinite.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from orbitlens.symmetry.check._function import rows, wide

TOLERANCE, _STEPS = 1e-5, 30  # an error, and steps of the number format, that rounding explains
_CERTAIN = 2  # steps that calculating with no more than one rounding leaves
CONSTANT_STEPS = 16  # steps of the number format that outputs differ by at least


def unit_of(outputs: Shaped[Tensor, "n *axes"]) -> float:
    """Return a power of two near the largest output, by which nothing is rounded."""
    largest = torch.linalg.vector_norm(wide(outputs), torch.inf) if outputs.numel() else 0.0
    return math.ldexp(1.0, math.frexp(float(largest))[1] - 1)


def variance_of(outputs: Shaped[Tensor, "n *axes"], unit: float) -> float:
    """Return the mean of ||f(x_i) - mean_j f(x_j)||^2 over the inputs."""
    return float(variances_of(outputs, unit).sum())


def variances_of(outputs: Shaped[Tensor, "n *axes"], unit: float) -> Float[Tensor, " numbers"]:
    """Return the variance of each number of the outputs over the inputs."""
    values = rows(wide(outputs) / unit)
    return (values - values.mean(0)).abs().square().mean(0).cpu()


def scale_of(outputs: Shaped[Tensor, "n *axes"], unit: float, variances: Sequence[float]) -> float:
    """Return s; NaN where outputs that are constant but for rounding have none."""
    scale = (sum(variances) / len(variances)) ** 0.5
    return scale if scale > CONSTANT_STEPS * step_of(outputs, unit) else math.nan


def rounding_of(outputs: Shaped[Tensor, "n *axes"], unit: float, scale: float) -> float:
    """Return an error that rounding explains."""
    return max(TOLERANCE * scale, _STEPS * step_of(outputs, unit))


def step_of(outputs: Shaped[Tensor, "n *axes"], unit: float) -> float:
    """Return a step of rounding of the outputs: their size times that of 1."""
    size = float(torch.linalg.vector_norm(wide(outputs) / unit)) / len(outputs) ** 0.5
    return size * precision_of(outputs)


def precision_of(outputs: Shaped[Tensor, "n *axes"]) -> float:
    """Return the step of the number format of the outputs at 1."""
    floats = outputs.is_floating_point() or outputs.is_complex()
    return torch.finfo(outputs.dtype if floats else torch.float64).eps


def certain_of(rounding: float) -> float:
    """Return the part of an error that rounding explains without doubt, in spreads."""
    return max(TOLERANCE, rounding * _CERTAIN / _STEPS)
