"""How images are prepared for a network: channels, size, crop and normalisation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import interpolate, pad

from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError, warn
from orbitlens.models._pretrained import Size

_BEYOND = 0.1  # of [0, 1], for images that were sharpened or interpolated
_DARK, _MANY = 1 / 64, 16


@final
@dataclass(frozen=True)
class ImagePreparation:
    """Prepare images in [0, 1] for a network.

        (factor image + offset - mean) / std

    Grey images are repeated to `channels`. The whole image is resized with antialiasing. Then the
    centre of size `crop` is cut out, or a smaller image is surrounded with zeros. All this moves
    with turns and flips of the image, if the margins of the crop are even.

    Args:
        size: Height and width to resize to, or the pixels of the shorter side; None (the default)
            leaves the size.
        channels: Channels that the network takes; None (the default) leaves them as they are, or
            means as many as there are means.
        mean: One value or one per channel, default 0.
        std: One value or one per channel, default 1.
        name: Name of the network in errors.
        filter: "bilinear" (the default), "bicubic" or "nearest".
        oblong: Whether images that are not square are taken, the default, or refused.
        crop: Height and width of the centre that is cut out; None cuts nothing.
        factor: Default 1.
        offset: Default 0.
        flip: Whether red and blue are exchanged at the end.

    Raises:
        OrbitLensError: If there are neither 1 nor `channels` means and standard deviations, or one
            of these is 0. When it is called: if images are beyond [0, 1]; whole numbers of 8 bits
            are divided by 255 first.

    Example:
        >>> prepare = ImagePreparation(size=(48, 48), channels=3, mean=(0.5,), std=(0.5,))
        >>> ready = prepare(torch.ones(2, 1, 64, 64))
        >>> list(ready.shape), ready.max().item()
        ([2, 3, 48, 48], 1.0)
    """

    size: Size | int | None = None
    channels: int | None = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    name: str = "the network"
    filter: str = "bilinear"
    oblong: bool = True
    crop: Size | None = None
    factor: float = 1.0
    offset: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else (self.size,)
        for side in (*sides, *(self.crop or ())):
            if side is not None:
                as_count("size", side)
        for numbers in (self.mean, self.std):
            if isinstance(numbers, float | int):
                raise OrbitLensError(
                    "normalisation of images",
                    expected="a tuple of means and one of standard deviations",
                    received=f"the number {numbers}",
                    remedy=f"write ({numbers},)",
                )
        many = max(len(self.mean), len(self.std))
        if self.channels is None and many > 1:
            object.__setattr__(self, "channels", many)
        wanted = {1, self.channels or 1}
        if {len(self.mean), len(self.std)} - wanted:
            raise OrbitLensError(
                "normalisation of images",
                expected=f"{' or '.join(map(str, sorted(wanted)))} means and standard deviations",
                received=f"{len(self.mean)} and {len(self.std)}",
                remedy="give one for all channels, or one for each",
            )
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if 0 in self.std or not finite:
            raise OrbitLensError(
                "normalisation of images",
                expected="finite means, and standard deviations other than 0",
                received=f"{list(self.mean)} and {list(self.std)}",
                remedy="give those of the images that the network was trained on",
            )

    @property
    def image_size(self) -> int | None:
        """Side of square images that are not enlarged; None if any size is taken."""
        return max(self.size) if isinstance(self.size, tuple) else self.size

    def __call__(
        self, images: Shaped[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n out_channels out_height out_width"]:
        """Return images as the network takes them."""
        images = _within_range(images, self.name)
        if not self.oblong and images.shape[-2] != images.shape[-1]:
            raise OrbitLensError(
                f"images for {self.name}",
                expected="squares, as it would fill others up",
                received=f"{images.shape[-2]} x {images.shape[-1]}",
                remedy="cut or fill them up to squares",
            )
        if images.shape[1] == 1 and self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        images = _resized(images, self.size, self.filter, self.name)
        if self.crop is not None and images.shape[-2:] != self.crop:
            images = _cut(images, self.crop)
        if (self.factor, self.offset) != (1.0, 0.0):
            images = images * self.factor + self.offset
        images = (images - _per_channel(self.mean, images)) / _per_channel(self.std, images)
        return images.flip(1) if self.flip else images


def _per_channel(
    values: Sequence[float], images: Float[Tensor, "n c h w"]
) -> Float[Tensor, "1 _ 1 1"]:
    return torch.tensor(tuple(values)).reshape(1, -1, 1, 1).to(images)


def _within_range(images: Shaped[Tensor, "n *axes"], name: str) -> Float[Tensor, "n *axes"]:
    """Return images in [0, 1]; refuse those that are in another range, and warn of dark ones."""
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point() or images.numel() == 0:
        images = images.float()
    if images.numel() == 0:
        return images
    low, high = (bound.item() for bound in images.detach().aminmax())
    if low < -_BEYOND or high > 1 + _BEYOND:
        raise OrbitLensError(
            f"images for {name}",
            expected="values in [0, 1], which it normalises itself",
            received=f"{low:.4g} to {high:.4g}",
            remedy=_remedy(low, high),
        )
    if 0 < high < _DARK and len(images) >= _MANY:
        warn(
            f"images for {name}",
            found=f"the brightest value of a batch is below 1/{round(1 / _DARK)}, and white is 1",
            remedy="divide the images by their own white, such as 4095 for 12 bits",
        )
    return images


def _remedy(low: float, high: float) -> str:
    if low < -_BEYOND:
        return "give them before they are normalised, or (images + 1) / 2 if they are in [-1, 1]"
    if high > 255:
        return "divide them by the white of their type, such as 4095 or 65535"
    return "divide them by their white, such as 255"


def _resized(
    images: Float[Tensor, "n c height width"], size: Size | int | None, filter: str, name: str
) -> Float[Tensor, "n c out_height out_width"]:
    height, width = images.shape[-2:]
    if isinstance(size, int):
        short, long = sorted((height, width))
        far = int(size * long / short)
        size = (size, far) if height <= width else (far, size)
    if size is None or size == (height, width):
        return images
    if filter == "nearest":
        rows, columns = (_nearest(a, b) for a, b in zip((height, width), size, strict=True))
        return images[..., rows, :][..., columns]
    if filter not in ("bilinear", "bicubic"):
        raise OrbitLensError(
            f"images for {name}",
            expected=f"{size[0]} x {size[1]} pixels, as it resizes others with {filter} "
            "interpolation, which is not known here",
            received=f"{height} x {width}",
            remedy=f"resize them (command line: --image-size {size[0]})",
        )
    resized = interpolate(images, size, mode=filter, antialias=True, align_corners=False)
    # Bicubic interpolation swings beyond black and white; image libraries cut this off.
    return resized.clamp(0, 1) if filter == "bicubic" else resized


def _nearest(length: int, wanted: int) -> list[int]:
    """Return the pixels that Pillow takes; its sums of steps decide between equally near ones."""
    step = length / wanted
    places = accumulate([step / 2] + [step] * (wanted - 1))
    return [min(length - 1, int(place)) for place in places]


def _cut(
    images: Float[Tensor, "n c height width"], size: Size
) -> Float[Tensor, "n c out_height out_width"]:
    """Cut out the centre, or surround with zeros, as the image processors of transformers do."""
    height, width = images.shape[-2:]
    above, left = max(0, size[0] - height + 1) // 2, max(0, size[1] - width + 1) // 2
    below, right = max(0, size[0] - height) // 2, max(0, size[1] - width) // 2
    images = pad(images, (left, right, above, below))
    top, side = (images.shape[-2] - size[0]) // 2, (images.shape[-1] - size[1]) // 2
    return images[..., top : top + size[0], side : side + size[1]]
