"""Relaxed layers on images: they start exactly equivariant, and learn how far to leave it.

    RelaxedLiftingConv2d   images -> functions on the group, at every place
    RelaxedGroupConv2d     functions on the group -> functions on the group

The words are those of `orbitlens.models.group_layers` and `relaxed`: kernels psi_1 .. psi_L, mixed
for each element by relaxation weights w_l(g), which are constant at first.

Source: Park et al. 2025, arXiv 2411.04225, *Approximate Equivariance in Reinforcement Learning*;
layers after Wang, Walters & Yu 2022, arXiv 2201.11969.
"""

from abc import abstractmethod
from typing import final

from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_count
from orbitlens.groups import Group
from orbitlens.models import GroupConv2d, LiftingConv2d, keeps_settings
from orbitlens.symmetry.relax._banks import BankLayer, moved_filters, of_element
from orbitlens.symmetry.relax._on_grid import Grid


class _RelaxedConv2d(BankLayer):
    """A convolution whose kernels are those of L banks, mixed and moved by each element."""

    index: Tensor

    def __init__(
        self,
        group: Group | str,
        inputs: int,
        outputs: int,
        kernel: int,
        padding: str,
        stride: int,
        *,
        banks: int,
        frozen: bool,
        bias: bool,
    ) -> None:
        exact = self.exact(group, kernel, padding)
        entries = exact.tied[0, 0]
        shape, fan_in = (outputs, inputs, *entries.shape), inputs * entries.numel()
        super().__init__(exact.group, shape, fan_in, banks=banks, frozen=frozen, bias=bias)
        self.grid = Grid(exact, stride)
        index = of_element(exact.index, entries.numel())
        self.register_buffer("index", index, persistent=False)

    @staticmethod
    @abstractmethod
    def exact(group: Group | str, kernel: int, padding: str) -> LiftingConv2d | GroupConv2d:
        """Return an exact layer of one feature, which knows how elements move kernels."""

    def forward(
        self, maps: Float[Tensor, "batch in height width"]
    ) -> Float[Tensor, "batch out out_height out_width"]:
        """Return the correlation of the maps with all kernels, at every `stride`-th place."""
        return self.grid.correlated(maps, self.combined(), self.biases())

    def combined(self) -> Float[Tensor, "out in kernel kernel"]:
        """Return the kernels of an ordinary convolution that does what this layer does."""
        return moved_filters(self.weights, self.filters, self.index)


@final
@keeps_settings
class RelaxedLiftingConv2d(_RelaxedConv2d):
    """Lifts images to functions on the group, by kernels that are mixed for each element.

        F[f, g] = b_f + sum_c x_c * (g sum_l w_l(g) psi_l[f, c])

    with * a correlation and g psi the kernel turned or flipped. Where w is constant, the layer
    commutes with the turns and flips of images about their centre.

    Source: Wang et al. 2022, arXiv 2201.11969, lifting layer.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        in_channels: Channels c of the images.
        features: Features f; the maps have features * |G| channels.
        kernel: Height and width of the kernels, in pixels; odd. Default 3.
        banks: L, the number of filter banks; default 2.
        frozen: True for weights w that stay as they are: the exact layer, which refuses the state
            of a layer whose weights vary over the group. Default False.
        padding: "zeros" (the default), "circular" for images whose opposite sides are joined, or
            "none" for images that bring their own margin of kernel // 2 pixels.
        stride: Every stride-th place is kept, in pixels; default 1.
        bias: Whether there is a bias for each feature, at first zero; default True.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, if the kernel is even, or if an
            argument is out of range. On call, if images under C4 or D4 are not square, or if a side
            is not 1 plus a multiple of the stride (with padding "none": `kernel` plus one).

    Example:
        >>> import torch
        >>> layer = RelaxedLiftingConv2d("C4", 3, 5, stride=2)
        >>> layer(torch.rand(2, 3, 9, 9)).shape
        torch.Size([2, 20, 5, 5])
    """

    def __init__(
        self,
        group: Group | str,
        in_channels: int,
        features: int,
        kernel: int = 3,
        *,
        banks: int = 2,
        frozen: bool = False,
        padding: str = "zeros",
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        inputs, outputs = as_count("in_channels", in_channels), as_count("features", features)
        super().__init__(
            group, inputs, outputs, kernel, padding, stride, banks=banks, frozen=frozen, bias=bias
        )

    @staticmethod
    def exact(group: Group | str, kernel: int, padding: str) -> LiftingConv2d:
        """Return a layer in which g moves the kernel of value g."""
        return LiftingConv2d(group, 1, 1, kernel, padding=padding)


@final
@keeps_settings
class RelaxedGroupConv2d(_RelaxedConv2d):
    """Takes functions on the group to functions on it, by kernels mixed for each element.

        F'[f, g] = b_f + sum_{f', h} F[f', h] * (g sum_l w_l(g) psi_l[f, f', g^-1 h])

    in the words of `RelaxedLiftingConv2d`.

    Source: Wang et al. 2022, arXiv 2201.11969, group layer.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        in_features: Features f' of the maps, which have in_features * |G| channels.
        out_features: Features f of the maps that it returns.
        kernel: Height and width of the kernels, in pixels; odd. Default 3.
        banks: L, the number of filter banks; default 2.
        frozen: True for weights w that stay as they are: the exact layer, which refuses the state
            of a layer whose weights vary over the group. Default False.
        padding: "zeros" (the default), "circular" or "none".
        stride: Every stride-th place is kept, in pixels; default 1.
        bias: Whether there is a bias for each feature, at first zero; default True.

    Raises:
        OrbitLensError: As `RelaxedLiftingConv2d`.

    Example:
        >>> import torch
        >>> layer = RelaxedGroupConv2d("C4", 2, 3, padding="circular")
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
        banks: int = 2,
        frozen: bool = False,
        padding: str = "zeros",
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        inputs = as_count("in_features", in_features)
        outputs = as_count("out_features", out_features)
        super().__init__(
            group, inputs, outputs, kernel, padding, stride, banks=banks, frozen=frozen, bias=bias
        )

    @staticmethod
    def exact(group: Group | str, kernel: int, padding: str) -> GroupConv2d:
        """Return a layer in which g moves plane g^-1 h of the kernel of values g and h."""
        return GroupConv2d(group, 1, 1, kernel, padding=padding)
