"""Sizes of the parts that contracts build, and random numbers for them."""

import torch
from torch import nn

from orbitlens.typing import Tensor

BATCH, DIM, MEMBERS = 6, 5, 4
LATENTS, ORDER = 9, 3
"""The latents that a contract builds, and the order of a group that divides them."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved_off_its_start(module: nn.Module, seed: int) -> None:
    """Give every parameter a value of its own, biases that start at zero included."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.add_(0.5 * random(*parameter.shape, seed=100 * seed + number))
