"""The headers of the arrays in a .npz or .npy file: what they tell before any number is read."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.lib import format as npy

from orbitlens.errors import OrbitLensError, one_line, unknown_name
from orbitlens.files import TO_READ, one_line_errors

NPZ, NPY = ".npz", ".npy"
INPUTS = "inputs"
_NAMES = (INPUTS, "labels", "class_names", "files", "names")
_DAMAGE = (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
_LONGEST = 2**20  # bytes of a header


@dataclass(frozen=True)
class Header:
    """Shape and type of an array in a file."""

    shape: tuple[int, ...]
    dtype: Any


def read_headers(path: Path) -> dict[str, Header]:
    """Return shape and type of each array, checked."""
    with whole_file(path):
        if path.suffix.lower() == NPY:
            with path.open("rb") as file:
                headers = {INPUTS: _header(file)}
        else:
            with zipfile.ZipFile(path) as archive:
                headers = {}
                for name in archive.namelist():
                    with archive.open(name) as file:
                        headers[name.removesuffix(NPY)] = _header(file)
    _check_headers(path, headers)
    return headers


def _header(file: Any) -> Header:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file, max_header_size=_LONGEST)
    return Header(shape, dtype)


def _check_headers(path: Path, headers: Mapping[str, Header]) -> None:
    if INPUTS not in headers:
        raise OrbitLensError(
            str(path),
            expected=f"an array `{INPUTS}`",
            received=", ".join(headers) or "no array",
            remedy="write numpy.savez(path, inputs=array)",
        )
    for name in headers:
        if name not in _NAMES:
            raise unknown_name(f"array of {path}", name, _NAMES)
    shape, dtype = headers[INPUTS].shape, headers[INPUTS].dtype
    if dtype.kind not in "biuf":
        raise OrbitLensError(
            f"`{INPUTS}` of {path}",
            expected="real numbers",
            received="Python objects" if dtype.hasobject else f"numbers of type {dtype}",
            remedy="convert them, for example with array.astype(numpy.float32)",
        )
    if len(shape) < 2 or 0 in shape:
        raise OrbitLensError(
            f"`{INPUTS}` of {path}",
            expected="shape [n, ...], at least one input with at least one number",
            received=f"shape {list(shape)}",
            remedy="count the inputs by the first axis",
        )
    for name in ("files", "names", "class_names"):
        if name in headers and (headers[name].dtype.kind != "U" or len(headers[name].shape) != 1):
            raise OrbitLensError(
                f"`{name}` of {path}",
                expected="texts, one axis",
                received=f"{headers[name].dtype} of shape {list(headers[name].shape)}",
                remedy="write for example numpy.array(['a', 'b'])",
            )
    for name in ("labels", "files", "names"):
        found = headers[name].shape if name in headers else shape[:1]
        if found != shape[:1]:
            raise OrbitLensError(
                f"`{name}` of {path}",
                expected=f"one for each of the {shape[0]} inputs, shape [{shape[0]}]",
                received=f"shape {list(found)}",
                remedy="give every input one",
            )


@contextmanager
def whole_file(path: Path) -> Iterator[None]:
    """Say in one line that a file is not what its name promises."""
    try:
        with one_line_errors(path, TO_READ):
            yield
    except OrbitLensError:
        raise
    except _DAMAGE as error:
        suffix = path.suffix.lower()
        writer = "numpy.savez" if suffix == NPZ else "numpy.save"
        raise OrbitLensError(
            str(path),
            expected=f"a whole {suffix} file, as {writer} writes it",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy=f"write it again with {writer}",
        ) from error
