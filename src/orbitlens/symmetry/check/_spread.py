"""The spread of outputs, which is the unit of errors, and what rounding does to it."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.symmetry.check._function import distances, wide

_ROUNDING, _STEPS = 1e-5, 30  # an error, and steps of the number format, that rounding explains
_CONSTANT = 16  # steps of the number format that outputs differ by at least


def variance_of(outputs: Shaped[Tensor, "n *axes"]) -> float:
    """Return the mean of ||f(x_i) - mean_j f(x_j)||^2 over the inputs."""
    values = wide(outputs)
    return float(distances(values, values.mean(0, keepdim=True).expand_as(values)).square().mean())


def scale_of(outputs: Shaped[Tensor, "n *axes"], variances: Sequence[float]) -> float:
    """Return s; NaN where outputs that are constant but for rounding have none."""
    scale = (sum(variances) / len(variances)) ** 0.5
    return scale if scale > _CONSTANT * _step(outputs) else math.nan


def rounding_of(outputs: Shaped[Tensor, "n *axes"], scale: float) -> float:
    """Return an error that rounding explains, in the unit of the outputs."""
    return max(_ROUNDING * scale, _STEPS * _step(outputs))


def _step(outputs: Shaped[Tensor, "n *axes"]) -> float:
    """Return a step of rounding of the outputs: their size times that of 1."""
    size = float(torch.linalg.vector_norm(wide(outputs))) / len(outputs) ** 0.5
    floats = outputs.is_floating_point() or outputs.is_complex()
    return size * torch.finfo(outputs.dtype if floats else torch.float64).eps
