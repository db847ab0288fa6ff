"""What relaxed layers on images share: checks of their maps, and correlation with kernels."""

from typing import final

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError
from orbitlens.groups import turns_and_flips
from orbitlens.models import GroupConv2d, LiftingConv2d, joined


@final
class Grid:
    """The places at which a convolution looks; its group must move them to each other.

    Group, kernel and padding are those of an exact layer.
    """

    def __init__(self, exact: LiftingConv2d | GroupConv2d, stride: int) -> None:
        self.group, self.kernel, self.padding = exact.group, exact.kernel, exact.padding
        self.stride = as_count("stride", stride)
        turns, _ = turns_and_flips(self.group) or (1, False)
        self.square = turns not in (1, 2)

    def correlated(
        self,
        maps: Float[Tensor, "batch channels height width"],
        kernels: Float[Tensor, "out in kernel kernel"],
        biases: Float[Tensor, " out"] | None,
    ) -> Float[Tensor, "batch out out_height out_width"]:
        """Return the correlation at every `stride`-th place."""
        self._check(maps, kernels.shape[1])
        margin = self.kernel // 2
        if self.padding == "circular":
            maps = joined(maps, margin, margin)
        padding = margin if self.padding == "zeros" else 0
        return conv2d(maps, kernels, biases, self.stride, padding)

    def _check(self, maps: Tensor, channels: int) -> None:
        if maps.ndim != 4 or maps.shape[1] != channels or not maps.is_floating_point():
            raise OrbitLensError(
                "`maps` of a relaxed convolution",
                expected=f"floats of shape [batch, {channels}, height, width]",
                received=f"{str(maps.dtype).removeprefix('torch.')} of shape {list(maps.shape)}",
                remedy="give the channels that the layer was built for; functions on the group "
                "have one for each feature and element",
            )
        height, width = maps.shape[2:]
        if self.square and height != width:
            raise OrbitLensError(
                f"`maps` of a relaxed convolution under {self.group.name}",
                expected="height = width",
                received=f"{height} x {width}",
                remedy="crop or resize the images to squares; C2, D1 and D2 work on any size",
            )
        # The places that a stride keeps must lie evenly about the centre.
        first = self.kernel if self.padding == "none" else 1
        uneven = (height - first) % self.stride or (width - first) % self.stride
        if uneven and self.group.order > 1:
            raise OrbitLensError(
                f"`maps` of a relaxed convolution with stride {self.stride}",
                expected=f"height and width of {first} + a multiple of {self.stride}, so that "
                f"{self.group.name} moves the places that are kept to each other",
                received=f"{height} x {width}",
                remedy="crop or pad the images, such as 84 x 84 to 85 x 85",
            )
