"""Subsampling and upsampling of feature maps that commute with a plane group exactly.

A fixed stride keeps every c-th place, so an image that is shifted by one pixel gives other maps.
Here the input itself picks the grid: a coset pK, by a rule that moves as the input moves.

Source: Xu, Kim, Rainforth & Teh 2021, arXiv 2106.05886, *Group Equivariant Subsampling*.
"""

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear

from orbitlens.actions import move_on_plane
from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError
from orbitlens.models import GroupConv2d, LiftingConv2d, joined
from orbitlens.symmetry.split._functions import check_functions
from orbitlens.symmetry.split._memory import channels_last
from orbitlens.symmetry.split.cosets import SubgroupStep


def subsample(
    maps: Shaped[Tensor, "n channels side side"],
    representatives: Int[Tensor, "n 3"],
    step: SubgroupStep,
) -> Shaped[Tensor, "n fewer smaller smaller"]:
    """Return the values of functions on G at the coset pK, as functions on K.

        S(F)(k) = F(p k)        k in K

    Args:
        maps: Functions on G, shape [n, features * |P|, side, side], P the point group of G.
        representatives: p for each map, as `coset_representatives` finds them, shape [n, 3].
        step: The step from G to K.

    Returns:
        Functions on K, shape [n, features * |P'|, side / c, side / c].

    Raises:
        OrbitLensError: If the maps are no functions on G, or a representative is outside of G.

    Example:
        >>> import torch
        >>> from orbitlens.groups import PlaneGroup
        >>> step, maps = SubgroupStep(PlaneGroup("p1", 4), 2), torch.arange(16).reshape(1, 1, 4, 4)
        >>> subsample(maps, torch.tensor([[0, 1, 0]]), step).tolist()
        [[[[1, 3], [9, 11]]]]
    """
    check_functions(f"on {step.fine.name}", maps, step.fine)
    p = step.fine.as_elements("representatives", representatives, len(maps))
    moved = move_on_plane(maps, step.fine.inverse(p), step.fine, regular=True)
    functions = moved.unflatten(1, (-1, step.fine.point_group.order))
    return functions[:, :, step.kept, :: step.shift, :: step.shift].flatten(1, 2)


def upsample(
    maps: Shaped[Tensor, "n channels side side"],
    representatives: Int[Tensor, "n 3"],
    step: SubgroupStep,
) -> Shaped[Tensor, "n more larger larger"]:
    """Return functions on G that have given values at the coset pK, and are zero elsewhere.

        U(F)(h) = F(p^-1 h)  for h in pK,  0 elsewhere

    Args:
        maps: Functions on K, shape [n, features * |P'|, side, side].
        representatives: p for each map, shape [n, 3].
        step: The step from G to K.

    Returns:
        Functions on G, shape [n, features * |P|, c side, c side].

    Raises:
        OrbitLensError: If the maps are no functions on K, or a representative is outside of G.

    Example:
        >>> import torch
        >>> from orbitlens.groups import PlaneGroup
        >>> step = SubgroupStep(PlaneGroup("p1", 2), 2)
        >>> upsample(torch.ones(1, 1, 1, 1), torch.tensor([[0, 1, 0]]), step).tolist()
        [[[[0.0, 1.0], [0.0, 0.0]]]]
    """
    check_functions(f"on {step.coarse.name}", maps, step.coarse)
    p = step.fine.as_elements("representatives", representatives, len(maps))
    values = maps.unflatten(1, (-1, step.coarse.point_group.order))
    shape = (step.fine.point_group.order, step.fine.side, step.fine.side)
    functions = values.new_zeros(*values.shape[:2], *shape)
    functions[:, :, step.kept, :: step.shift, :: step.shift] = values
    return move_on_plane(functions.flatten(1, 2), p, step.fine, regular=True)


@final
class SubsamplingConv2d(nn.Module):
    """A convolution on G followed by subsampling to the subgroup K itself, as one strided product.

        y = S_e(layer(x))      so that  S_p(layer(x)) = y of p^-1 x

    Only what is kept is computed.

    Args:
        layer: A circular lifting or group convolution with the point group of G.
        step: The step from G to K.

    Raises:
        OrbitLensError: If the layer pads with zeros, has another group, or a kernel that wraps
            around the torus more than once.
    """

    def __init__(self, layer: LiftingConv2d | GroupConv2d, step: SubgroupStep) -> None:
        super().__init__()
        _check_layer(layer, step)
        self.layer, self.step = layer, step

    def forward(
        self, maps: Float[Tensor, "n in side side"]
    ) -> Float[Tensor, "n out smaller smaller"]:
        """Return functions on K: the layer's values on the fixed grid."""
        kernels, biases = self.layer.kernels(), self.layer.biases()
        points = self.step.fine.point_group.order
        if points > len(self.step.kept):
            kernels = kernels.unflatten(0, (-1, points))[:, self.step.kept].flatten(0, 1)
            if biases is not None:
                biases = biases.unflatten(0, (-1, points))[:, self.step.kept].flatten()
        stride, reach = self.step.shift, self.layer.kernel // 2
        # The last place that is kept has stride - 1 others behind it.
        maps = joined(maps, reach, reach - stride + 1)
        if self.step.coarse.side == 1:
            # One place is left: the product is that of two matrices.
            return linear(maps.flatten(1), kernels.flatten(1), biases)[:, :, None, None]
        return conv2d(channels_last(maps), kernels, biases, stride)


