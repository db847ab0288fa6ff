"""Checks of square feature maps, and the strides that make maps smaller."""

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from orbitlens.checks import as_count, as_floats
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name

_STRIDES = ("max", "phase")


def as_maps(x: object, channels: int, side: int) -> Float[Tensor, "n {channels} {side} {side}"]:
    """Return square maps of the size that a layer was built for."""
    maps = as_floats("x", x)
    if maps.ndim != 4 or maps.shape[1:] != (channels, side, side):
        square = maps.ndim != 4 or maps.shape[2] == maps.shape[3]
        raise OrbitLensError(
            "`x`",
            expected=f"square maps of shape [n, {channels}, {side}, {side}]",
            received=f"shape {list(maps.shape)}",
            remedy="build the layer for their channels and side"
            if square
            else "pad or crop the maps to squares",
        )
    return maps


def as_side_out(side: int, stride: int) -> int:
    """Return the side of maps after a stride, which must divide their side."""
    if side % stride:
        raise out_of_range(
            "stride",
            f"a divisor of the side, {side}",
            stride,
            "pad the images to a side that the product of all strides divides, such as 16 or 32",
        )
    return side // stride


@final
class Stride(nn.Module):
    """Makes maps smaller by a whole factor s; each sample by itself.

        "max":   the largest value of each s x s block
        "phase": the one of the s^2 shifted grids with the largest norm: adaptive polyphase sampling

    With "phase" the kept grid moves with the map, so a shifted map has the same values, shifted.
    With "max" this holds for shifts by multiples of s.

    Source of "phase": Chaman & Dokmanic 2021, arXiv 2011.14214, *Truly shift-invariant
    convolutional neural networks*.
    """

    def __init__(self, stride: int, how: str) -> None:
        super().__init__()
        self.stride, self.how = as_count("stride", stride), how
        if how not in _STRIDES:
            raise unknown_name("`down`", str(how), _STRIDES)

    def forward(
        self, maps: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels out_height out_width"]:
        """Return the smaller maps."""
        if self.stride == 1:
            return maps
        if self.how == "max":
            return max_pool2d(maps, self.stride)
        pattern = "n c (h down) (w right) -> n (down right) c h w"
        grids = rearrange(maps, pattern, down=self.stride, right=self.stride)
        phase = grids.square().sum((2, 3, 4)).argmax(1)
        return grids[torch.arange(len(maps), device=maps.device), phase]
