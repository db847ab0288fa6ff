"""Writing a store so that a half-written one is never taken for a whole one.

Everything goes to a hidden folder beside the target, which takes the target's name at the very end.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import zarr
from jaxtyping import Float32, Int
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from orbitlens.activations.reader import FORMAT, SCHEMA, read_store
from orbitlens.activations.store import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.files import new_folder, one_line_errors
from orbitlens.groups import Group

_CHUNK_BYTES = 4 * 2**20


def describe(
    *,
    group: Group,
    action: str,
    action_config: dict[str, Any],
    model: str,
    layer: str,
    digest: str,
    class_names: tuple[str, ...],
    moves: Int[np.ndarray, "group position"] | None,
) -> dict[str, Any]:
    """Return the attributes of a store: everything that its readers know apart from the numbers."""
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "complete": False,
        "group": group.to_dict(),
        "action": action,
        "action_config": action_config,
        "model": model,
        "layer": layer,
        "digest": digest,
        "class_names": list(class_names),
        "moves": None if moves is None else moves.tolist(),
    }


def write_store(
    blocks: Iterable[Float32[np.ndarray, "_ group *rest"]],
    *,
    n: int,
    out: Path | None,
    labels: Int[np.ndarray, " n"] | None,
    attributes: dict[str, Any],
) -> ActivationStore:
    """Write blocks of orbits, as they come, to a store.

    Args:
        blocks: Consecutive samples, each block [batch, |G|, (positions,) dim].
        n: Number of samples in all blocks together.
        out: The folder to write; None for a store in memory.
        labels: One class index per sample, or None.
        attributes: What `describe` returned.

    Raises:
        OrbitLensError: If `out` exists or cannot be written. Whatever interrupts the writing, no
            trace of it remains.
    """
    named, described = ({"": block} for block in blocks), {"": attributes}
    if out is None:
        return read_store(_fill(named, {"": None}, out, n, labels, described)[""], None)
    with new_folder(out) as partial:
        _fill(named, {"": partial}, out, n, labels, described)
    return read_store(zarr.open_group(out, mode="r"), out)


def write_stores(
    blocks: Iterable[Mapping[str, Float32[np.ndarray, "_ group *_"]]],
    *,
    n: int,
    out: Path | None,
    labels: Int[np.ndarray, " n"] | None,
    attributes: Mapping[str, dict[str, Any]],
) -> dict[str, ActivationStore]:
    """Write blocks of orbits of several layers, as they come, to one store for each layer.

    Args:
        blocks: Consecutive samples, each block with the part [batch, |G|, (positions,) dim] of
            every layer.
        n: Number of samples in all blocks together.
        out: The folder to write, in it LAYER.zarr for each layer; None for stores in memory.
        labels: One class index per sample, or None.
        attributes: What `describe` returned for each layer.

    Returns:
        The stores, in the order of `attributes`.

    Raises:
        OrbitLensError: If `out` exists or cannot be written. Whatever interrupts the writing, no
            trace of it remains.
    """
    if out is None:
        roots = _fill(blocks, dict.fromkeys(attributes), out, n, labels, attributes)
        return {layer: read_store(root, None) for layer, root in roots.items()}
    with new_folder(out) as partial:
        folders = {layer: partial / store_name(layer) for layer in attributes}
        _fill(blocks, folders, out, n, labels, attributes)
    paths = {layer: out / store_name(layer) for layer in attributes}
    return {
        layer: read_store(zarr.open_group(path, mode="r"), path) for layer, path in paths.items()
    }


def store_name(layer: str) -> str:
    """Return the name of a layer's store among those of its network."""
    return f"{layer}.zarr"


def check_out(out: Path | None) -> None:
    """Check, before any work, that a store can be written here.

    Raises:
        OrbitLensError: If something is already there.
    """
    if out is not None and (out.exists() or out.is_symlink()):
        raise OrbitLensError(
            f"`out` {out}",
            expected="a path that does not exist yet",
            received="an existing one",
            remedy="remove it or choose another path",
        )


