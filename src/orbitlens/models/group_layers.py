"""Layers on images that are equivariant by construction, as parts of equivariant networks.

    LiftingConv2d     images -> functions on the group, at every place
    GroupConv2d       functions on the group -> functions on the group
    ProjectingConv2d  functions on the group -> images
    group_pool        the mean or the maximum over the group

The group moves pixels to pixels: it has turns and flips. `group_linears` has layers on vectors.

Channel f |G| + g holds [f, g], the value of function f at element g. Element k acts on functions by
(k F)[f, g] = F[f, k^-1 g], and on places as on pixels.

Source: Cohen & Welling 2016, arXiv 1602.07576, *Group Equivariant Convolutional Networks*:
G-correlations, on images and on functions on the group.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import conv2d

from orbitlens.actions import Action, images
from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.groups import Group, as_group
from orbitlens.models._biases import new_bias, repeated
from orbitlens.models._torus import joined

_PADDINGS = ("zeros", "circular", "none")
_Taps = Int[Tensor, "out_group in_group"]


class _TiedConv2d(nn.Module, ABC):
    """A convolution whose kernels are those of a few weights W, moved by the elements of a group.

        kernels[(f, g), (c, h)] = e W[f, c, plane] + broken * free      e, plane of (g, h): see taps

    Channels in and out are functions on the group, or images, which have one value instead of |G|.
    """

    index: Tensor
    bias: Tensor | None

    def __init__(
        self,
        group: Group | str,
        inputs: int,
        outputs: int,
        kernel: int,
        padding: str,
        bias: bool,
        broken: float | None,
    ) -> None:
        super().__init__()
        kernel = as_count("kernel", kernel)
        if padding not in _PADDINGS:
            raise unknown_name("`padding`", str(padding), _PADDINGS)
        if kernel % 2 == 0 and padding != "none":
            remedy = 'choose another one, or padding="none"'
            raise out_of_range("kernel", "an odd number of pixels", kernel, remedy)
        if broken is not None and not 0 <= broken <= 1:
            raise out_of_range("broken", "0 to 1", broken)
        self.group, self.kernel = as_group(group), kernel
        self.padding, self.broken = padding, broken
        elements, planes = self.taps(self.group)
        index = _moves(_exact(self.group), elements, planes, kernel)
        self.register_buffer("index", index, persistent=False)
        shape = (outputs, inputs, int(planes.max()) + 1, kernel, kernel)
        fan_in = inputs * planes.shape[1] * kernel**2
        # He et al. 2015: the variance survives the ReLUs.
        self.tied = nn.Parameter(torch.randn(shape) * (2 / fan_in) ** 0.5)
        self.register_parameter("bias", new_bias(outputs, bias))
        if broken is not None:
            with torch.no_grad():
                tied = self._moved()
                free = torch.randn(tied.shape)
                self.free = nn.Parameter(free * tied.norm() / free.norm())

    @staticmethod
    @abstractmethod
    def taps(group: Group) -> tuple[_Taps, _Taps]:
        """Return which element moves which plane of W, for each value out and each value in."""

    def forward(
        self, maps: Float[Tensor, "batch in height width"]
    ) -> Float[Tensor, "batch out out_height out_width"]:
        """Return the correlation of the maps with all kernels, at every place."""
        _check_maps(maps, self.tied.shape[1] * self.index.shape[1])
        margin = self.kernel // 2
        if self.padding == "circular":
            maps = joined(maps, margin, margin)
        padding = margin if self.padding == "zeros" else 0
        return conv2d(maps, self.kernels(), self.biases(), padding=padding)

    def kernels(self) -> Float[Tensor, "out in kernel kernel"]:
        """Return the kernels of an ordinary convolution that does what this layer does."""
        return self._moved() if self.broken is None else self._moved() + self.broken * self.free

    def biases(self) -> Float[Tensor, " out"] | None:
        """Return the bias of each channel; None if the layer has none."""
        return repeated(self.bias, self.index.shape[0])

    def _moved(self) -> Float[Tensor, "out in kernel kernel"]:
        if self.group.order == 1:
            return self.tied.squeeze(2)
        moved = self.tied.flatten(2).index_select(2, self.index.flatten())
        return rearrange(
            moved.unflatten(2, self.index.shape),
            "f c out_group in_group y x -> (f out_group) (c in_group) y x",
        )


@final
class LiftingConv2d(_TiedConv2d):
    """Lifts images to functions on the group: one kernel per feature, moved by every element.

        F[f, g] = b_f + sum_c x_c * (g W_fc)

    with * a correlation and g W the kernel turned or flipped as `actions.images` does. g acts by
    I (x) regular(g) on the channels of the maps, and on places as on pixels: those of the image
    and, on a torus, about pixel (0, 0) too.

    Source: Cohen & Welling 2016, arXiv 1602.07576, equation 10.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        in_channels: Channels c of the images.
        features: Features f; the maps have features * |G| channels.
        kernel: Height and width of the kernels, in pixels; odd where the layer pads. Default 3.
        padding: "zeros" (the default), "circular" for images whose opposite sides are joined, or
            "none" for images that bring their own margin of kernel // 2 pixels.
        bias: Whether there is a bias for each feature, at first zero; default True.
        broken: None (the default) for an equivariant layer. A number from 0 to 1 adds so much of
            free kernels, which start with the norm of the tied ones.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, if the kernel is even, or if an
            argument is out of range.

    Example:
        >>> layer, pictures = LiftingConv2d("D4", 3, 5), torch.rand(2, 3, 8, 8)
        >>> layer(pictures).shape
        torch.Size([2, 40, 8, 8])
    """

    def __init__(
        self,
        group: Group | str,
        in_channels: int,
        features: int,
        kernel: int = 3,
        *,
        padding: str = "zeros",
        bias: bool = True,
        broken: float | None = None,
    ) -> None:
        inputs, outputs = as_count("in_channels", in_channels), as_count("features", features)
        super().__init__(group, inputs, outputs, kernel, padding, bias, broken)

    @staticmethod
    def taps(group: Group) -> tuple[_Taps, _Taps]:
        """Value g of a feature is made by g W."""
        elements = torch.arange(group.order)[:, None]
        return elements, torch.zeros_like(elements)


@final
class GroupConv2d(_TiedConv2d):
    """Takes functions on the group to functions on the group, at every place.

        F'[f, g] = b_f + sum_{f', h} F[f', h] * (g W_ff'[g^-1 h])

    in the words of `LiftingConv2d`.

    Source: Cohen & Welling 2016, arXiv 1602.07576, equation 11.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        in_features: Features f' of the maps, which have in_features * |G| channels.
        out_features: Features f of the maps that it returns.
        kernel: Height and width of the kernels, in pixels; odd where the layer pads. Default 3.
        padding: "zeros" (the default), "circular" or "none".
        bias: Whether there is a bias for each feature, at first zero; default True.
        broken: None (the default), or the share of free kernels, 0 to 1.

    Raises:
        OrbitLensError: As `LiftingConv2d`.

    Example:
        >>> layer = GroupConv2d("C4", 2, 3, padding="circular")
        >>> layer(torch.rand(1, 8, 6, 6)).shape
        torch.Size([1, 12, 6, 6])
    """

    def __init__(
        self,
        group: Group | str,
        in_features: int,
        out_features: int,
        kernel: int = 3,
        *,
        padding: str = "zeros",
        bias: bool = True,
        broken: float | None = None,
    ) -> None:
        inputs = as_count("in_features", in_features)
        outputs = as_count("out_features", out_features)
        super().__init__(group, inputs, outputs, kernel, padding, bias, broken)

    @staticmethod
    def taps(group: Group) -> tuple[_Taps, _Taps]:
        """Value g is made of value h by g W[g^-1 h]."""
        planes = torch.from_numpy(group.table[group.inverses])
        return torch.arange(group.order)[:, None].expand_as(planes), planes


@final
class ProjectingConv2d(_TiedConv2d):
    """Takes functions on the group to images, on which the group moves places alone.

        y[c] = b_c + sum_{f, h} F[f, h] * (h W_cf)

    in the words of `LiftingConv2d`, whose transpose it is.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        features: Features f of the maps, which have features * |G| channels.
        out_channels: Channels c of the images.
        kernel: Height and width of the kernels, in pixels; odd where the layer pads. Default 3.
        padding: "zeros" (the default), "circular" or "none".
        bias: Whether there is a bias for each channel, at first zero; default True.
        broken: None (the default), or the share of free kernels, 0 to 1.

    Raises:
        OrbitLensError: As `LiftingConv2d`.

    Example:
        >>> ProjectingConv2d("C4", 2, 3)(torch.rand(1, 8, 6, 6)).shape
        torch.Size([1, 3, 6, 6])
    """

    def __init__(
        self,
        group: Group | str,
        features: int,
        out_channels: int,
        kernel: int = 3,
        *,
        padding: str = "zeros",
        bias: bool = True,
        broken: float | None = None,
    ) -> None:
        inputs, outputs = as_count("features", features), as_count("out_channels", out_channels)
        super().__init__(group, inputs, outputs, kernel, padding, bias, broken)

    @staticmethod
    def taps(group: Group) -> tuple[_Taps, _Taps]:
        """Value h of a feature is read by h W."""
        elements = torch.arange(group.order)[None]
        return elements, torch.zeros_like(elements)


def group_pool(
    maps: Float[Tensor, "batch channels *places"], group: Group | str, how: str = "mean"
) -> Float[Tensor, "batch features *places"]:
    """Return the mean or the maximum of each function over the group; the group keeps it.

        y[f] = mean over g of F[f, g]        or the maximum

    Args:
        maps: Functions on the group, shape [batch, features * |G|, ...].
        group: Any finite group, or its name.
        how: "mean" (the default) or "max".

    Returns:
        One value for each function, shape [batch, features, ...].

    Raises:
        OrbitLensError: If the channels are no functions on the group, or `how` is unknown.

    Example:
        >>> group_pool(torch.tensor([[1.0, 3.0, 0.0, 4.0]]), "C2", "max")
        tensor([[3., 4.]])
    """
    order = as_group(group).order
    if how not in ("mean", "max"):
        raise unknown_name("`how`", str(how), ["mean", "max"])
    if maps.ndim < 2 or maps.shape[1] % order:
        raise OrbitLensError(
            "`maps`",
            expected=f"shape [batch, features * {order}, ...]",
            received=list(maps.shape),
            remedy="give functions on the group, with one channel for each element",
        )
    return reduce(maps, "batch (features order) ... -> batch features ...", how, order=order)


def _check_maps(maps: Tensor, channels: int) -> None:
    if maps.ndim != 4 or maps.shape[1] != channels or not maps.is_floating_point():
        raise OrbitLensError(
            "`maps` of a convolution",
            expected=f"floats of shape [batch, {channels}, height, width]",
            received=f"{str(maps.dtype).removeprefix('torch.')} of shape {list(maps.shape)}",
            remedy="give the channels that the layer was built for; functions on the group have "
            "one for each feature and element",
        )


def _moves(
    action: Action, elements: _Taps, planes: _Taps, kernel: int
) -> Int[Tensor, "out_group in_group kernel kernel"]:
    """Return the entry of W, of all its planes, that arrives at each entry of each kernel."""
    numbers = torch.arange((int(planes.max()) + 1) * kernel**2).reshape(-1, 1, kernel, kernel)
    moved = torch.stack([action.apply(numbers, g)[:, 0] for g in range(action.group.order)])
    return moved[elements, planes]


def _exact(group: Group) -> Action:
    action = images(group, interpolation="bilinear")
    if not action.exact:
        raise OrbitLensError(
            "`group` of a convolution",
            expected="C1, C2, C4, D1, D2 or D4, which move pixels to pixels",
            received=group.name,
            remedy="choose one of these",
        )
    return action
