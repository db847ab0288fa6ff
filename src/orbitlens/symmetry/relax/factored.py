"""A dense map of feature maps as two factors: one over the pixels in, one over the pixels out.

Source: van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, *Learning Layer-wise
Equivariances Automatically using Gradients*: the factored path, F-FC.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.checks import as_count
from orbitlens.symmetry.relax._block_linear import BlockLinear
from orbitlens.symmetry.relax._maps import as_maps


@final
class FactoredLinear(nn.Module):
    """Maps feature maps to feature maps without a symmetry, by two factors U and V.

        z[c, c'] = a_c' + sum_p U[c', c, p] x[c, p]
        y[c', q] = b_q + sum_c V[q, c', c] z[c, c']

    with p over the pixels in and q over the pixels out. It is a dense linear map whose part from
    channel c to channel c' has rank one, V[:, c', c] U[c', c, :]. So it has c' c (P + Q) weights
    for P pixels in and Q pixels out, where a dense map has c' c P Q.

    U starts uniform in +-sqrt(3 / P), V in +-sqrt(3 / c), biases at zero: outputs have about the
    variance of the inputs.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131, F-FC; sizes and first weights of the
    authors' code, github.com/tychovdo/ella.

    Args:
        in_channels: Channels c.
        out_channels: Channels c'.
        in_side: Height and width of the maps in, in pixels.
        out_side: Height and width of the maps out, in pixels.

    Raises:
        OrbitLensError: If a size is below 1, or maps have another shape.

    Example:
        >>> import torch
        >>> layer = FactoredLinear(3, 8, in_side=16, out_side=8)
        >>> layer(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, in_side: int, out_side: int) -> None:
        super().__init__()
        self.in_channels = as_count("in_channels", in_channels)
        outputs = as_count("out_channels", out_channels)
        self.in_side, self.out_side = as_count("in_side", in_side), as_count("out_side", out_side)
        self.u = BlockLinear(self.in_channels, in_side**2, outputs, (3 / in_side**2) ** 0.5)
        self.v = BlockLinear(outputs, in_channels, out_side**2, (3 / in_channels) ** 0.5)

    def forward(
        self, x: Float[Tensor, "n in height width"]
    ) -> Float[Tensor, "n out out_height out_width"]:
        """Return the maps out, shape [n, out_channels, out_side, out_side]."""
        z = self.u(as_maps(x, self.in_channels, self.in_side).flatten(2))
        return self.v(z.mT).unflatten(2, (self.out_side, self.out_side))
