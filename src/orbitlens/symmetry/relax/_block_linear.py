"""A linear map that takes each row of an input by a block of its own, to the same outputs."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class BlockLinear(nn.Module):
    """Takes row r of an input by block r of its weights; rows share the outputs and the bias.

        y[r, o] = b_o + sum_i W[o, r, i] x[r, i]

    It is the linear map W of shape out x (rows inputs) on vectors that are zero outside block r.
    """

    def __init__(self, rows: int, inputs: int, outputs: int, reach: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, rows, inputs).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Float[Tensor, "n rows in"]) -> Float[Tensor, "n rows out"]:
        """Return the outputs of every row."""
        return torch.einsum("nri,ori->nro", x, self.weight) + self.bias
