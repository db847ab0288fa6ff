"""Linear layers for one SAE or for a stack of them."""

import torch

from orbitlens.checks import check_weights
from orbitlens.kernels import matrix_product
from orbitlens.typing import Float, Tensor


def affine(
    x: Float[Tensor, "*stack batch from"],
    weight: Float[Tensor, "*stack from to"],
    bias: Float[Tensor, "*stack to"],
) -> Float[Tensor, "*stack batch to"]:
    """Return x W + b in one pass over memory."""
    return matrix_product(x, weight, bias)


def uniform(fan_in: int, fan_out: int, generator: torch.Generator) -> torch.Tensor:
    """Draw the uniform weights of He et al. (2015), which keep the variance through a ReLU."""
    check_weights(fan_in, fan_out)
    bound = (6.0 / fan_in) ** 0.5
    return (2 * torch.rand(fan_in, fan_out, generator=generator) - 1) * bound
