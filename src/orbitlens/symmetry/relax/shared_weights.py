"""Layers whose weights are tied in a way that can be learned.

Source: Zhou, Knowles & Finn 2021, arXiv 2007.02933, *Meta-Learning Symmetries by
Reparameterization*, and the code of its synthetic experiments.
"""

import math
from collections.abc import Sequence
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from orbitlens.checks import as_axes, as_count, as_floats, as_seed, as_switch
from orbitlens.errors import OrbitLensError, warn
from orbitlens.models import keeps_settings

# Numbers of U; in float32 these are 256 MiB, and training holds it four times.
_MOST_NUMBERS = 2**26
_STD = 0.01  # of the first U


@runtime_checkable
class KnowsShared(Protocol):
    """A layer that knows which of its own parameters all tasks share.

    `shared` names them. The other parameters are adapted to each task.
    """

    shared: tuple[str, ...]


def shared_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of all parameters of a network that its tasks share.

    Args:
        network: Any network; layers with an attribute `shared` know their own, see `KnowsShared`.

    Returns:
        Names as in `network.named_parameters()`.

    Example:
        >>> shared_names(nn.Sequential(SharedLinear(4, 3, k=2), nn.Linear(3, 1)))
        ('0.symmetry',)
    """
    return tuple(
        f"{name}.{own}" if name else own
        for name, module in network.named_modules()
        if isinstance(module, KnowsShared)
        for own in module.shared
    )


@final
@keeps_settings
class SharedLinear(nn.Module):
    """A linear layer whose weights are a shared matrix times a short vector.

        y = W x + b,   vec(W) = U v

    vec(W) holds the rows of W one after the other. U says which weights move together; all tasks
    share it. v says what they are; each task has its own. Every convolution over a finite group has
    such a U, see `convolution_basis`.

    Source: Zhou et al. 2021, arXiv 2007.02933, section 4 and Proposition 1; its code for the
    initial values, U ~ N(0, 0.01^2) and v ~ N(0, 1 / out_features^2).

    Args:
        in_features: Width n of the input.
        out_features: Width m of the output.
        k: Length of v: the number of free weights that a layer with the symmetry has. A larger one
            does no harm.
        bias: Whether there is a bias, which each task adapts; default False.
        seed: Seed of the initial values.

    Raises:
        OrbitLensError: If a number is below 1, or if U would have more than 2^26 numbers.

    Warns:
        OrbitLensWarning: If k is m n or more, so that no weights need be shared.

    Example:
        >>> layer = SharedLinear(4, 3, k=2)
        >>> layer.symmetry.shape, layer(torch.ones(5, 4)).shape
        (torch.Size([12, 2]), torch.Size([5, 3]))
    """

    shared = ("symmetry",)

    def __init__(
        self, in_features: int, out_features: int, k: int, *, bias: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.in_features = n = as_count("in_features", in_features)
        self.out_features = m = as_count("out_features", out_features)
        self.k = k = as_count("k", k)
        _check_size(m, n, k)
        if k >= m * n:
            warn(
                f"`k` = {k}",
                found=f"the layer has only {m} x {n} = {m * n} weights, so none need be shared",
                remedy="choose a smaller k",
            )
        generator = torch.Generator().manual_seed(as_seed(seed))
        self.symmetry = nn.Parameter(_STD * torch.randn(m * n, k, generator=generator))
        self.filter = nn.Parameter(torch.randn(k, generator=generator) / m)
        self.bias = nn.Parameter(torch.zeros(m)) if as_switch("bias", bias) else None

    @classmethod
    def from_basis(
        cls, basis: Float[Tensor, "weights k"], in_features: int, out_features: int
    ) -> "SharedLinear":
        """Return the layer with a given U, and v = 0.

        Args:
            basis: U, shape [out_features * in_features, k].
            in_features: Width n of the input.
            out_features: Width m of the output.

        Raises:
            OrbitLensError: If U has other numbers of rows, or NaN.
        """
        m, n = as_count("out_features", out_features), as_count("in_features", in_features)
        basis = as_axes("basis", basis, "weights k", sizes={"weights": m * n})
        layer = cls(n, m, basis.shape[1])
        layer.symmetry = nn.Parameter(basis.clone())
        layer.filter = nn.Parameter(torch.zeros_like(basis[0]))
        return layer

    @property
    def weight(self) -> Float[Tensor, "m n"]:
        """W, the rows of U v."""
        return (self.symmetry @ self.filter).view(self.out_features, self.in_features)

    def forward(self, x: Float[Tensor, "*axes n"]) -> Float[Tensor, "*axes m"]:
        """Return W x + b.

        Raises:
            OrbitLensError: If the last axis is not `in_features` long.
        """
        x = as_floats("x", x)
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise OrbitLensError(
                "`x` of SharedLinear",
                expected=f"inputs whose last axis is {self.in_features} long",
                received=f"shape {list(x.shape)}",
                remedy="bring the features to the last axis, or build the layer for their number",
            )
        return linear(x, self.weight, self.bias)


@final
@keeps_settings
class SharedConv2d(nn.Module):
    """A convolution whose channels and taps are mixed by shared matrices.

        W_ijl = sum_abt A_ia B_jb C_lt V_abt

    with output channels i, input channels j and the taps l of the kernel, row by row. A, B and C
    are shared by all tasks, V is adapted. They begin as identities, and the layer as the plain
    convolution with kernel V: translations are built in, and A, B and C add what else is shared.
    This is the Kronecker form of vec(W) = U v, for layers whose U would not fit. It is weaker: a
    product of three matrices cannot tie every set of weights.

    Source: Zhou et al. 2021, arXiv 2007.02933, and its code for convolutions.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, one number or two.
        padding: Zeros on every side; default none.
        bias: Whether there is a bias, which each task adapts; default False.
        seed: Seed of V, which begins as a kernel of `nn.Conv2d` does.

    Raises:
        OrbitLensError: If a size is below 1.

    Example:
        >>> SharedConv2d(1, 8, 3)(torch.ones(2, 1, 6, 6)).shape
        torch.Size([2, 8, 4, 4])
    """

    shared = ("out_mixing", "in_mixing", "tap_mixing")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        padding: int = 0,
        bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.in_channels = as_count("in_channels", in_channels)
        self.out_channels = as_count("out_channels", out_channels)
        self.kernel_size = _two("kernel_size", kernel_size)
        self.padding = as_count("padding", padding, least=0)
        taps = math.prod(self.kernel_size)
        self.out_mixing = nn.Parameter(torch.eye(self.out_channels))
        self.in_mixing = nn.Parameter(torch.eye(self.in_channels))
        self.tap_mixing = nn.Parameter(torch.eye(taps))
        generator = torch.Generator().manual_seed(as_seed(seed))
        kernel = torch.empty(self.out_channels, self.in_channels, taps)
        nn.init.kaiming_uniform_(kernel, a=math.sqrt(5), generator=generator)
        self.kernel = nn.Parameter(kernel)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if as_switch("bias", bias) else None

    @property
    def weight(self) -> Float[Tensor, "out in height width"]:
        """W, the kernel V mixed by A, B and C."""
        mixed = torch.einsum(
            "ia,jb,lt,abt->ijl", self.out_mixing, self.in_mixing, self.tap_mixing, self.kernel
        )
        return mixed.unflatten(2, self.kernel_size)

    def forward(
        self, x: Float[Tensor, "n in height width"]
    ) -> Float[Tensor, "n out height_out width_out"]:
        """Return the convolution of x with W.

        Raises:
            OrbitLensError: If the input has no axis of `in_channels` in the second place.
        """
        x = as_floats("x", x)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise OrbitLensError(
                "`x` of SharedConv2d",
                expected=f"images [n, {self.in_channels}, height, width]",
                received=f"shape {list(x.shape)}",
                remedy="bring the channels to axis 1, or build the layer for their number",
            )
        return conv2d(x, self.weight, self.bias, padding=self.padding)


def _check_size(m: int, n: int, k: int) -> None:
    if m * n * k > _MOST_NUMBERS:
        raise OrbitLensError(
            f"U of a layer {n} -> {m} with k = {k}",
            expected=f"at most {_MOST_NUMBERS:,} numbers, {4 * _MOST_NUMBERS // 2**20} MiB",
            received=f"{m * n * k:,}, {4 * m * n * k / 2**20:,.0f} MiB",
            remedy="use the Kronecker form (SharedConv2d; with kernel_size=1 it is a dense layer), "
            "or a smaller k",
        )


def _two(name: str, value: object) -> tuple[int, int]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        sizes = tuple(as_count(name, each) for each in value)
        if len(sizes) != 2:
            raise OrbitLensError(
                f"`{name}`",
                expected="one number, or two",
                received=list(sizes),
                remedy="give height and width",
            )
        return sizes[0], sizes[1]
    size = as_count(name, value)
    return size, size
