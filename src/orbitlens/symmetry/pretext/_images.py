"""Square images at the door."""

from jaxtyping import Shaped
from torch import Tensor

from orbitlens.errors import OrbitLensError


def as_squares(subject: str, images: object) -> Shaped[Tensor, "n channels side side"]:
    """Return images that are square, of any type; refuse all others."""
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise OrbitLensError(
            subject,
            expected="a tensor of shape [n, channels, side, side]",
            received=list(images.shape) if isinstance(images, Tensor) else type(images).__name__,
            remedy="give grey images a channel axis with images[:, None]",
        )
    height, width = images.shape[-2:]
    if height != width:
        raise OrbitLensError(
            subject,
            expected="height = width",
            received=f"{height} x {width}",
            remedy="crop or resize the images to squares",
        )
    return images
