"""Shared by the loaders of pretrained networks: preparation of images, files of the Hub."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from orbitlens.errors import OrbitLensError, missing_extra, one_line
from orbitlens.models.base import Prepare

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_PATIENCE_S = 10.0


def image_preparation(
    *, size: tuple[int, int], channels: int, mean: Sequence[float], std: Sequence[float]
) -> Prepare:
    """Return the function that prepares images in [0, 1] for a network.

    It repeats grey images to `channels`, resizes the whole image to `size` = (height, width),
    bilinearly with antialiasing, and returns (image - mean) / std, with one value or one per
    channel. It never crops, so that turns and flips of the image stay turns and flips.
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
