"""Which shards of a store are there, and which of them are damaged."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr
from zarr.core.metadata import ArrayV3Metadata
from zarr.core.sync import sync

from orbitlens.activations.store._dtypes import as_float32
from orbitlens.activations.store._shard_sizes import Shards
from orbitlens.errors import one_line

# What a truncated or altered shard is read as; errors of a disk or a network are others.
DAMAGE = (ValueError, RuntimeError, TypeError, IndexError, KeyError)
_AT_ONCE = 64


def shards_of(array: zarr.Array[Any]) -> Shards:
    """Return how an array is cut; what has no shards has chunks in their place."""
    return Shards(int(array.shape[0]), int((array.shards or array.chunks)[0]))


def present(array: zarr.Array[Any]) -> set[int]:
    """Return the shards for which something is stored."""
    keys = {_key(array, shard): shard for shard in range(shards_of(array).count)}
    return {keys[key] for key in sync(_listed(array)) if key in keys}


def intact(array: zarr.Array[Any]) -> set[int]:
    """Return the shards that are there to their end; what is left of others is removed.

    A shard ends in the index of its chunks, which has a checksum: one sample of each is read.
    """
    shards, found = shards_of(array), sorted(present(array))
    starts = {shard: shards.span(shard)[0] for shard in found}
    for first in range(0, len(found), _AT_ONCE):
        together = found[first : first + _AT_ONCE]
        try:
            array.oindex[np.array([starts[shard] for shard in together])]
        except DAMAGE:
            for shard in together:
                if damage(array, shard, one_sample=True):
                    sync((array.store_path / _key(array, shard, inside=True)).delete())
                    del starts[shard]
    return set(starts)


def damage(array: zarr.Array[Any], shard: int, *, one_sample: bool = False) -> str:
    """Return what is wrong with a shard; empty if nothing is.

    Args:
        array: The activations of a store.
        shard: Which shard to read.
        one_sample: Read its index and its first sample alone.
    """
    start, stop = shards_of(array).span(shard)
    try:
        return "missing" if never_written(array[start : start + 1 if one_sample else stop]) else ""
    except DAMAGE as error:
        return one_line(error)


def never_written(stored: Any) -> bool:
    """Whether an orbit of stored activations was never written: it reads as NaN throughout."""
    block = np.asarray(stored)
    first = block.reshape(len(block), -1)[:, :1]
    dtype = "bfloat16" if first.dtype == np.uint16 else str(first.dtype)
    return bool(np.isnan(as_float32(first, dtype)).any())


def describe_damage(array: zarr.Array[Any], shards: Iterable[int]) -> str:
    """Name the damaged ones among some shards, with the samples in them.

    Returns:
        Such as "shard 3, samples 96..127, that is damaged (...)"; empty if all are intact.
    """
    plan, reasons = shards_of(array), {}
    for shard in shards:
        reason = damage(array, shard)
        if reason:
            reasons[shard] = reason
    if not reasons:
        return ""
    spans = {shard: plan.span(shard) for shard in reasons}
    named = [f"{shard} (samples {start}..{stop - 1})" for shard, (start, stop) in spans.items()]
    listed = ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")
    return f"damaged shard{'s'[: len(named) - 1]} {listed}: {next(iter(reasons.values()))}"


def _key(array: zarr.Array[Any], shard: int, *, inside: bool = False) -> str:
    metadata = array.metadata
    if not isinstance(metadata, ArrayV3Metadata):
        raise ValueError(f"Zarr format {metadata.zarr_format}")
    key = metadata.encode_chunk_key((shard, *(0,) * (len(array.shape) - 1)))
    return key if inside or not array.path else f"{array.path}/{key}"


async def _listed(array: zarr.Array[Any]) -> list[str]:
    return [key async for key in array.store_path.store.list_prefix(f"{array.path}/")]
