"""Files from the Hugging Face Hub: the cache first, then one quick look whether the Hub is there.

Without that look the Hub's client tries again for half a minute where there is no network.
"""

from pathlib import Path

from orbitlens.errors import OrbitLensError, missing_extra, one_line

_PATIENCE_S = 10.0


def hub_file(repo: str, filename: str, *, subject: str) -> Path | None:
    """Return a file of a repository, downloaded unless it is in the cache.

    Args:
        repo: Such as "facebook/dinov2-small".
        filename: A file in it.
        subject: What the user asked for, for messages.

    Returns:
        Its path; None if the repository has no such file.

    Raises:
        OrbitLensError: If the Hub cannot be reached or has no such repository.
    """
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
    """Check that the Hub can be reached and has a repository.

    Raises:
        OrbitLensError: If not.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise missing_extra("huggingface_hub", extra="hf") from None
    try:
        HfApi().model_info(repo, timeout=_PATIENCE_S)
    except Exception as error:
        raise _unreachable(repo, subject, error) from error


def _unreachable(repo: str, subject: str, error: Exception) -> OrbitLensError:
    """Return the error for a repository that cannot be had."""
    return OrbitLensError(
        subject,
        expected=f"{repo!r} in the cache, or on huggingface.co to download from",
        received=f"{type(error).__name__}: {one_line(error)}",
        remedy="check the name and the network, give a local folder, or try the architecture alone "
        "with random weights (--random-weights)",
    )
