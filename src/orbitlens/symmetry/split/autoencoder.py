"""The group autoencoder: an exactly invariant code, and a pose that moves exactly.

Source: Xu, Kim, Rainforth & Teh 2021, arXiv 2106.05886, *Group Equivariant Subsampling*, section 4.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from orbitlens.actions import move_on_plane
from orbitlens.checks import as_axes, as_count, as_floats, as_seed, as_switch, check_kind
from orbitlens.errors import OrbitLensError, warn
from orbitlens.groups import PlaneGroup
from orbitlens.models import GroupConv2d, LiftingConv2d, ProjectingConv2d, joined, keeps_settings
from orbitlens.symmetry.split._memory import channels_last
from orbitlens.symmetry.split.base import Split, SplitModel
from orbitlens.symmetry.split.cosets import (
    SubgroupStep,
    _Factor,
    _kernels,
    coset_representatives,
    default_factors,
    subgroup_chain,
)
from orbitlens.symmetry.split.poses import Pose, index_map
from orbitlens.symmetry.split.spread import code_spread
from orbitlens.symmetry.split.subsampling import SubsamplingConv2d, UpsamplingConv2d

_Images = Float[Tensor, "n channels side side"]
_Elements = Int[Tensor, "n 3"]
_OneOrMany = Int[Tensor, "*n 3"]


@final
@keeps_settings
class GroupAutoencoder(SplitModel):
    """An autoencoder whose code is an invariant vector and an element of a plane group.

        encode(g x) = (z_inv, g z_eq)        decode(z_inv, g z_eq) = g decode(z_inv, z_eq)

    for every g, trained or not, on images of a torus (opposite sides joined), up to rounding.

        z_eq   = index_map(relu(conv_1 x)) = p_1 p_2 ... p_L
        z_inv  = linear(S_pL relu conv_L ... S_p1 relu conv_1 x)
        output = conv relu conv_1' U_p1 ... relu conv_L' U_pL relu linear(z_inv)

    with the convolutions of `models.GroupConv2d`, and S and U the subsampling and upsampling down
    to the trivial group.

    As all layers commute with the group, the fast form moves the image by z_eq^-1, once, runs
    layers of a fixed stride, and moves the output by z_eq. It costs as much as an ordinary strided
    autoencoder. The slow form moves the maps by p_i at every layer. Both make the same products:
    for p1 they agree to the last bit, for turns and flips up to rounding.

    Source: Xu et al. 2021, arXiv 2106.05886, section 4 and its code for widths, kernels and gains.

    Args:
        group: `PlaneGroup(name, side)`: the group, and the side of the images in pixels.
        channels: Channels of the images.
        width: Features nc of the first two layers; later ones have 2 nc.
        latent: Width of z_inv.
        factors: For each layer the stride of the grid, or (stride, stride of turns, 2 where flips
            are left out). Default: 2 until the side is 4, then 4, or the prime factors of what is
            left; turns and flips go last. This is (2, 2, 2, 4) for p1 and a side of 32, and (3, 11)
            for a side of 33.
        kernels: Height and width of the kernels of each layer, in pixels, odd; default 3, and 5 in
            the last, or as wide as the stride, so that the code sees every pixel.
        fast: Whether to compute the fast form; default True.
        seed: Seed of the initial weights, which do not depend on `fast`.

    Raises:
        OrbitLensError: If the factors do not reach the trivial group, if none are given for a side
            with a prime factor above 13, if a kernel is even or wraps around the torus more than
            once, or if a size is below 1.

    Example:
        >>> model = GroupAutoencoder(PlaneGroup("p4", 8), width=4)
        >>> x, g = torch.rand(2, 3, 8, 8), torch.tensor([[1, 5, 3], [0, 2, 1]])
        >>> code, moved = model.encode(x), model.encode(model.move(g, x))
        >>> torch.equal(moved.pose, model.act(g, code).pose)
        True
        >>> torch.allclose(moved.invariant, code.invariant, atol=1e-6)
        True
    """

    def __init__(
        self,
        group: PlaneGroup,
        channels: int = 3,
        width: int = 16,
        latent: int = 16,
        factors: Sequence[_Factor] | None = None,
        kernels: Sequence[int] | None = None,
        fast: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_kind("group", group, PlaneGroup, 'give for example PlaneGroup("p4", 32)')
        self.group, self.channels = group, as_count("channels", channels)
        self.latent, self.fast = as_count("latent", latent), as_switch("fast", fast)
        width = as_count("width", width)
        self.steps = subgroup_chain(group, default_factors(group) if factors is None else factors)
        sizes, depth = _kernels(kernels, self.steps), len(self.steps)
        down = [width if i < _NARROW else 2 * width for i in range(depth)]
        up = [2 * width if i < _NARROW else width for i in range(depth)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(as_seed(seed))
            self.encoder = _encoder(self.steps, [channels, *down], sizes)
            self.to_invariant = _linear(down[-1], self.latent)
            self.from_invariant = _linear(self.latent, down[-1])
            self.decoder = _decoder(self.steps, [down[-1], *up], sizes)
            self.output = ProjectingConv2d(
                group.point_group, up[-1], channels, sizes[0], padding="none"
            )

    def forward(self, x: _Images) -> _Images:
        """Return the reconstruction of the images; ties are resolved without a word.

        Raises:
            OrbitLensError: If the images have another shape, or give NaN.

        Warns:
            OrbitLensWarning: In evaluation mode, if different images have one invariant part.
        """
        x = self._images(x)
        pose = self.pose_with_ties(x).element
        invariant = self._invariant(x, pose)
        if not self.training:
            self._warn_of_one_code(x, pose, invariant)
        return self._decoded(invariant, pose)

    def encode(self, x: _Images) -> Split:
        """Return the code of each image.

        Args:
            x: Images, shape [n, channels, side, side].

        Returns:
            The invariant part, shape [n, latent], and the pose (ty, tx, k), shape [n, 3]: the
            object was turned by element k of the point group, then shifted by ty rows and tx
            columns. It is counted from a frame that the network has chosen for each object, so
            only differences of poses have a meaning.

        Raises:
            OrbitLensError: If the images have another shape, or give NaN.

        Warns:
            OrbitLensWarning: If the pose of an image is not unique, or if different images have one
                invariant part, as after a training in which units died.
        """
        x = self._images(x)
        pose = self.pose_with_ties(x)
        if bool(pose.tied.any()):
            # Without numbers: Python shows the same words once, not at every batch.
            warn(
                f"poses of some images under {self.group.name}",
                found="several elements have the highest score, as for constant, periodic or "
                "symmetric images",
                remedy="the pose is one of them, and so is the code; ask pose_with_ties which "
                "images these are",
            )
        code = Split(self._invariant(x, pose.element), pose.element)
        self._warn_of_one_code(x, code.pose, code.invariant)
        return code

    def decode(self, split: Split) -> _Images:
        """Return the images of codes, in their poses.

        Args:
            split: Invariant parts, shape [n, latent], and poses (ty, tx, k), shape [n, 3], or [3]
                for all codes.

        Raises:
            OrbitLensError: If there are no two parts, if they have other shapes, or if a pose is
                outside of the group.
        """
        invariant, pose = _parts(split)
        sizes, dtype = {"latent": self.latent}, self.to_invariant.weight.dtype
        invariant = as_axes(
            "invariant", invariant, "n latent", dtype=dtype, sizes=sizes, finite=False
        )
        return self._decoded(invariant, self.group.as_elements("pose", pose, len(invariant)))

    def act(self, element: _OneOrMany, split: Split) -> Split:
        """Return codes moved by one element each, (z_inv, g z_eq).

        Args:
            element: (ty, tx, k), shape [n, 3], or [3] for all codes.
            split: The codes.

        Raises:
            OrbitLensError: If there are no two parts, or if an element is outside of the group.
        """
        invariant, pose = _parts(split)
        pose = self.group.as_elements("pose", pose, len(invariant))
        element = self.group.as_elements("element", element, len(invariant))
        return Split(invariant, self.group.multiply(element.to(pose.device), pose))

    def move(self, element: _OneOrMany, x: _Images) -> _Images:
        """Return images moved by one element each, or all by one, see `actions.move_on_plane`.

        Raises:
            OrbitLensError: If the images have another shape, or an element is outside of the group.
        """
        x = self._images(x)
        return move_on_plane(x, self.group.as_elements("element", element, len(x)), self.group)

    def draw(self, n: int, generator: torch.Generator | None = None) -> _Elements:
        """Draw n elements (ty, tx, k), all as likely."""
        return self.group.random(n, generator)

    def product(self, g: _Elements, h: _Elements) -> _Elements:
        """Return the products gh: first h acts, then g.

        Raises:
            OrbitLensError: If an element is outside of the group.
        """
        n = len(h)
        return self.group.multiply(
            self.group.as_elements("g", g, n), self.group.as_elements("h", h, n)
        )

    @torch.no_grad()
    def pose_with_ties(self, x: _Images) -> Pose:
        """Return the pose of each image, and whether it is one of several.

        Raises:
            OrbitLensError: If the images have another shape, or give NaN.
        """
        x = self._images(x)
        first = self.encoder.get_submodule("0.layer")
        maps = first(channels_last(x)).relu_()
        # The sums of magnitudes that the convolution may have rounded.
        weights = first.get_parameter("tied").abs().flatten(1).sum(1).amax()
        return index_map(maps, self.group, scale=weights * x.abs().amax((1, 2, 3)))

    def _invariant(self, x: _Images, pose: _Elements) -> Float[Tensor, "n latent"]:
        maps = x
        # ReLU in place: new memory costs more than the ReLU.
        if self.fast:
            maps = move_on_plane(x, self.group.inverse(pose), self.group)
            for layer in self.encoder:
                maps = layer(maps).relu_()
        else:
            moves = coset_representatives(pose, self.steps)
            for step, layer, p in zip(self.steps, self.encoder, moves, strict=True):
                back = step.fine.inverse(p)
                maps = move_on_plane(maps, back, step.fine, regular=maps is not x)
                maps = layer(maps).relu_()
        invariant: Tensor = self.to_invariant(maps.flatten(1))
        return invariant

    @torch.no_grad()
    def _warn_of_one_code(
        self, x: _Images, pose: _Elements, invariant: Float[Tensor, "n latent"]
    ) -> None:
        """Warn if images that differ apart from their poses have the same invariant part."""
        # Not finite, as after a training that diverged: that shows by itself.
        if len(x) < 2 or not bool(invariant.isfinite().all()):
            return
        eps = torch.finfo(invariant.dtype).eps
        if code_spread(invariant) > _ONE_CODE * eps:
            return
        standing = move_on_plane(x, self.group.inverse(pose), self.group)
        if code_spread(standing.flatten(1)) > eps**0.5:
            warn(
                f"codes under {self.group.name}",
                found="different images have the same invariant part, which says nothing of them: "
                "the units of a layer put out 0 for all",
                remedy="train again with a learning rate that rises over the first 100 steps, or "
                "with a lower one; see split.code_spread",
            )

    def _decoded(self, invariant: Float[Tensor, "n latent"], pose: _Elements) -> _Images:
        maps = self.from_invariant(invariant).relu()[:, :, None, None]
        layers = [layer for layer in self.decoder if isinstance(layer, UpsamplingConv2d)]
        if self.fast:
            maps = joined(maps, layers[0].margin_in, layers[0].margin_in)
            for layer in layers:
                maps = layer(maps).relu_()
            return move_on_plane(self.output(maps), pose, self.group)
        for layer, p in zip(layers, coset_representatives(pose, self.steps)[::-1], strict=True):
            maps = layer(joined(maps, layer.margin_in, layer.margin_in)).relu_()
            maps = joined(maps, -layer.margin, -layer.margin)
            maps = move_on_plane(maps, p, layer.step.fine, regular=True)
        margin = self.output.kernel // 2
        output: Tensor = self.output(channels_last(joined(maps, margin, margin)))
        return output

    def _images(self, x: object) -> _Images:
        """Return images of the right shape, in the type of the weights."""
        images, side = as_floats("x", x), self.group.side
        if images.ndim != 4 or images.shape[1:] != (self.channels, side, side):
            other = images.ndim == 4 and images.shape[1] != self.channels
            raise OrbitLensError(
                "`x` of GroupAutoencoder",
                expected=f"images of shape [n, {self.channels}, {side}, {side}]",
                received=f"shape {list(images.shape)}",
                remedy=f"bring the channels to axis 1, or build the model with channels="
                f"{images.shape[1]}"
                if other
                else "pad or crop the images to squares, or build the model for their size",
            )
        return images.to(self.to_invariant.weight.dtype)


def _parts(split: object) -> tuple[Tensor, Tensor]:
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise OrbitLensError(
            "`split`",
            expected="a code of two parts, the invariant part and the pose",
            received=f"{type(split).__name__} of {len(split)} parts"
            if isinstance(split, tuple | list)
            else type(split).__name__,
            remedy="give what `encode` returns, or Split(invariant, pose)",
        )
    invariant, pose = split
    return invariant, pose


_ONE_CODE = 16  # steps of the number type, by which codes may differ that count as one
_NARROW = 2  # layers of width nc; the others have 2 nc


def _encoder(
    steps: Sequence[SubgroupStep], widths: Sequence[int], kernels: Sequence[int]
) -> nn.ModuleList:
    layers = nn.ModuleList()
    for number, (pair, kernel, step) in enumerate(
        zip(pairwise(widths), kernels, steps, strict=True)
    ):
        kind = GroupConv2d if number else LiftingConv2d
        layer = kind(step.fine.point_group, *pair, kernel, padding="circular")
        layers.append(SubsamplingConv2d(layer, step))
    return layers


def _decoder(
    steps: Sequence[SubgroupStep], widths: Sequence[int], kernels: Sequence[int]
) -> nn.ModuleList:
    layers: list[UpsamplingConv2d] = []
    margin = kernels[0] // 2
    # From the output, whose kernel reaches beyond the map, back to the code.
    for pair, kernel, step in zip(list(pairwise(widths))[::-1], kernels, steps, strict=True):
        layer = GroupConv2d(step.fine.point_group, *pair, kernel, padding="circular")
        layers.append(UpsamplingConv2d(layer, step, margin))
        margin = layers[-1].margin_in
    return nn.ModuleList(reversed(layers))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer
