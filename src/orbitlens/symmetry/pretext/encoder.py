"""An encoder of images that is equivariant by construction and keeps what lies where."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from orbitlens.checks import as_count, as_floats, as_seed, check_weights
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.models import GroupConv2d, LiftingConv2d, keeps_settings
from orbitlens.symmetry.pretext._batch_norm import GroupBatchNorm

_SMALLEST = 4


@final
@keeps_settings
class GroupEncoder(nn.Module):
    """Encodes images as functions on a group: copies of its regular representation.

        z = E(x)        E(gx)[f, a] = z[f, g^-1 a]

    A lifting layer with w functions, group convolutions with 2 w, means over 2 x 2 pixels, and at
    last a group convolution whose kernel covers the whole map. A mean over places in its stead
    would lose which part lies where, and pretext tasks ask for that.

    Source: Cohen & Welling 2016, arXiv 1602.07576, for the layers. Sizes are our choice: Mukuta &
    Harada 2023, arXiv 2303.04427, has other networks.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        side: Height and width of the images, in pixels.
        channels: Channels of the images; default 1.
        width: w; default 12.
        out_features: Functions f of the output; default 4 w.
        halvings: How often 2 x 2 pixels become one. Default: while the side is even and above 4.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, if a size is below 1, if a map of
            odd side would be halved, or if the weights need more memory than the machine has.

    Example:
        >>> model = GroupEncoder("D4", side=8, width=2)
        >>> model.features, model(torch.rand(5, 1, 8, 8)).shape
        (8, torch.Size([5, 64]))
    """

    def __init__(
        self,
        group: Group | str,
        side: int,
        channels: int = 1,
        width: int = 12,
        out_features: int | None = None,
        halvings: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.group, self.side = as_group(group), as_count("side", side)
        self.channels, width = as_count("channels", channels), as_count("width", width)
        self.features = (
            4 * width if out_features is None else as_count("out_features", out_features)
        )
        self.halvings = _halvings(self.side, halvings)
        last = self.side >> self.halvings
        wide = 2 * width
        check_weights(self.features, wide, self.group.order, last, last)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(as_seed(seed))
            self.lift = LiftingConv2d(self.group, self.channels, width)
            self.convs = nn.ModuleList(
                GroupConv2d(self.group, wide if number else width, wide)
                for number in range(1 + self.halvings)
            )
            self.output = GroupConv2d(self.group, wide, self.features, last, padding="none")
        self.norms = nn.ModuleList(
            GroupBatchNorm(self.group, size) for size in (width, *[wide] * len(self.convs))
        )
        self.last_norm = GroupBatchNorm(self.group, self.features)

    def forward(self, images: Float[Tensor, "n channels side side"]) -> Float[Tensor, "n out"]:
        """Return functions on the group, [n, out_features * |G|]."""
        images = self._images(images)
        maps = self.norms[0](self.lift(images)).relu()
        for number, conv in enumerate(self.convs):
            if number:
                maps = avg_pool2d(maps, 2)
            maps = self.norms[number + 1](conv(maps)).relu()
        functions: Tensor = self.last_norm(self.output(maps))
        return functions.flatten(1)

    def _images(self, x: object) -> Float[Tensor, "n channels side side"]:
        images, side = as_floats("images", x), self.side
        if images.ndim != 4 or images.shape[1:] != (self.channels, side, side):
            raise OrbitLensError(
                "`images` of GroupEncoder",
                expected=f"shape [n, {self.channels}, {side}, {side}]",
                received=list(images.shape),
                remedy="crop or resize the images, or build the encoder for their size",
            )
        return images.to(self.lift.tied.dtype)


def _halvings(side: int, given: int | None) -> int:
    """Return how often maps are halved; an odd side would lose a row on one side alone."""
    if given is None:
        count = 0
        while side % 2 == 0 and side > _SMALLEST:
            side, count = side // 2, count + 1
        return count
    given = as_count("halvings", given, least=0)
    if side % 2**given:
        raise OrbitLensError(
            "`halvings`",
            expected="maps of even side: an odd one loses a row, and with it the symmetry",
            received=f"{given} of a side of {side} pixels",
            remedy=f"pad the images to a multiple of {2**given} pixels, or halve less often",
        )
    return given
