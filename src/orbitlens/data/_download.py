"""Downloads of files with verified checksums."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.files import new_file, one_at_a_time, one_line_errors

_SCHEMES = ("https", "http", "file")
_CHUNK = 1 << 20
_PATIENCE_S = 30.0


def fetch(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
) -> Path:
    """Return the path of a file with a known checksum; the file is downloaded if it is missing.

    A download is written under a temporary name and renamed if its checksum is right. An existing
    file is verified and never replaced or removed. If several processes want one file, the first
    one downloads it and the others wait. Give exactly one of the two sums. `size`, in bytes,
    appears in the error of a failed download.
    """
    path = Path(path)
    algorithm, wanted = _checksum(sha256, md5)
    _check_url(url)
    with one_line_errors(path), one_at_a_time(path.parent):
        if path.exists():
            _check_existing(path, algorithm, wanted)
            return path
        with new_file(path) as partial:
            _download(url, partial, path, algorithm, wanted, size)
    return path


@dataclass(frozen=True)
class PublishedFile:
    """A file of a public record: its address, its MD5 sum, and its size in bytes."""

    url: str
    md5: str
    size: int


def zenodo_files(url: str) -> dict[str, PublishedFile]:
    """Return the files of a Zenodo record, https://zenodo.org/api/records/NUMBER, by name."""
    _check_url(url)
    text = b"".join(_chunks(url, Path("the list of files"), None))
    try:
        return {
            entry["key"]: PublishedFile(
                url=entry["links"]["self"],
                md5=entry["checksum"].removeprefix("md5:"),
                size=int(entry["size"]),
            )
            for entry in json.loads(text)["files"]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrbitLensError(
            f"answer of {url}",
            expected="a Zenodo record with key, checksum, size and link of every file",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="get the files by hand",
        ) from error


def _checksum(sha256: str | None, md5: str | None) -> tuple[str, str]:
    if sha256 is not None and md5 is None:
        return "sha256", sha256.lower()
    if md5 is not None and sha256 is None:
        return "md5", md5.lower()
    raise OrbitLensError(
        "checksum",
        expected="one of `sha256` and `md5`",
        received="neither" if md5 is None else "both",
        remedy="give the sum from the publisher",
    )


def _check_url(url: str) -> None:
    if url.partition(":")[0] not in _SCHEMES:
        raise OrbitLensError(
            "`url`",
            expected=f"one that begins with {', '.join(_SCHEMES)}",
            received=repr(url),
            remedy="give the whole address",
        )


def _check_existing(path: Path, algorithm: str, wanted: str) -> None:
    try:
        with path.open("rb") as file:
            received = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise OrbitLensError(
            str(path),
            expected="a file that can be read",
            received=one_line(error),
            remedy="check the path and its permissions",
        ) from error
    if received != wanted:
        raise OrbitLensError(
            f"{path}, which is there already",
            expected=f"the {algorithm} sum {wanted}",
            received=received,
            remedy="it was left unchanged; move it away to download it again",
        )


def _download(
    url: str, partial: Path, path: Path, algorithm: str, wanted: str, size: int | None
) -> None:
    # MD5 detects damage, as the publishers intend. It is no proof of origin.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    count = 0
    with partial.open("wb") as file:
        for chunk in _chunks(url, path, size):
            digest.update(chunk)
            count += len(chunk)
            file.write(chunk)
    if digest.hexdigest() != wanted:
        raise OrbitLensError(
            f"download of {url}",
            expected=f"the {algorithm} sum {wanted}",
            received=f"{digest.hexdigest()} of {count:,} bytes, which were removed",
            remedy="try again; if it happens twice, the publisher has changed the file",
        )


def _chunks(url: str, path: Path, size: int | None) -> Iterator[bytes]:
    try:
        with urlopen(url, timeout=_PATIENCE_S) as response:  # noqa: S310 - schemes are checked
            while chunk := response.read(_CHUNK):
                yield chunk
    except (OSError, HTTPException) as error:
        about = "" if size is None else f" ({size / 1e6:,.1f} MB)"
        raise OrbitLensError(
            str(path),
            expected=f"to download it from {url}{about}",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="check the network, or get the file by other means and put it there",
        ) from error
