"""Weights that live at a few anchor points, and are read out on the pixels by kernel regression.

Source: van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, *Learning Layer-wise
Equivariances Automatically using Gradients*: the sparsified paths, S-FC and S-CONV.
"""

from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from orbitlens.checks import as_count, as_number, as_switch
from orbitlens.errors import out_of_range
from orbitlens.models import joined
from orbitlens.symmetry.relax._block_linear import BlockLinear
from orbitlens.symmetry.relax._maps import as_maps

_SCALE = 1.0 + 1e-6  # the variance of the kernel
_NOISE = 0.01  # s, as the source's code has it
_KERNEL = 3


@final
class KernelRegression(nn.Module):
    """Takes values at anchor points to values on a square grid of pixels.

        W_t = sum_m u_m R[m, t]        R = (K_zz + s^2 I)^-1 K_zt
        K = (1 + 1e-6) exp(-omega^2 d^2 / 2)

    with d the distance in pixels between anchors z_m, or between an anchor and a pixel t, and s =
    0.01. Anchors are uniform over the grid, random and fixed.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131; constants of the authors' code.

    Args:
        side: Height and width of the grid, in pixels.
        share: Anchors as a share of the pixels, above 0 to 1, default 0.5; at least one.
        omega: Inverse length of the kernel, in 1 / pixels, above 0, default 1.
        learn_omega: Whether omega is learned with the weights, without a prior; default False.

    Raises:
        OrbitLensError: If a number is out of its range.

    Example:
        >>> KernelRegression(4)(torch.zeros(5, 8)).shape
        torch.Size([5, 16])
    """

    anchors: Tensor
    readout: Tensor | None
    log_omega: Tensor | None

    def __init__(
        self, side: int, *, share: float = 0.5, omega: float = 1.0, learn_omega: bool = False
    ) -> None:
        super().__init__()
        self.side = as_count("side", side)
        if not 0 < as_number("share", share) <= 1:
            raise out_of_range("share", "a share of the pixels above 0, to 1", share)
        if not as_number("omega", omega) > 0:
            raise out_of_range("omega", "a number above 0", omega)
        self.n_anchors = max(1, int(share * side**2))
        reach = (side - 1) / 2
        self.register_buffer("anchors", (2 * torch.rand(self.n_anchors, 2) - 1) * reach)
        learned = as_switch("learn_omega", learn_omega)
        logarithm = nn.Parameter(torch.tensor(float(omega)).log()) if learned else None
        self.register_parameter("log_omega", logarithm)
        fixed = None if learned else self._readout(torch.tensor(float(omega)))
        self.register_buffer("readout", fixed)

    def forward(self, values: Float[Tensor, "*axes anchors"]) -> Float[Tensor, "*axes pixels"]:
        """Return the values on the pixels of the grid, row by row."""
        return values @ self.matrix()

    def matrix(self) -> Float[Tensor, "anchors pixels"]:
        """Return R."""
        if self.log_omega is None:
            return self.get_buffer("readout")
        return self._readout(self.log_omega.exp())

    def values(self, pixels: Float[Tensor, "*axes pixels"]) -> Float[Tensor, "*axes anchors"]:
        """Return the values at the anchors whose readout is nearest to given values on pixels."""
        inverse = torch.linalg.pinv(self.matrix().detach().double())
        return (pixels.double() @ inverse).to(pixels.dtype)

    def _readout(self, omega: Float[Tensor, ""]) -> Float[Tensor, "anchors pixels"]:
        line = torch.arange(self.side, dtype=torch.float64, device=self.anchors.device)
        pixels = torch.cartesian_prod(line, line) - (self.side - 1) / 2
        anchors, omega = self.anchors.double(), omega.double()
        near = _kernel(anchors, anchors, omega)
        noise = _NOISE**2 * torch.eye(len(anchors), dtype=near.dtype, device=near.device)
        found = torch.linalg.solve(near + noise, _kernel(anchors, pixels, omega))
        return found.to(self.anchors.dtype)


def _kernel(
    left: Float[Tensor, "a 2"], right: Float[Tensor, "b 2"], omega: Float[Tensor, ""]
) -> Float[Tensor, "a b"]:
    squared = (left[:, None] - right).square().sum(2)
    return _SCALE * torch.exp(-(omega**2) * squared / 2)


