"""Writing a store so that a half-written one is never taken for a whole one.

Everything goes to the place that `claimed` gives, and is a store only at the very end.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float32, Int

from orbitlens.activations.store._address import address_of
from orbitlens.activations.store._claim import claimed, exists
from orbitlens.activations.store._dtypes import check_dtype
from orbitlens.activations.store._shard_writer import ShardWriter, begin, in_shards
from orbitlens.activations.store._url_lock import check_unlocked
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.activations.store.open_store import FORMAT, SCHEMA, open_store, read_store
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group


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
    dtype: str = "float32",
) -> dict[str, Any]:
    """Return the attributes of a store: everything that its readers know apart from the numbers.

    Raises:
        OrbitLensError: If there is no such `dtype`.
    """
    check_dtype(dtype)
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
        "dtype": dtype,
    }


def write_store(
    blocks: Iterable[Float32[np.ndarray, "_ group *rest"]],
    *,
    n: int,
    out: Path | str | None,
    labels: Int[np.ndarray, " n"] | None,
    attributes: dict[str, Any],
) -> ActivationStore:
    """Write blocks of orbits, as they come, to a store.

    Args:
        blocks: Consecutive samples, each block [batch, |G|, (positions,) dim].
        n: Number of samples in all blocks together.
        out: The folder or URL to write; None for a store in memory.
        labels: One class index per sample, or None.
        attributes: What `describe` returned.

    Raises:
        OrbitLensError: If `out` exists or cannot be written. Whatever interrupts the writing, no
            trace of it remains.
    """
    target, named = address_of(out), ({"": block} for block in blocks)
    first, record = next(named), {**attributes, "labelled": labels is not None}
    with claimed(target, resume=False) as claim:
        begin(claim, record)
        writer = ShardWriter(
            claim,
            {"": ""},
            {"": record},
            {"": first[""].shape[1:]},
            n=n,
            together=1,
            labels=labels,
        )
        for shard, block in in_shards(chain([first], named), writer.shards, writer.missing()):
            writer.write(shard, block)
        roots = writer.finish()
    return written_store(roots[""], target)


def check_out(out: Path | str | None) -> None:
    """Check, before any work, that a store can be written here.

    Raises:
        OrbitLensError: If something is already there, or a URL cannot be reached.
    """
    out = address_of(out)
    if isinstance(out, str):
        check_unlocked(out)
    if out is not None and exists(out):
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


def written_store(root: zarr.Group, address: Path | str | None) -> ActivationStore:
    """Open a store that was written just now, wherever it is."""
    return read_store(root, None) if address is None else open_store(address)
