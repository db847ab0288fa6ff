"""The names of the files of a store's samples, in an array `files` beside the activations.

It holds the bytes of a JSON list. The attributes of a store are read whenever it is opened, and a
million names do not belong there.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from orbitlens.checks import as_texts
from orbitlens.errors import OrbitLensError

NAME = "files"


def as_files(files: Sequence[str | Path], n: int) -> tuple[str, ...]:
    """Return one name for each of n samples, or none at all."""
    if isinstance(files, Sequence) and not isinstance(files, str):
        files = [str(file) if isinstance(file, Path) else file for file in files]
    files = as_texts(NAME, files)
    if files and len(files) != n:
        raise OrbitLensError(
            f"`{NAME}`",
            expected=f"one for each of the {n} inputs, or none",
            received=len(files),
            remedy="give every input its file",
        )
    return files


def write_files(root: zarr.Group, files: Sequence[str]) -> None:
    """Write the names; those of an interrupted harvest are written again."""
    content = np.frombuffer(json.dumps(list(files)).encode(), np.uint8)
    root.create_array(
        NAME,
        data=content,
        chunks=content.shape,
        compressors=[Crc32cCodec()],
        overwrite=True,
    )


def read_files(array: zarr.Array[Any], n: int) -> tuple[str, ...]:
    """Read the names of n samples.

    Raises:
        ValueError: If it is no such list.
    """
    files = json.loads(np.asarray(array[:]).tobytes())
    if not (isinstance(files, list) and len(files) == n and all(isinstance(f, str) for f in files)):
        raise ValueError(f"files that are not {n} names")
    return tuple(files)
