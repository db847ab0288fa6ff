"""Shared by the loaders of pretrained networks: preparation of images, files of the Hub."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import interpolate, pad

from orbitlens.errors import OrbitLensError, missing_extra, one_line, warn
from orbitlens.models.base import Prepare

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Size = tuple[int, int]  # height and width
_PATIENCE_S = 10.0
_BEYOND = 0.1  # of [0, 1], for images that were sharpened or interpolated
_DARK, _MANY = 1 / 64, 16


def image_preparation(
    *,
    size: Size | int | None,
    channels: int,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    name: str = "the network",
    filter: str = "bilinear",
    oblong: bool = True,
    crop: Size | None = None,
    factor: float = 1.0,
    offset: float = 0.0,
    flip: bool = False,
) -> Prepare:
    """Return the function that prepares images in [0, 1] for a network.

    It repeats grey images to `channels` and resizes the whole image with antialiasing: to `size` =
    (height, width), or so that the shorter side has `size` pixels; None leaves the size. Without
    `oblong` it refuses images that are not square. It cuts the centre of size `crop` out, or
    surrounds a smaller image with zeros. It returns (factor image + offset - mean) / std, with one
    value or one per channel; `flip` exchanges red and blue at the end. All this moves with turns
    and flips of the image, if the margins of the crop are even.

    Whole numbers of 8 bits are divided by 255. Other values beyond [0, 1] are an error.
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
        images: Shaped[Tensor, "n channels height width"],
    ) -> Float[Tensor, "n out_channels out_height out_width"]:
        images = _within_range(images, name)
        if not oblong and images.shape[-2] != images.shape[-1]:
            raise OrbitLensError(
                f"images for {name}",
                expected="squares, as it would fill others up",
                received=f"{images.shape[-2]} x {images.shape[-1]}",
                remedy="cut or fill them up to squares",
            )
        if images.shape[1] == 1:
            images = images.expand(-1, channels, -1, -1)
        images = _resized(images, size, filter, name)
        if crop is not None and images.shape[-2:] != crop:
            images = _cut(images, crop)
        if (factor, offset) != (1.0, 0.0):
            images = images * factor + offset
        images = (images - centre.to(images)) / scale.to(images)
        return images.flip(1) if flip else images

    return prepare


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


def check_channels(name: str, image_shape: tuple[int, int, int], channels: int) -> None:
    """Check that images [channels, height, width] fit a network of `channels`; grey always fits."""
    if image_shape[0] not in (1, channels):
        raise OrbitLensError(
            f"images for {name}",
            expected=f"1 or {channels} channels" if channels != 1 else "1 channel",
            received=image_shape[0],
            remedy="convert the images or choose another network",
        )


def hub_file(repo: str, filename: str, *, subject: str) -> Path | None:
    """Return a file of a Hub repository from the cache or by download, None if it has none."""
    try:
        from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise missing_extra("huggingface_hub", extra="hf") from None
    cached = try_to_load_from_cache(repo, filename)
    if isinstance(cached, str):
        return Path(cached)
    if cached is _CACHED_NO_EXIST:
        return None
    check_hub(repo, subject=subject)
    try:
        return Path(hf_hub_download(repo, filename))
    except LocalEntryNotFoundError as error:
        raise _unreachable(repo, subject, error) from error
    except EntryNotFoundError:
        return None


def check_hub(repo: str, *, subject: str) -> None:
    """Check that the Hub has a repository; without a network its client retries for 30 seconds."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise missing_extra("huggingface_hub", extra="hf") from None
    try:
        HfApi().model_info(repo, timeout=_PATIENCE_S)
    except Exception as error:
        raise _unreachable(repo, subject, error) from error


def _unreachable(repo: str, subject: str, error: Exception) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected=f"{repo!r} in the cache, or on huggingface.co to download from",
        received=f"{type(error).__name__}: {one_line(error)}",
        remedy="check the name and the network, give a local folder, or try the architecture alone "
        "with random weights (--random-weights)",
    )