@final
class SparseFactoredLinear(nn.Module):
    """The factored map, with both factors at anchor points of their grids: S-FC.

        z[c, c'] = a_c' + sum_m u[c', c, m] (R_in x)[c, m]
        y[c', q] = sum_m R_out[m, q] (b_m + sum_c v[m, c', c] z[c, c'])

    `FactoredLinear` with U = u R_in and V = R_out^T v. The first u and v are those whose readouts
    are nearest to the first U and V of that layer.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131, S-FC; the bias over pixels lives at the
    anchors too.

    Args:
        in_channels: Channels c.
        out_channels: Channels c'.
        in_side: Height and width of the maps in, in pixels.
        out_side: Height and width of the maps out, in pixels.
        share: Anchors as a share of the pixels, default 0.5.
        omega: Inverse length of the kernel, in 1 / pixels, default 1.
        learn_omega: Whether omega is learned, one for each grid; default False.

    Raises:
        OrbitLensError: If a number is out of its range, or maps have another shape.

    Example:
        >>> layer = SparseFactoredLinear(3, 8, in_side=8, out_side=4)
        >>> layer(torch.rand(2, 3, 8, 8)).shape, layer.u.weight.shape, layer.v.weight.shape
        (torch.Size([2, 8, 4, 4]), torch.Size([8, 3, 32]), torch.Size([8, 8, 3]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_side: int,
        out_side: int,
        *,
        share: float = 0.5,
        omega: float = 1.0,
        learn_omega: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = as_count("in_channels", in_channels)
        outputs = as_count("out_channels", out_channels)
        self.in_side, self.out_side = as_count("in_side", in_side), as_count("out_side", out_side)
        grid = partial(KernelRegression, share=share, omega=omega, learn_omega=learn_omega)
        self.read_in, self.read_out = grid(in_side), grid(out_side)
        self.u = BlockLinear(in_channels, self.read_in.n_anchors, outputs, 0.0)
        self.v = BlockLinear(outputs, in_channels, self.read_out.n_anchors, 0.0)
        u = torch.empty(outputs, in_channels, in_side**2).uniform_(-1, 1)
        v = torch.empty(outputs, in_channels, out_side**2).uniform_(-1, 1)
        with torch.no_grad():
            self.u.weight.copy_(self.read_in.values(u * (3 / in_side**2) ** 0.5))
            at_anchors = self.read_out.values(v * (3 / in_channels) ** 0.5)
            self.v.weight.copy_(at_anchors.movedim(2, 0))

    def forward(
        self, x: Float[Tensor, "n in height width"]
    ) -> Float[Tensor, "n out out_height out_width"]:
        """Return the maps out, shape [n, out_channels, out_side, out_side]."""
        maps = as_maps(x, self.in_channels, self.in_side).flatten(2)
        z = self.u(maps @ self.read_in.matrix().mT)
        return self.read_out(self.v(z.mT)).unflatten(2, (self.out_side, self.out_side))


@final
class SparseConv2d(nn.Module):
    """A circular 3 x 3 convolution whose filters live at anchor points: S-CONV.

        y[c'] = b_c' + sum_c x[c] * W[c', c]        W[c', c, t] = sum_m u[c', c, m] R[m, t]

    with * a correlation on a torus. The first u are those whose readout is nearest to
    Kaiming-uniform filters.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131, S-CONV. Alone, without another sparse
    path beside it, the source takes a share of 0.8.

    Args:
        in_channels: Channels c.
        out_channels: Channels c'.
        share: Anchors as a share of the nine pixels, default 0.5, which is four.
        omega: Inverse length of the kernel, in 1 / pixels, default 1.
        learn_omega: Whether omega is learned; default False.

    Raises:
        OrbitLensError: If a number is out of its range.

    Example:
        >>> SparseConv2d(3, 8)(torch.rand(2, 3, 6, 6)).shape
        torch.Size([2, 8, 6, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        share: float = 0.5,
        omega: float = 1.0,
        learn_omega: bool = False,
    ) -> None:
        super().__init__()
        inputs = as_count("in_channels", in_channels)
        outputs = as_count("out_channels", out_channels)
        self.read = KernelRegression(_KERNEL, share=share, omega=omega, learn_omega=learn_omega)
        filters = torch.empty(outputs, inputs, _KERNEL, _KERNEL)
        nn.init.kaiming_uniform_(filters, nonlinearity="relu")
        self.weight = nn.Parameter(self.read.values(filters.flatten(2)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def filters(self) -> Float[Tensor, "out in 3 3"]:
        """Return the filters W."""
        return self.read(self.weight).unflatten(2, (_KERNEL, _KERNEL))

    def forward(
        self, maps: Float[Tensor, "n in height width"]
    ) -> Float[Tensor, "n out height width"]:
        """Return the correlation of the maps with the filters, at every pixel."""
        return conv2d(joined(maps, 1, 1), self.filters(), self.bias)
