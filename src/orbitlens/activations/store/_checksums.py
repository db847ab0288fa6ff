"""A checksum of every chunk, in an array `checksums` beside the activations.

Every chunk of a shard has a CRC-32C of its own, so a bit that flipped is noticed. That of the list
says in addition which chunk belongs where: a shard in the place of another, or of another store, is
noticed as well. The list is written shard by shard, before the shard itself, and `fingerprint`
stands for all of it.

Stores in memory have no list, nor do those of earlier versions.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, final

import google_crc32c
import numpy as np
import zarr
from jaxtyping import Int, Shaped, UInt32
from zarr.codecs import Crc32cCodec

NAME = "checksums"
_AT_ONCE = 64
_Stored = Shaped[np.ndarray, "samples group *rest"]


@final
class Checksums:
    """The checksums of a store's chunks; `fingerprint` is the one noted when it was complete."""

    def __init__(self, listed: zarr.Array[Any], fingerprint: str = "") -> None:
        self.listed, self._fingerprint = listed, fingerprint

    @cached_property
    def values(self) -> UInt32[np.ndarray, " chunks"]:
        """The checksum of every chunk, in the order of the samples."""
        values = np.asarray(self.listed[:], dtype=np.uint32)
        if self._fingerprint not in ("", fingerprint_of(values)):
            raise ValueError("the list of checksums is not the one that was written")
        return values

    def check(self, chunk: int, computed: int) -> None:
        """Check that a chunk with a checksum is the one that was written at its place."""
        if int(self.values[chunk]) != computed:
            raise ValueError(
                f"chunk {chunk} is not the one that was written there, checksum {computed:08x} "
                f"where {int(self.values[chunk]):08x} was noted"
            )

    def write(self, shard: int, stored: _Stored, array: zarr.Array[Any]) -> None:
        """Note the checksums of a shard of an array before it is written."""
        count = int(self.listed.chunks[0])
        found = np.zeros(count, np.uint32)
        found[: -(-len(stored) // int(array.chunks[0]))] = list(checksums_of(stored, array))
        self.listed[shard * count : (shard + 1) * count] = found


def create_checksums(root: zarr.Group, shards: int, per_shard: int) -> None:
    """Create the list of a store, so many checksums for each shard."""
    root.create_array(
        NAME,
        shape=(shards * per_shard,),
        chunks=(per_shard,),
        dtype="uint32",
        fill_value=0,
        compressors=[Crc32cCodec()],
        config={"write_empty_chunks": True},
        chunk_key_encoding={"name": "default", "separator": "."},
        overwrite=True,  # an earlier run may have been killed right after this
    )


def checksums_in(root: zarr.Group, fingerprint: str = "") -> Checksums | None:
    """Return the checksums of a store; None if it has none."""
    listed = root.get(NAME)
    return Checksums(listed, fingerprint) if isinstance(listed, zarr.Array) else None


def fingerprint_of(values: UInt32[np.ndarray, " chunks"]) -> str:
    """Return sixteen hexadecimal digits that change with any number of a store."""
    return hashlib.sha256(values.astype("<u4").tobytes()).hexdigest()[:16]


def checksums_of(stored: _Stored, array: zarr.Array[Any]) -> Iterator[int]:
    """Yield the checksum of each chunk of stored samples, which begin with a chunk of an array."""
    chunk = int(array.chunks[0])
    for start in range(0, len(stored), chunk):
        numbers = stored[start : start + chunk]
        if len(numbers) < chunk:  # the last chunk of a store is filled up
            whole = np.full((chunk, *stored.shape[1:]), array.fill_value, stored.dtype)
            whole[: len(numbers)] = numbers
            numbers = whole
        little = np.ascontiguousarray(numbers, dtype=stored.dtype.newbyteorder("<"))
        yield google_crc32c.value(little.reshape(-1).view(np.uint8))


def read_span(
    array: zarr.Array[Any], checksums: Checksums | None, start: int, stop: int
) -> _Stored:
    """Read consecutive samples with Zarr, and check the chunks that they lie in."""
    if checksums is None:
        return _native(array[start:stop])
    chunk = int(array.chunks[0])
    first, end = start // chunk * chunk, min(int(array.shape[0]), -(-stop // chunk) * chunk)
    block = _native(array[first:end])
    for number, computed in enumerate(checksums_of(block, array), first // chunk):
        checksums.check(number, computed)
    return block[start - first : stop - first]


def read_samples(
    array: zarr.Array[Any], checksums: Checksums | None, samples: Int[np.ndarray, " n"]
) -> _Stored:
    """Read samples in any order with Zarr, and check the chunks that they lie in."""
    if checksums is None or len(samples) == 0:
        return _native(array.oindex[samples])
    chunk, n = int(array.chunks[0]), int(array.shape[0])
    found = np.empty((len(samples), *array.shape[1:]), array.dtype.newbyteorder("="))
    numbers = samples // chunk
    touched = np.unique(numbers)
    for first in range(0, len(touched), _AT_ONCE):
        together = touched[first : first + _AT_ONCE]
        ends = np.minimum((together + 1) * chunk, n)
        places = np.concatenate(
            [np.arange(c * chunk, e) for c, e in zip(together, ends, strict=True)]
        )
        block, begin = _native(array.oindex[places]), 0
        for number, end in zip(together.tolist(), ends.tolist(), strict=True):
            part = block[begin : begin + end - number * chunk]
            checksums.check(number, next(checksums_of(part, array)))
            wanted = np.flatnonzero(numbers == number)
            found[wanted] = part[samples[wanted] - number * chunk]
            begin += len(part)
    return found


def _native(stored: Any) -> _Stored:
    """Return what Zarr read in the byte order of this machine."""
    block = np.asarray(stored)
    return block.astype(block.dtype.newbyteorder("="), copy=False)
