"""Reading and writing safetensors, and the checks of every folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.typing import Tensor

SCHEMA = 1


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors to a file."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(0o644)  # safetensors leaves it readable by its owner alone


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a file; refuse one that is missing or damaged."""
    try:
        # Copied: products round otherwise in memory that is not aligned as torch aligns it.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise OrbitLensError(
            str(path),
            expected="a whole safetensors file",
            received="no such file"
            if isinstance(error, FileNotFoundError)
            else f"damage ({error})",
            remedy="the file is missing or truncated; copy or train it again",
        ) from None


@contextmanager
def complete(path: Path) -> Iterator[None]:
    """Turn a missing field, or one of another type, into an error that names the file."""
    try:
        yield
    except OrbitLensError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise OrbitLensError(
            str(path),
            expected="every field that OrbitLens writes",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="the file is incomplete or of another program; write it again",
        ) from None


def check_schema(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse a folder in the format of a later version."""
    if record.get("schema", SCHEMA) > SCHEMA:
        raise OrbitLensError(
            str(folder),
            expected=f"schema {SCHEMA} or older",
            received=record["schema"],
            remedy="a newer OrbitLens wrote it; upgrade",
        )