@final
class UpsamplingConv2d(nn.Module):
    """Upsampling from the subgroup K to G, and a convolution on G, as one transposed product.

        y = layer(sqrt([G : K]) U_e(x))      so that  layer(sqrt([G : K]) U_p(x)) = p y

    The gain makes up for the zeros of U: the variance of what the layer sums stays. Nothing is
    multiplied by zeros. Maps bring a margin that continues them around the torus, `margin_in`, and
    leave with one, `margin`, so that it need not be copied between layers.

    Args:
        layer: A circular group convolution with the point group of G.
        step: The step from G to K.
        margin: Rows and columns that are computed beyond each side of the map; default 0.

    Raises:
        OrbitLensError: If the layer pads with zeros, has another group, or a kernel that wraps
            around the torus more than once.
    """

    lands: Tensor

    def __init__(self, layer: GroupConv2d, step: SubgroupStep, margin: int = 0) -> None:
        super().__init__()
        _check_layer(layer, step)
        self.layer, self.step = layer, step
        self.margin = as_count("margin", margin, least=0)
        self.margin_in = -(-(layer.kernel // 2 + margin) // step.shift)
        if step.coarse.side == 1:
            self.margin_in = 0
            lands = _landing(layer.kernel, step.fine.side)
            self.register_buffer("lands", lands, persistent=False)

    def forward(
        self, maps: Float[Tensor, "n in side side"]
    ) -> Float[Tensor, "n out larger larger"]:
        """Return functions on G, of values on the fixed grid; both with their margins."""
        kernels, points = self.layer.kernels(), self.step.fine.point_group.order
        if points > len(self.step.kept):
            kernels = kernels.unflatten(1, (-1, points))[:, :, self.step.kept].flatten(1, 2)
        # What is spread meets the kernel turned upside down.
        turned, biases = self.step.index**0.5 * kernels.flip(2, 3), self.layer.biases()
        if self.step.coarse.side == 1:
            return self._of_one_place(maps, turned, biases)
        stride, reach = self.step.shift, self.layer.kernel // 2
        spread = conv_transpose2d(
            channels_last(maps),
            turned.transpose(0, 1),
            stride=stride,
            padding=self.margin_in * stride + reach - self.margin,
            output_padding=stride - 1,
        )
        # Inside of the product, the gradient of the bias alone takes as long as that of the maps.
        return spread if biases is None else spread.add_(biases[:, None, None])

    def _of_one_place(
        self,
        maps: Float[Tensor, "n in 1 1"],
        turned: Float[Tensor, "out in kernel kernel"],
        biases: Float[Tensor, " out"] | None,
    ) -> Float[Tensor, "n out larger larger"]:
        """Return the same where the map has one place: the product of two matrices."""
        side = self.step.fine.side
        weights = rearrange(turned.flatten(2) @ self.lands, "f c place -> (place f) c")
        biases = None if biases is None else biases.repeat(side**2)
        values = linear(maps.flatten(1), weights, biases)
        whole = rearrange(values, "n (y x f) -> n f y x", y=side, x=side)
        return joined(whole, self.margin, self.margin)


def _landing(kernel: int, side: int) -> Float[Tensor, "tap place"]:
    """Return 1 where a tap of a kernel about place (0, 0) of a torus lands, both row-major."""
    places = (torch.arange(kernel) - kernel // 2) % side
    line = torch.eye(side)[places]
    return torch.kron(line, line)


def _check_layer(layer: LiftingConv2d | GroupConv2d, step: SubgroupStep) -> None:
    group, side = step.fine, step.fine.side
    if layer.padding != "circular":
        raise OrbitLensError(
            f"`layer` on {group.name}",
            expected='padding "circular", which commutes with shifts of a torus',
            received=repr(layer.padding),
            remedy='build the layer with padding="circular"',
        )
    if layer.group != group.point_group:
        raise OrbitLensError(
            f"`layer` on {group.name}",
            expected=f"the group {group.point_group.name}",
            received=layer.group.name,
            remedy="build the layer with step.fine.point_group",
        )
    if layer.kernel // 2 > side:
        raise OrbitLensError(
            f"`layer` on {group.name} of side {side}",
            expected=f"a kernel of at most {2 * side + 1} pixels",
            received=layer.kernel,
            remedy="choose a smaller kernel; this one wraps around the torus more than once",
        )
