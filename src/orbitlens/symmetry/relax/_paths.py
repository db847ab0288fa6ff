"""The paths of a mixed block: each takes square maps to smaller square maps."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.models import GroupConv2d, LiftingConv2d, joined
from orbitlens.symmetry.relax._maps import Stride, as_side_out
from orbitlens.symmetry.relax.factored import FactoredLinear
from orbitlens.symmetry.relax.sparse import SparseConv2d, SparseFactoredLinear

PATHS = ("fc", "conv", "f-fc", "s-fc", "s-conv", "p4")
_KERNEL = 3
_TURNS = 4
_MOST_DENSE = 2**24
"""Weights of a dense path beyond which curvature takes hours without an accelerator."""


class _Joined(nn.Module):
    """Continues maps on the torus by a margin for the next kernel."""

    def forward(
        self, maps: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels taller wider"]:
        return joined(maps, _KERNEL // 2, _KERNEL // 2)


def build_path(
    name: str, inputs: int, outputs: int, side: int, stride: int, down: str, lifts: bool
) -> nn.Module:
    """Return the path of a name."""
    side_out = as_side_out(side, stride)
    if name == "fc":
        return _dense(inputs, outputs, side, side_out)
    if name == "f-fc":
        return FactoredLinear(inputs, outputs, side, side_out)
    if name == "s-fc":
        return SparseFactoredLinear(inputs, outputs, side, side_out)
    layer: nn.Module
    if name == "s-conv":
        layer = SparseConv2d(inputs, outputs)
    elif name == "p4":
        layer = _turning(inputs, outputs, lifts)
    else:
        convolution = nn.Conv2d(inputs, outputs, _KERNEL)
        nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.get_parameter("bias"))
        layer = nn.Sequential(_Joined(), convolution)
    return nn.Sequential(layer, Stride(stride, down))


def _dense(inputs: int, outputs: int, side: int, side_out: int) -> nn.Module:
    wide, narrow = inputs * side**2, outputs * side_out**2
    if wide * narrow > _MOST_DENSE and torch.get_default_device().type == "cpu":
        raise OrbitLensError(
            '`paths`, "fc"',
            expected=f"at most {_MOST_DENSE:,} weights of a dense path on a CPU",
            received=f"{wide:,} x {narrow:,} = {wide * narrow:,}, and curvature of {wide:,} "
            f"x {wide:,}",
            remedy='take the factored path "f-fc", smaller maps or another device',
        )
    linear = nn.Linear(wide, narrow)
    nn.init.zeros_(linear.bias)
    maps = nn.Unflatten(1, (outputs, side_out, side_out))
    return nn.Sequential(nn.Flatten(), linear, maps)


def _turning(inputs: int, outputs: int, lifts: bool) -> nn.Module:
    """Return the p4 convolution: of images, or of functions on the quarter turns."""
    for name, channels in (("out_channels", outputs), ("in_channels", 0 if lifts else inputs)):
        if channels % _TURNS:
            expected = 'a multiple of 4 for the path "p4", one channel for each quarter turn'
            raise out_of_range(name, expected, channels)
    if lifts:
        return LiftingConv2d("C4", inputs, outputs // _TURNS, padding="circular")
    return GroupConv2d("C4", inputs // _TURNS, outputs // _TURNS, padding="circular")
