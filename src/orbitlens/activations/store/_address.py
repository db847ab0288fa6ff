"""Where a store lies: in a folder, in memory, or at a URL that fsspec can reach."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import overload

from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from orbitlens.errors import MissingExtraError, OrbitLensError, one_line
from orbitlens.files import as_path, one_line_errors

_LOCAL = ("file", "local")


@overload
def address_of(out: Path | str, name: str = ...) -> Path | str: ...
@overload
def address_of(out: Path | str | None, name: str = ...) -> Path | str | None: ...
def address_of(out: Path | str | None, name: str = "out") -> Path | str | None:
    """Return a folder as an absolute path, and a URL as it is but for a slash at its end.

    None stands for memory; `name` is the argument in errors.
    """
    if isinstance(out, str) and "://" in out:
        protocol, rest = out.split("://", 1)
        return as_path(name, rest) if protocol in _LOCAL else out.rstrip("/")
    return None if out is None else as_path(name, out)


@overload
def inside(address: Path | str, name: str) -> Path | str: ...
@overload
def inside(address: Path | str | None, name: str) -> Path | str | None: ...
def inside(address: Path | str | None, name: str) -> Path | str | None:
    """Return the address of a name in a folder or under a URL; empty for the place itself."""
    if address is None or not name:
        return address
    return address / name if isinstance(address, Path) else f"{address}/{name}"


def exists(address: Path | str, name: str = "") -> bool:
    """Return whether anything is at an address, or under a name there."""
    place = inside(address, name)
    if isinstance(place, Path):
        return place.exists() or place.is_symlink()
    with address_errors(address):
        return not sync(zarr_store(place, read_only=True).is_empty(""))


def read_at(url: str, name: str = "") -> bytes | None:
    """Return the content of a small file at a URL, or under a name there; None if it is absent."""
    with address_errors(url):
        system, path = url_to_fs(inside(url, name))
        try:
            content: bytes = system.cat_file(path)
        except FileNotFoundError:
            return None
        return content


def zarr_store(address: Path | str | None, *, read_only: bool = False) -> Store:
    """Return the Zarr store of an address; a new one for memory."""
    if address is None:
        return MemoryStore()
    if isinstance(address, Path):
        return LocalStore(address, read_only=read_only)
    return FsspecStore.from_url(address, read_only=read_only)


@contextmanager
def address_errors(address: Path | str | None) -> Iterator[None]:
    """Turn the errors of the system, or of a URL's library, into one line."""
    if not isinstance(address, str):
        with nullcontext() if address is None else one_line_errors(address):
            yield
        return
    try:
        yield
    except OrbitLensError:
        raise
    except ImportError as error:
        raise MissingExtraError(
            address,
            expected="the library of its protocol to be installed",
            received=one_line(error),
            remedy="install it with pip, or choose a local path",
        ) from error
    except Exception as error:
        raise OrbitLensError(
            address,
            expected="a URL that can be reached, with the rights to it",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="correct the URL, get the rights, or choose another",
        ) from error
