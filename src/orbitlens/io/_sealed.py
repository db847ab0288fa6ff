"""Tensors in safetensors under a seal, and the checks of every folder.

The metadata of a file have a digest of its tensors and one of the record that belongs to it, such
as `cfg.json`. So a bit that flipped, and a file that was put beside another record, are noticed
when it is read. Files of earlier versions, and of other programs, have no seal; they are checked
for numbers that are not finite, as all are.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from orbitlens.checks import bytes_of
from orbitlens.errors import DamageError, OrbitLensError, one_line
from orbitlens.files import check_regular, digest_of
from orbitlens.typing import Tensor

SCHEMA = 1
_SEAL = "orbitlens"
# What a missing field raises, or one of another type or size.
_OF_A_FIELD = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)


def write_tensors(
    tensors: Mapping[str, Tensor],
    path: Path,
    record: Mapping[str, Any],
    *,
    loose: Collection[str] | None = (),
) -> None:
    """Write named tensors to a file, sealed together with the record that belongs to them.

    Numbers are finite, except in `loose` tensors; None for all of them.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    check_finite(whole, f"tensors for {path.name}", loose)
    seal = {"tensors": digest_of_tensors(whole), "record": digest_of(record)}
    try:
        save_file(whole, path, metadata={_SEAL: json.dumps(seal)})
    except SafetensorError as error:
        # Mostly a full disk, in the words of another language.
        raise OSError(one_line(error)) from error
    path.chmod(0o644)  # safetensors leaves it readable by its owner alone


def read_tensors(
    path: Path, record: Mapping[str, Any], *, loose: Collection[str] | None = ()
) -> dict[str, Tensor]:
    """Read named tensors; refuse a file that is missing, damaged or sealed with another record."""
    tensors, metadata = open_tensors(path)
    check_finite(tensors, str(path), loose)
    if _SEAL not in metadata:
        return tensors
    seal = _parsed(path, metadata[_SEAL])
    found = digest_of_tensors(tensors)
    if seal.get("tensors") != found:
        raise _damaged(path, f"the numbers that were written, digest {seal.get('tensors')}", found)
    if seal.get("record") != digest_of(record):
        raise DamageError(
            str(path),
            expected="the record and the settings that it was written with",
            received="others",
            remedy="they are not of the same training, or were changed since; restore both "
            "together, or train again",
        )
    return tensors


def open_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file as they are, and its metadata."""
    check_regular(path)
    try:
        with safe_open(path, "pt") as file:
            # Copied: products round otherwise in memory that is not aligned as torch aligns it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except Exception as error:  # a header that was changed can raise almost anything
        missing = isinstance(error, FileNotFoundError)
        received = "no such file" if missing else f"damage ({one_line(error)})"
        raise _damaged(path, "a whole safetensors file", received) from None


def seal_of(path: Path) -> str:
    """Return the seal of a file, by which other files name it; empty if it has none."""
    try:
        with safe_open(path, "pt") as file:
            seal = _parsed(path, (file.metadata() or {}).get(_SEAL, "{}"))
    except OrbitLensError:
        raise
    except Exception as error:
        raise _damaged(path, "a whole safetensors file", one_line(error)) from None
    return " ".join(str(seal[name]) for name in sorted(seal))


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return sixteen hexadecimal digits that change with any name, type, shape or number."""
    content = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        if tensor.numel():
            content.update(bytes_of(tensor).data)
    return content.hexdigest()[:16]


def check_finite(
    tensors: Mapping[str, Tensor], subject: str, loose: Collection[str] | None = ()
) -> None:
    """Refuse tensors with NaN or infinity, except `loose` ones; None for all of them."""
    for name, tensor in tensors.items():
        if (
            loose is None
            or name in loose
            or not tensor.is_floating_point()
            or bool(tensor.isfinite().all())
        ):
            continue
        raise DamageError(
            subject,
            expected="finite numbers",
            received=f"{int((~tensor.isfinite()).sum())} NaN or infinite values in {name}",
            remedy="the training diverged, or the file is damaged; train it again",
        )


@contextmanager
def complete(path: Path) -> Iterator[None]:
    """Turn a missing field, or one of another type, into an error that names the file."""
    try:
        yield
    except OrbitLensError:
        raise
    except _OF_A_FIELD as error:
        raise DamageError(
            str(path),
            expected="every field that OrbitLens writes",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="the file is incomplete or of another program; write it again",
        ) from None


def check_schema(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse a folder in the format of a later version."""
    schema = record.get("schema", SCHEMA)
    if schema != SCHEMA:
        later = isinstance(schema, int) and schema > SCHEMA
        raise OrbitLensError(
            str(folder),
            expected=f"schema {SCHEMA}",
            received=repr(schema),
            remedy="a newer OrbitLens wrote it; upgrade" if later else "the file is damaged",
        )


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        seal = json.loads(text)
    except (ValueError, RecursionError):
        seal = None
    if not isinstance(seal, dict):
        raise _damaged(path, "a whole safetensors file", "metadata that are no seal")
    return seal


def _damaged(path: Path, expected: str, received: str) -> OrbitLensError:
    return DamageError(
        str(path),
        expected=expected,
        received=received,
        remedy="the file is missing or damaged; copy or train it again",
    )
