"""Writing a store so that a half-written one is never taken for a whole one.

Everything goes to a hidden folder beside the target, which takes the target's name at the very end.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
    if out is None:
        root = zarr.create_group(MemoryStore(), zarr_format=3)
        _fill(root, blocks, n, labels, attributes)
        return read_store(root, None)
    with new_folder(out) as partial:
        with one_line_errors(out):
            root = zarr.create_group(partial, zarr_format=3)
        _fill(root, blocks, n, labels, attributes, out)
    return read_store(zarr.open_group(out, mode="r"), out)


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


def check_finite(block: Float32[np.ndarray, "batch group *rest"], start: int) -> None:
    """Check a block of orbits for NaN and infinity.

    Args:
        block: Orbits of consecutive samples, [batch, |G|, (positions,) dim].
        start: Index of the first of them.

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
        "activations",
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


def _fill(
    root: zarr.Group,
    blocks: Iterable[Float32[np.ndarray, "_ group *rest"]],
    n: int,
    labels: Int[np.ndarray, " n"] | None,
    attributes: dict[str, Any],
    out: Path | None = None,
) -> None:
    """Write attributes, labels and activations, and last of all the mark that this is all."""
    root.attrs.update({**attributes, "labelled": labels is not None})
    if labels is not None:
        _create(root, "labels", labels.shape, labels.shape, "int64", out)[:] = labels
    blocks = iter(blocks)
    first = next(blocks)
    orbit_shape = first.shape[1:]
    rows = min(n, max(1, _CHUNK_BYTES // max(1, 4 * int(np.prod(orbit_shape)))))
    array = _create(root, "activations", (n, *orbit_shape), (rows, *orbit_shape), "float32", out)
    start = 0
    for block in _regroup(first, blocks, rows):
        with one_line_errors(out or "memory"):
            array[start : start + len(block)] = block
        start += len(block)
    root.attrs["complete"] = True


def _create(
    root: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    out: Path | None,
) -> zarr.Array[Any]:
    return root.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressors=None if out is None else [ZstdCodec(level=1), Crc32cCodec()],
        config={"write_empty_chunks": True},
    )


def _regroup(
    first: Float32[np.ndarray, "batch group *rest"],
    blocks: Iterator[Float32[np.ndarray, "_ group *rest"]],
    rows: int,
) -> Iterator[Float32[np.ndarray, "_ group *rest"]]:
    """Join blocks to multiples of `rows`, so that every chunk is compressed and written once."""
    pending, held = [first], len(first)
    for block in blocks:
        pending.append(block)
        held += len(block)
        if held >= rows:
            joined = np.concatenate(pending)
            whole = held - held % rows
            yield joined[:whole]
            pending, held = [joined[whole:]], held - whole
    if held:
        yield np.concatenate(pending)
