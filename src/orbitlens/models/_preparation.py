"""Making images ready for a pretrained network: channels, size, normalisation."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from orbitlens.errors import OrbitLensError
from orbitlens.models.base import Prepare

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def image_preparation(
    *, size: tuple[int, int], channels: int, mean: Sequence[float], std: Sequence[float]
) -> Prepare:
    """Return the function that makes images in [0, 1] ready for a network.

    Grey images are repeated to `channels`; the whole image is resized, bilinear with antialiasing,
    and never cropped, so that turns and flips of the image stay turns and flips; then
    (image - mean) / std.

    Args:
        size: Height and width that the network expects, in pixels.
        channels: Number of channels that it expects.
        mean: Mean per channel, or one for all.
        std: Standard deviation per channel, or one for all.

    Raises:
        OrbitLensError: If there are as many means or deviations as neither.

    Example:
        >>> prepare = image_preparation(size=(8, 8), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> prepare(torch.ones(2, 1, 28, 28)).shape
        torch.Size([2, 3, 8, 8])
    """
    if {len(mean), len(std)} - {1, channels}:
        raise OrbitLensError(
            "normalisation of images",
            expected=f"1 or {channels} means and standard deviations",
            received=f"{len(mean)} and {len(std)}",
            remedy="correct the settings of the network",
        )
    centre = torch.tensor(tuple(mean)).reshape(1, -1, 1, 1)
    scale = torch.tensor(tuple(std)).reshape(1, -1, 1, 1)

    def prepare(
        images: Float[Tensor, "n channels height width"],
    ) -> Float[Tensor, "n out_channels out_height out_width"]:
        if images.shape[1] == 1:
            images = images.expand(-1, channels, -1, -1)
        if images.shape[-2:] != size:
            images = interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        return (images - centre.to(images)) / scale.to(images)

    return prepare


def check_channels(name: str, image_shape: tuple[int, int, int], channels: int) -> None:
    """Check that images of this shape can be given to a network of so many channels.

    Args:
        name: Name of the network, for the message.
        image_shape: Channels, height and width of the images.
        channels: Channels that the network expects; grey images always fit.

    Raises:
        OrbitLensError: If they cannot.
    """
    if image_shape[0] not in (1, channels):
        raise OrbitLensError(
            f"images for {name}",
            expected=f"1 or {channels} channels" if channels != 1 else "1 channel",
            received=image_shape[0],
            remedy="convert the images or choose another network",
        )
