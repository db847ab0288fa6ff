"""Sizes of a store on disk and of its buffers in memory, from shapes alone."""

import math

import numpy as np

from orbitlens.activations.store._on_disk import ON_DISK, chunk_samples, plan_shards
from orbitlens.activations.store.activation_store import split_samples
from orbitlens.activations.store.shuffled_batches import Needs

# Zarr ends a chunk with its checksum, and a shard with the place of each chunk and a checksum.
_CHECKSUM, _PLACE, _ATTRIBUTES = 4, 16, 4096
_SPLIT = 10**6


def stored_size(
    n: int, shape: tuple[int, int, int], *, dtype: str = "float32", together: int = 1
) -> dict[str, int]:
    """Return the bytes of a store on disk, with padding and checksums, and its shards.

    Args:
        n: Number of samples.
        shape: Activations of a sample, [|G|, positions, dim].
        dtype: Type on disk, default "float32".
        together: Samples per forward pass, default 1; see `plan_shards`.

    Returns:
        "raw", bytes of the numbers; "on_disk", bytes as written; "shards", "shard_samples" and
        "bytes_per_number".

    Raises:
        OrbitLensError: If an axis is empty.

    Example:
        >>> size = stored_size(10**6, (8, 1, 768))
        >>> size["shards"], round(size["on_disk"] / size["raw"], 3)
        (736, 1.0)
    """
    shards, width = plan_shards(n, [shape], together), np.dtype(ON_DISK[dtype]).itemsize
    chunk = min(shards.samples, chunk_samples(shape))
    start, stop = shards.span(shards.count - 1)
    per_shard = -(-shards.samples // chunk)
    chunks = (shards.count - 1) * per_shard + -(-(stop - start) // chunk)
    padded = chunks * (chunk * math.prod(shape) * width + _CHECKSUM)
    places = shards.count * (per_shard * _PLACE + _CHECKSUM)
    return {
        "raw": n * math.prod(shape) * width,
        "on_disk": padded + places + _ATTRIBUTES,
        "shards": shards.count,
        "shard_samples": shards.samples,
        "bytes_per_number": width,
    }


def count_training_samples(n: int) -> int:
    """Return the number of training samples of `split_samples`, without a split of very many.

    Args:
        n: Number of samples.

    Returns:
        The number.

    Example:
        >>> count_training_samples(10), count_training_samples(10**8)
        (8, 80000000)
    """
    drawn = min(n, _SPLIT)
    return n - n * len(split_samples(drawn)[1]) // drawn


def buffer_size(n: int, shape: tuple[int, int, int], *, batch_size: int, memory: int) -> int:
    """Return the bytes that `OrbitBatches` takes to read the training samples from a local disk.

    Args:
        n: Number of samples.
        shape: Activations of a sample, [|G|, positions, dim].
        batch_size: Orbits per batch.
        memory: Budget in bytes.

    Returns:
        Bytes, at most the budget.

    Raises:
        OrbitLensError: If the budget is too small to read even a part of the store.

    Example:
        >>> buffer_size(10**6, (8, 1, 768), batch_size=1024, memory=2**32) <= 2**32
        True
    """
    count, sample, shard = (
        count_training_samples(n),
        4 * math.prod(shape),
        plan_shards(n, [shape], 1),
    )
    needs = Needs.of(
        count=count,
        sample=sample,
        positions=shape[1],
        chunk=min(shard.samples, chunk_samples(shape)),
        shard=shard.samples,
        batch_size=batch_size,
    )
    longest = int(np.bincount(split_samples(min(n, _SPLIT))[0] // needs.run).max())
    if needs.all(count) > memory and needs.runs_held(memory, longest) < 1:
        raise needs.too_little(memory, needs.least(count, longest), longest * sample)
    return min(memory, needs.all(count)) - needs.by_zarr
