"""The attributes of a store, and opening it: anything but a whole store is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Int

from orbitlens.activations.layout import layout_sentence
from orbitlens.activations.store._address import address_errors, address_of, zarr_store
from orbitlens.activations.store._checksums import checksums_in
from orbitlens.activations.store._files import NAME as FILES
from orbitlens.activations.store._files import read_files
from orbitlens.activations.store._on_disk import (
    ON_DISK,
    REMAKE,
    array_of,
    check_dtype,
    shards_of,
    stored_shards,
)
from orbitlens.activations.store._seal import FINGERPRINT, check_seal
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.checks import as_labels
from orbitlens.errors import DamageError, OrbitLensError, one_line
from orbitlens.files import TO_READ, check_regular, one_line_errors
from orbitlens.groups import Group, check_moves

_FORMAT = "orbitlens-activations"
# 1: float32, chunks of 4 MiB. 2: other types as well, shards.
_SCHEMA = 2


def describe(
    *,
    group: Group,
    action: str,
    action_config: dict[str, Any] | None = None,
    model: str,
    layer: str,
    digest: str,
    class_names: tuple[str, ...],
    moves: Int[np.ndarray, "group position"] | None = None,
    dtype: str = "float32",
    layout: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the attributes of a store: everything that its readers know apart from the numbers."""
    check_dtype(dtype)
    return {
        "format": _FORMAT,
        "schema": _SCHEMA,
        "complete": False,
        "group": group.to_dict(),
        "action": action,
        "action_config": action_config or {},
        "model": model,
        "layer": layer,
        "digest": digest,
        "class_names": list(class_names),
        "moves": None if moves is None else moves.tolist(),
        "dtype": dtype,
        "layout": layout,
    }


def open_store(path: Path | str) -> ActivationStore:
    """Open a store, after checking that it is whole.

    Args:
        path: The folder or URL given as `out` when the store was made.

    Returns:
        The store. Its numbers are read later, on demand.

    Raises:
        OrbitLensError: If there is no such folder, if it is no store, if it was left half-written,
            if a newer version wrote it, if shards are missing, or if a URL cannot be reached.

    Example:
        >>> import tempfile
        >>> from orbitlens.activations import store_from_array
        >>> from orbitlens.groups import cyclic
        >>> values = np.ones((5, 3, 7), dtype=np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = store_from_array(values, group=cyclic(3), out=f"{folder}/acts.zarr")
        ...     open_store(f"{folder}/acts.zarr").n
        5
    """
    address = address_of(path, "path")
    place = str(address)
    with address_errors(address) if isinstance(address, str) else one_line_errors(place, TO_READ):
        return read_store(open_root(address), address)


def open_root(address: Path | str | None) -> zarr.Group:
    """Open the Zarr group of a store, whole or not."""
    if isinstance(address, Path):
        return _local_group(address)
    with address_errors(address):
        try:
            return zarr.open_group(zarr_store(address, read_only=True), mode="r", zarr_format=3)
        except FileNotFoundError as error:
            raise _no_store(address, "no Zarr group") from error


def _local_group(path: Path) -> zarr.Group:
    if not path.is_dir():
        raise OrbitLensError(
            f"store {path}",
            expected="the folder of a store",
            received="a file" if path.exists() else "no such path",
            remedy="give the path that the store was written to",
        )
    check_regular(path / "zarr.json")
    try:
        return zarr.open_group(path, mode="r", zarr_format=3)
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise _no_store(path, "no Zarr group") from error
    except Exception as error:  # a record that was changed can raise almost anything
        raise _no_store(path, f"no Zarr group ({one_line(error)})") from error


def read_store(root: zarr.Group, path: Path | str | None) -> ActivationStore:
    """Build the record of a store from its Zarr group; see `open_store`."""
    record: dict[str, Any] = {**root.attrs.asdict()}
    _check_header(record, path)
    try:
        moves, labels = record["moves"], None
        array, names = _whole_array(root, "activations"), tuple(record["class_names"])
        if record["labelled"]:
            labels = np.asarray(_whole_array(root, "labels")[:], dtype=np.int64)
            labels = as_labels(labels, int(array.shape[0]), names)
        files: tuple[str, ...] = ()
        if FILES in root:
            files = read_files(_whole_array(root, FILES), int(array.shape[0]))
        fingerprint = record.get(FINGERPRINT, "")
        store = ActivationStore(
            path=path,
            group=Group.from_dict(record["group"]),
            action=record["action"],
            action_config=record["action_config"],
            model=record["model"],
            layer=record["layer"],
            digest=record["digest"],
            labels=labels,
            class_names=names,
            moves=None if moves is None else np.array(moves),
            array=array,
            dtype=record.get("dtype", "float32"),
            checksums=checksums_in(root, fingerprint),
            fingerprint=fingerprint,
            layout=record.get("layout"),
            files=files,
        )
        _check_types(record)
        _check_shapes(store)
        check_seal(root, record)
    except PermissionError:
        raise
    except OrbitLensError as error:
        raise error if str(error).startswith("store ") else _damaged(path, str(error)) from error
    except Exception as error:  # a record that was changed can raise almost anything
        raise _damaged(path, one_line(error)) from error
    return store


def _check_types(record: dict[str, Any]) -> None:
    """Check the types of names, which would be taken as they are."""
    named = ("action", "model", "layer", "digest")
    wrong = [name for name in named if not isinstance(record[name], str)]
    if not isinstance(record["labelled"], bool):
        wrong.append("labelled")
    if not isinstance(record["action_config"], dict):
        wrong.append("action_config")
    if record.get("layout") is not None:
        layout_sentence(record["layout"])  # raises where it cannot be read
    if not all(isinstance(name, str) for name in record["class_names"]):
        wrong.append("class_names")
    if wrong:
        raise TypeError(f"{', '.join(wrong)} of another type")


def _check_header(record: dict[str, Any], path: Path | str | None) -> None:
    if record.get("format") != _FORMAT:
        raise _no_store(path, f"a Zarr group of format {record.get('format')!r}")
    if record.get("schema") not in list(range(1, _SCHEMA + 1)):
        raise OrbitLensError(
            f"store {path}",
            expected=f"schema 1 to {_SCHEMA}",
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
    array = array_of(root, name)
    # The writer stores every shard, even one of zeros.
    there, shards = len(stored_shards(array)), shards_of(array).count
    if there != shards:
        raise ValueError(f"{there} of the {shards} shards of {name!r}")
    return array


def _check_shapes(store: ActivationStore) -> None:
    array = store.array
    if array.ndim not in (3, 4) or array.shape[1] != store.group.order:
        raise _damaged(store.path, f"activations {array.shape} for {store.group}")
    if array.chunks[1:] != array.shape[1:]:
        raise _damaged(store.path, f"orbits of {array.shape[1:]} in pieces of {array.chunks[1:]}")
    if array.dtype != ON_DISK.get(store.dtype):
        raise _damaged(store.path, f"activations of {array.dtype} that are called {store.dtype}")
    if store.moves is not None:
        if store.moves.shape != (store.group.order, store.positions):
            raise _damaged(store.path, f"moves of shape {store.moves.shape} for {array.shape}")
        check_moves(store.moves, store.group)


def _damaged(path: Path | str | None, received: str) -> OrbitLensError:
    return DamageError(
        f"store {path}", expected="an intact store", received=received, remedy=REMAKE
    )


def _no_store(path: Path | str | None, received: str) -> OrbitLensError:
    return DamageError(
        f"store {path}",
        expected="a folder written by `harvest` or `store_from_array`",
        received=received,
        remedy="give the path of a store",
    )
