"""Opening a store, and refusing whatever is not a whole one."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from orbitlens.activations.store import REMAKE, ActivationStore
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.groups import Group

FORMAT = "orbitlens-activations"
SCHEMA = 1


def open_store(path: Path | str) -> ActivationStore:
    """Open a store on disk, after checking that it is whole.

    Args:
        path: The folder given as `out` when the store was made.

    Raises:
        OrbitLensError: If there is no such folder, if it is no store, if it was left half-written,
            if a newer version wrote it, or if chunks are missing.
    """
    path = Path(path)
    if not path.is_dir():
        raise OrbitLensError(
            f"store {path}",
            expected="the folder of a store",
            received="a file" if path.exists() else "no such path",
            remedy="give the path that the store was written to",
        )
    try:
        root = zarr.open_group(path, mode="r", zarr_format=3)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise _no_store(path, f"no Zarr group ({one_line(error)})") from error
    return read_store(root, path)


def read_store(root: zarr.Group, path: Path | None) -> ActivationStore:
    """Build a store from its Zarr group; see `open_store`."""
    record: dict[str, Any] = {**root.attrs.asdict()}
    _check_header(record, path)
    try:
        moves, labels = record["moves"], None
        if record["labelled"]:
            labels = np.asarray(_whole_array(root, "labels")[:], dtype=np.int64)
        store = ActivationStore(
            path=path,
            group=Group.from_dict(record["group"]),
            action=record["action"],
            action_config=record["action_config"],
            model=record["model"],
            layer=record["layer"],
            digest=record["digest"],
            labels=labels,
            class_names=tuple(record["class_names"]),
            moves=None if moves is None else np.array(moves, dtype=np.int64),
            array=_whole_array(root, "activations"),
        )
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise _damaged(path, one_line(error)) from error
    _check_shapes(store)
    return store


def _check_header(record: dict[str, Any], path: Path | None) -> None:
    if record.get("format") != FORMAT:
        raise _no_store(path, f"a Zarr group of format {record.get('format')!r}")
    if record.get("schema") != SCHEMA:
        raise OrbitLensError(
            f"store {path}",
            expected=f"schema {SCHEMA}",
            received=f"schema {record.get('schema')!r}",
            remedy="update orbitlens, or harvest the activations again",
        )
    if record.get("complete") is not True:
        raise OrbitLensError(
            f"store {path}",
            expected="a store written to its end",
            received="an incomplete one",
            remedy=REMAKE,
        )


def _whole_array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    if not isinstance(array, zarr.Array):
        raise KeyError(f"no array {name!r}")
    # A missing chunk would read as zeros, and the writer leaves out none, not even one of zeros.
    if array.nchunks_initialized != array.nchunks:
        raise ValueError(f"{array.nchunks_initialized} of the {array.nchunks} chunks of {name!r}")
    return array


def _check_shapes(store: ActivationStore) -> None:
    array = store.array
    if array.ndim not in (3, 4) or array.shape[1] != store.group.order or array.dtype != np.float32:
        raise _damaged(store.path, f"activations {array.shape} {array.dtype} for {store.group}")
    if store.moves is not None and store.moves.shape != (store.group.order, store.positions):
        raise _damaged(store.path, f"moves of shape {store.moves.shape} for {array.shape}")
    if store.labels is not None and len(store.labels) != store.n:
        raise _damaged(store.path, f"{len(store.labels)} labels for {store.n} samples")


def _damaged(path: Path | None, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"store {path}", expected="an intact store", received=received, remedy=REMAKE
    )


def _no_store(path: Path | None, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"store {path}",
        expected="a folder written by `harvest` or `store_from_array`",
        received=received,
        remedy="give the path of a store",
    )
