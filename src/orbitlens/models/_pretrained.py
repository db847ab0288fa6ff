"""Shared by the loaders of pretrained networks: channels and normalisation, files of the Hub."""

from pathlib import Path

from orbitlens.errors import OrbitLensError, missing_extra, one_line

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Size = tuple[int, int]  # height and width
_PATIENCE_S = 10.0


def check_channels(name: str, image_shape: tuple[int, ...] | None, channels: int) -> None:
    """Check that images [channels, height, width] fit a network of `channels`; grey always fits.

    Images of None are not known yet.
    """
    if image_shape is not None and image_shape[0] not in (1, channels):
        raise OrbitLensError(
            f"images for {name}",
            expected=f"1 or {channels} channels" if channels != 1 else "1 channel",
            received=image_shape[0],
            remedy="convert the images (command line: --channels), or choose another network",
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
