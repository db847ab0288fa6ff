"""Blocks that mix a symmetric path with paths that know no symmetry, and networks of them.

Source: van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, *Learning Layer-wise
Equivariances Automatically using Gradients*.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from orbitlens._checkpoints import checksum
from orbitlens.checks import as_count, as_seed, as_switch, as_texts
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.models import keeps_settings
from orbitlens.models._building import seeded_weights
from orbitlens.symmetry.relax._maps import as_maps
from orbitlens.symmetry.relax._paths import PATHS, build_path
from orbitlens.symmetry.relax.use import SymmetryUse

_NOT_RECORDED = -1
_STRIDES = (1, 2, 1, 2, 1, 2, 2, 2)
_WIDTHS = (1, 2, 2, 4, 4, 8, 8, 16)


@final
@keeps_settings
class MixedBlock(nn.Module):
    """The ReLU of the mean of several paths; the evidence says how much it needs of each.

        y = relu((path_1(x) + ... + path_k(x)) / k)

    The paths, on square maps whose opposite sides are joined:

        "fc"      any linear map
        "f-fc"    the factored one, `FactoredLinear`
        "s-fc"    the same at anchor points, `SparseFactoredLinear`
        "conv"    a 3 x 3 convolution: shifts
        "s-conv"  the same at anchor points, `SparseConv2d`
        "p4"      a 3 x 3 convolution on the group p4: shifts and quarter turns. Channel 4 f + g
                  then holds feature f at quarter turn g

    Convolutions are followed by their stride: the maximum over blocks ("max"), or the shifted grid
    with the largest norm ("phase"), each sample by itself. The source's code takes one grid for the
    whole batch, so that an output depends on its batch mates.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131.

    Args:
        in_channels: Channels of the maps in.
        out_channels: Channels of the maps out.
        side: Height and width of the maps in, in pixels.
        paths: Names of the paths, each once; default the factored path and a convolution.
        stride: Factor by which height and width become smaller, default 1; it divides `side`.
        down: "max" (the default) or "phase", of the convolutions.
        lifts: True (the default) if the maps in are images, False if they are functions on the
            quarter turns; the path "p4" alone needs to know.

    Raises:
        OrbitLensError: If a path is unknown or comes twice, if the stride does not divide the side,
            if a dense path is too large for a CPU, or if maps have another shape.

    Example:
        >>> block = MixedBlock(1, 8, side=16, stride=2)
        >>> block(torch.rand(5, 1, 16, 16)).shape
        torch.Size([5, 8, 8, 8])
    """

    effective_dimensions: Tensor
    switched_off: Tensor
    measured_weights: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        side: int,
        paths: Sequence[str] = ("f-fc", "conv"),
        *,
        stride: int = 1,
        down: str = "max",
        lifts: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.side = as_count("in_channels", in_channels), as_count("side", side)
        outputs, stride = as_count("out_channels", out_channels), as_count("stride", stride)
        lifts = as_switch("lifts", lifts)
        self.paths = nn.ModuleDict(
            {
                name: build_path(name, in_channels, outputs, side, stride, down, lifts)
                for name in _as_paths(paths)
            }
        )
        unknown = torch.full((len(self.paths),), math.nan)
        self.register_buffer("effective_dimensions", unknown)
        self.register_buffer("switched_off", torch.zeros(len(self.paths), dtype=torch.bool))
        # A whole number, which .double() and .half() leave as it is.
        self.register_buffer("measured_weights", torch.tensor(_NOT_RECORDED))

    def forward(
        self, x: Float[Tensor, "n in height width"]
    ) -> Float[Tensor, "n out out_height out_width"]:
        """Return the maps out, shape [n, out_channels, side / stride, side / stride]."""
        maps = as_maps(x, self.in_channels, self.side)
        total = sum(path(maps) for path in self.paths.values())
        return torch.relu(total / len(self.paths))

    def symmetry_use(self) -> SymmetryUse | None:
        """Return gamma / P of each path; None until `fit_with_evidence` has measured it.

        gamma = sum over eigenvalues h of h / (h + delta) is the effective dimension of the P
        parameters of a path, weights and biases: how many of them the data determine. It is known
        where a precision was learned, and for the weights alone at which it was measured. A path
        that was frozen, or a part of it, has NaN.
        """
        if self.why_use_is_unknown() is not None:
            return None
        sizes = [sum(w.numel() for w in path.parameters()) for path in self.paths.values()]
        gammas = self.effective_dimensions.tolist()
        off = zip(self.paths, self.switched_off.tolist(), strict=True)
        return SymmetryUse(
            "effective",
            {name: g / p for name, g, p in zip(self.paths, gammas, sizes, strict=True)},
            dict(zip(self.paths, sizes, strict=True)),
            tuple(name for name, is_off in off if is_off),
        )

    def why_use_is_unknown(self) -> str | None:
        """Return why the block does not know its use; None where it knows."""
        if bool(self.effective_dimensions.isnan().all()):
            return "no precision was learned"
        measured = int(self.measured_weights)
        if measured == _NOT_RECORDED:
            return "the state is of an earlier version, which did not record the measured weights"
        if measured != self._weights():
            return "the weights were changed after it was measured"
        return None

    def record_use(
        self, effective_dimensions: Float[Tensor, " paths"], switched_off: Bool[Tensor, " paths"]
    ) -> None:
        """Record the use that was measured at the present weights.

        Args:
            effective_dimensions: gamma of each path, shape [paths]; NaN where it is not known, as
                of paths that are frozen.
            switched_off: Whether all precisions of a path are at the upper bound, shape [paths].
        """
        self.effective_dimensions.copy_(effective_dimensions)
        self.switched_off.copy_(switched_off)
        self.measured_weights.fill_(self._weights())

    def _weights(self) -> int:
        """Return a checksum of the weights, which .double() leaves as it is."""
        return checksum({name: each.detach().float() for name, each in self.named_parameters()})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        if f"{prefix}effective_dimensions" in state_dict:  # earlier versions recorded no more
            state_dict.setdefault(f"{prefix}switched_off", torch.zeros_like(self.switched_off))
            missing = torch.full_like(self.measured_weights, _NOT_RECORDED)
            state_dict.setdefault(f"{prefix}measured_weights", missing)
        super()._load_from_state_dict(state_dict, prefix, *options)


def mixed_network(
    in_channels: int,
    classes: int,
    side: int,
    *,
    channels: Sequence[int],
    strides: Sequence[int],
    hidden: int,
    paths: Sequence[str] = ("f-fc", "conv"),
    down: str = "max",
    seed: int = 0,
) -> nn.Sequential:
    """Return a network of mixed blocks, then a linear layer, a ReLU and a linear layer.

    Biases start at zero and dense weights as PyTorch draws them; there is no normalisation.

    Args:
        in_channels: Channels of the images.
        classes: Classes, or numbers to predict.
        side: Height and width of the images, in pixels.
        channels: Channels out of each block.
        strides: Stride of each block; their product divides `side`.
        hidden: Width of the hidden layer.
        paths: Paths of every block, see `MixedBlock`; default the factored path and a convolution.
        down: "max" (the default) or "phase", see `MixedBlock`.
        seed: Seed of the first weights, default 0.

    Returns:
        Modules "block1", "block2", ..., "flatten", "hidden", "relu" and "head".

    Raises:
        OrbitLensError: If the lists differ in length, a stride does not divide its maps, or an
            argument is out of range.

    Example:
        >>> network = mixed_network(1, 10, 16, channels=(8, 16, 32), strides=(2, 2, 4), hidden=64)
        >>> network(torch.rand(5, 1, 16, 16)).shape, sum(p.numel() for p in network.parameters())
        (torch.Size([5, 10]), 30291)
    """
    in_channels, classes = as_count("in_channels", in_channels), as_count("classes", classes)
    side, hidden = as_count("side", side), as_count("hidden", hidden)
    channels, strides = _as_counts("channels", channels), _as_counts("strides", strides)
    if not channels or len(channels) != len(strides):
        raise OrbitLensError(
            "`channels`",
            expected=f"one number for each stride, {len(strides)}, and at least one",
            received=len(channels),
            remedy="give channels and stride of every block",
        )
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    with seeded_weights(as_seed(seed)):
        for number, (pair, stride) in enumerate(
            zip(pairwise([in_channels, *channels]), strides, strict=True), 1
        ):
            block = MixedBlock(*pair, side, paths, stride=stride, down=down, lifts=number == 1)
            modules[f"block{number}"], side = block, side // stride
        modules["flatten"] = nn.Flatten()
        modules["hidden"] = _linear(channels[-1] * side**2, hidden)
        modules["relu"] = nn.ReLU()
        modules["head"] = _linear(hidden, classes)
    return nn.Sequential(modules)


def layerwise_network(
    paths: Sequence[str] = ("f-fc", "conv"),
    *,
    in_channels: int = 3,
    classes: int = 10,
    width: int = 10,
    side: int = 32,
    down: str = "max",
    seed: int = 0,
) -> nn.Sequential:
    """Return the network of the paper: eight mixed blocks down to one pixel.

    Channels are a, 2a, 2a, 4a, 4a, 8a, 8a, 16a and strides 1, 2, 1, 2, 1, 2, 2, 2 for width a; the
    hidden layer has 64 a units.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131; sizes of the authors' code.

    Args:
        paths: Paths of every block, see `MixedBlock`; default the factored path and a convolution.
        in_channels: Channels of the images, default 3.
        classes: Classes, default 10.
        width: a, default 10; a multiple of 4 for the path "p4".
        side: Height and width of the images, a multiple of 32, default 32.
        down: "max" (the default) or "phase", see `MixedBlock`.
        seed: Seed of the first weights, default 0.

    Returns:
        The network, as `mixed_network` names its modules.

    Raises:
        OrbitLensError: If the side is no multiple of 32, or an argument is out of range.

    Example:
        >>> network = layerwise_network(["conv"])
        >>> sum(each.numel() for each in network.parameters())
        338770
    """
    width = as_count("width", width)
    return mixed_network(
        in_channels,
        classes,
        side,
        channels=[width * times for times in _WIDTHS],
        strides=_STRIDES,
        hidden=64 * width,
        paths=paths,
        down=down,
        seed=seed,
    )


def _as_paths(paths: Sequence[str]) -> tuple[str, ...]:
    names = as_texts("paths", paths)
    for name in names:
        if name not in PATHS:
            raise unknown_name("`paths`", name, PATHS)
    if not names or len(set(names)) < len(names):
        raise OrbitLensError(
            "`paths`",
            expected=f"at least one of {', '.join(PATHS)}, each once",
            received=list(names),
            remedy="name each path once",
        )
    return names


def _as_counts(name: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise OrbitLensError(
            f"`{name}`",
            expected="a list with a whole number for each block",
            received=values,
            remedy=f"give a list, such as {name}=[8, 16]",
        )
    return tuple(as_count(f"{name}[{place}]", value) for place, value in enumerate(values))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.bias)
    return layer
