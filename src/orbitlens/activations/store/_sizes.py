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
    """Return the bytes of a store on disk, "on_disk", beside the "raw" ones, and its shards.

    A sample has the shape [|G|, positions, dim]. See `plan_shards` for `together`.
    """
    shards, width = plan_shards(n, [shape], together), np.dtype(ON_DISK[dtype]).itemsize
    chunk = min(shards.samples, chunk_samples(shape))
    start, stop = shards.span(shards.count - 1)
    per_shard = -(-shards.samples // chunk)
    chunks = (shards.count - 1) * per_shard + -(-(stop - start) // chunk)
    padded = chunks * (chunk * math.prod(shape) * width + _CHECKSUM)
    # A place for each chunk, and another checksum in the list of the store.
    places = shards.count * (per_shard * (_PLACE + _CHECKSUM) + 2 * _CHECKSUM)
    return {
        "raw": n * math.prod(shape) * width,
        "on_disk": padded + places + _ATTRIBUTES,
        "shards": shards.count,
        "shard_samples": shards.samples,
        "bytes_per_number": width,
    }


def count_training_samples(n: int) -> int:
    """Count the training samples of `split_samples`, without a split of very many."""
    drawn = min(n, _SPLIT)
    return n - n * len(split_samples(drawn)[1]) // drawn


def buffer_size(n: int, shape: tuple[int, int, int], *, batch_size: int, memory: int) -> int:
    """Return the bytes that `OrbitBatches` takes to read the training samples from a local disk.

    A sample has the shape [|G|, positions, dim]; `memory` is the budget in bytes.
    """
    count, shard = count_training_samples(n), plan_shards(n, [shape], 1).samples
    needs = Needs.of(
        count=count,
        sample=4 * math.prod(shape),
        positions=shape[1],
        chunk=min(shard, chunk_samples(shape)),
        shard=shard,
        batch_size=batch_size,
    )
    longest = int(np.bincount(split_samples(min(n, _SPLIT))[0] // needs.run).max())
    if needs.all(count) > memory:
        needs.runs_held(memory, count, longest)
    return min(memory, needs.all(count)) - needs.by_zarr
