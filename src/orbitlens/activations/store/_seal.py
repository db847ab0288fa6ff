"""The seal of a store: a digest of everything that its readers know, apart from the activations.

It is written when the store is complete. Where it does not fit, `zarr.json` or a small array was
damaged or changed since. Stores of earlier versions have none.
"""

import hashlib
from typing import Any

import numpy as np
import zarr

from orbitlens.activations.store._checksums import NAME, checksums_in, fingerprint_of
from orbitlens.files import digest_of

SEAL, FINGERPRINT = "seal", "fingerprint"
_SMALL = ("labels", "files", "basis")
_ARRAYS = ("activations", NAME, *_SMALL)


def seal_store(root: zarr.Group) -> None:
    """Mark a store as complete, in one write, with its fingerprint and its seal."""
    checksums = checksums_in(root)
    changes: dict[str, Any] = {"complete": True}
    if checksums is not None:
        changes[FINGERPRINT] = fingerprint_of(checksums.values)
        changes[SEAL] = _seal({**root.attrs.asdict(), **changes}, root)
    root.update_attributes(changes)


def check_seal(root: zarr.Group, record: dict[str, Any]) -> None:
    """Check the seal of a complete store with these attributes, if it has one.

    Raises:
        ValueError: If something was changed since.
    """
    if SEAL in record and record[SEAL] != _seal(record, root):
        raise ValueError("attributes, labels, files or shapes that are not those that were written")


def _seal(record: dict[str, Any], root: zarr.Group) -> str:
    content: dict[str, Any] = {name: value for name, value in record.items() if name != SEAL}
    for name in _ARRAYS:
        array = root.get(name)
        if not isinstance(array, zarr.Array):
            continue
        cut = [list(part or ()) for part in (array.shape, array.chunks, array.shards)]
        content[f"array {name}"] = [str(array.dtype), *cut]
        if name in _SMALL:
            little = np.asarray(array[...]).astype(array.dtype.newbyteorder("<"))
            digest = hashlib.sha256(little.tobytes()).hexdigest()
            content[f"array {name}"] += [digest, array.attrs.asdict()]
    return digest_of(content)