def check_finite(
    block: Float32[np.ndarray, "batch group *rest"], start: int, subject: str = "activations"
) -> None:
    """Check a block of orbits for NaN and infinity.

    Args:
        block: Orbits of consecutive samples, [batch, |G|, (positions,) dim].
        start: Index of the first of them.
        subject: Whose activations they are, for the message.

    Raises:
        OrbitLensError: If a value is not finite; says where the first one is, and how many.
    """
    finite = np.isfinite(block)
    if finite.all():
        return
    where = np.argwhere(~finite)
    sample, element, *position, dim = where[0].tolist()
    place = f", position {position[0]}" if position else ""
    raise OrbitLensError(
        subject,
        expected="finite numbers",
        received=f"{len(where)} NaN or infinite values in samples "
        f"{start}..{start + len(block) - 1}, the first at sample {start + sample}, "
        f"element {element}{place}, dimension {dim}",
        remedy="repair or leave out these samples, or look into an earlier layer",
    )


def check_labels(
    labels: Int[np.ndarray, " labels"] | None, class_names: tuple[str, ...], n: int
) -> None:
    """Check that there is one label per sample, and a name for each.

    Raises:
        OrbitLensError: If lengths differ, or a label has no name.
    """
    if labels is None:
        return
    if len(labels) != n:
        raise OrbitLensError(
            "`labels`",
            expected=f"one per sample, {n}",
            received=len(labels),
            remedy="give one label per sample",
        )
    if class_names and not (labels.min() >= 0 and labels.max() < len(class_names)):
        raise OrbitLensError(
            "`labels`",
            expected=f"indices into the {len(class_names)} class names",
            received=f"labels in {labels.min()}..{labels.max()}",
            remedy="name every class",
        )


@final
class _StoreWriter:
    """A store that takes blocks of orbits one after the other; `finish` makes it whole."""

    def __init__(
        self,
        folder: Path | None,
        n: int,
        labels: Int[np.ndarray, " n"] | None,
        attributes: dict[str, Any],
    ) -> None:
        self.n = n
        self.on_disk = folder is not None
        self.root = zarr.create_group(folder or MemoryStore(), zarr_format=3)
        self.root.attrs.update({**attributes, "labelled": labels is not None})
        if labels is not None:
            self._create("labels", labels.shape, labels.shape, "int64")[:] = labels
        self._array: zarr.Array[Any] | None = None
        self._pending: list[Float32[np.ndarray, "_ group *rest"]] = []
        self._written = 0

    def push(self, block: Float32[np.ndarray, "_ group *rest"]) -> None:
        """Add the next samples; whole chunks are written, so that each is compressed once."""
        if self._array is None:
            orbit = block.shape[1:]
            rows = min(self.n, max(1, _CHUNK_BYTES // max(1, 4 * int(np.prod(orbit)))))
            self._array = self._create("activations", (self.n, *orbit), (rows, *orbit), "float32")
        self._pending.append(block)
        held = sum(map(len, self._pending))
        self._write(self._array, held - held % int(self._array.chunks[0]))

    def finish(self) -> zarr.Group:
        """Write what is left, and last of all the mark that this is all."""
        if self._array is not None:
            self._write(self._array, sum(map(len, self._pending)))
        self.root.attrs["complete"] = True
        return self.root

    def _write(self, array: zarr.Array[Any], samples: int) -> None:
        """Write the first samples of those that are held back."""
        if samples == 0:
            return
        joined = np.concatenate(self._pending)
        array[self._written : self._written + samples] = joined[:samples]
        self._pending = [joined[samples:]]
        self._written += samples

    def _create(
        self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
    ) -> zarr.Array[Any]:
        return self.root.create_array(
            name,
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            compressors=[ZstdCodec(level=1), Crc32cCodec()] if self.on_disk else None,
            config={"write_empty_chunks": True},
        )


def _fill(
    blocks: Iterable[Mapping[str, Float32[np.ndarray, "_ group *_"]]],
    folders: Mapping[str, Path | None],
    out: Path | None,
    n: int,
    labels: Int[np.ndarray, " n"] | None,
    attributes: Mapping[str, dict[str, Any]],
) -> dict[str, zarr.Group]:
    """Write the stores side by side; errors of the system are those of the place `out`."""
    place = out or "memory"
    with one_line_errors(place):
        writers = {
            layer: _StoreWriter(folder, n, labels, attributes[layer])
            for layer, folder in folders.items()
        }
    for block in blocks:
        with one_line_errors(place):
            for layer, writer in writers.items():
                writer.push(block[layer])
    with one_line_errors(place):
        return {layer: writer.finish() for layer, writer in writers.items()}
