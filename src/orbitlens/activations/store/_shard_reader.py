"""A fast reader of shards on a local disk.

Zarr takes 1.3 processor seconds to read a GB in chunks of half a MiB, most of them for overhead per
chunk, and a training on the same cores waits for them. This reader takes 0.1 s: it copies each
chunk into one buffer that stays in the processor's cache, and checks its checksum there
(`benchmarks/scale/batches.md`).

Zarr is the format and the only writer. The reader knows one layout, the one that this library
writes to a disk: chunks of whole orbits, not compressed, a CRC-32C after each, in shards that end
in an index of their chunks with a CRC-32C of its own (Zarr v3, codec "sharding_indexed"). Zarr
reads everything else.
"""

import sys
from collections.abc import Iterator
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import google_crc32c
import numpy as np
import zarr
from jaxtyping import Int, Shaped, UInt8, UInt64
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.codecs.sharding import ShardingCodecIndexLocation
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import LocalStore

from orbitlens.activations.store._checksums import Checksums
from orbitlens.files import check_regular

_CHECKSUM = 4
_ENTRY = 16
"""Bytes of the index for each chunk: where it begins, and how long it is."""
_PLAIN = (BytesCodec(), Crc32cCodec())


@final
class ShardFiles:
    """The shards of an array, each a file; `of` makes it for arrays that it can read."""

    def __init__(
        self,
        array: zarr.Array[Any],
        metadata: ArrayV3Metadata,
        folder: Path,
        checksums: Checksums | None,
    ) -> None:
        self._array, self._metadata, self._folder = array, metadata, folder
        self._checksums = checksums
        self._chunk, self._shard = int(array.chunks[0]), int((array.shards or array.chunks)[0])
        self._sample = array.dtype.itemsize * int(np.prod(array.shape[1:]))

    @classmethod
    def of(cls, array: zarr.Array[Any], checksums: Checksums | None = None) -> "ShardFiles | None":
        """Return the files of an array; None if Zarr must read it."""
        metadata, store = array.metadata, array.store_path.store
        if not isinstance(metadata, ArrayV3Metadata) or not isinstance(store, LocalStore):
            return None
        if sys.byteorder != "little" or not _is_plain(metadata, array.shape[1:]):
            return None
        return cls(array, metadata, store.root / array.path, checksums)

    def read(self, samples: Int[np.ndarray, " n"]) -> Shaped[np.ndarray, "n group *_"]:
        """Return samples, in the order given, as they are stored; each chunk is read once."""
        found = np.empty((len(samples), *self._array.shape[1:]), self._array.dtype)
        order = np.argsort(samples, kind="stable")
        for begin, chunk, wanted in self.pieces(samples[order]):
            found[as_slice(order[begin : begin + len(wanted)])] = chunk[as_slice(wanted)]
        return found

    def pieces(
        self, samples: Int[np.ndarray, " n"]
    ) -> Iterator[tuple[int, Shaped[np.ndarray, "chunk group *_"], Int[np.ndarray, " wanted"]]]:
        """Yield the chunks of samples in rising order, each valid until the next one.

        A chunk comes with the number of samples before it and the places of its wanted samples.
        """
        buffer = np.empty(self._chunk * self._sample + _CHECKSUM, np.uint8)
        stored = buffer[:-_CHECKSUM].view(self._array.dtype).reshape(-1, *self._array.shape[1:])
        begin = 0
        for shard, of_shard in _runs(samples, self._shard):
            with _open(self._path(shard)) as file:
                places = self._index(file)
                before = shard * len(places)
                for chunk, wanted in _runs(of_shard, self._chunk):
                    computed = self._load(file, places[chunk], buffer)
                    if self._checksums is not None:
                        self._checksums.check(before + chunk, computed)
                    yield begin, stored, wanted
                    begin += len(wanted)

    def _path(self, shard: int) -> Path:
        place = (shard, *(0,) * (self._array.ndim - 1))
        return self._folder / self._metadata.encode_chunk_key(place)

    def _index(self, file: FileIO) -> UInt64[np.ndarray, "chunks 2"]:
        """Return offset and length of every chunk of a shard."""
        index = np.empty(self._shard // self._chunk * _ENTRY + _CHECKSUM, np.uint8)
        end = file.seek(0, 2)
        _read(file, end - len(index), index)
        _check(index)
        return index[:-_CHECKSUM].view(np.uint64).reshape(-1, 2)

    def _load(
        self, file: FileIO, place: UInt64[np.ndarray, "2"], buffer: UInt8[np.ndarray, " bytes"]
    ) -> int:
        """Read a chunk and return its checksum, which was checked."""
        begin, length = place.tolist()
        if length != len(buffer):
            raise ValueError(f"a chunk of {length} bytes, not {len(buffer)}")
        _read(file, begin, buffer)
        return _check(buffer)


def as_slice(indices: slice | Int[np.ndarray, " n"]) -> slice | Int[np.ndarray, " n"]:
    """Return consecutive indices as a slice, which is read faster; others as they are."""
    if isinstance(indices, slice) or len(indices) == 0 or (indices[1:] != indices[:-1] + 1).any():
        return indices
    return slice(int(indices[0]), int(indices[-1]) + 1)


def _is_plain(metadata: ArrayV3Metadata, orbit: tuple[int, ...]) -> bool:
    """Return whether shards hold whole orbits, in chunks with checksums and no compression."""
    (codec, *others) = metadata.codecs
    return (
        isinstance(codec, ShardingCodec)
        and not others
        and codec.codecs == codec.index_codecs == _PLAIN
        and codec.index_location == ShardingCodecIndexLocation.end
        and codec.chunk_shape[1:] == orbit
        and metadata.chunks[1:] == orbit
    )


def _runs(samples: Int[np.ndarray, " n"], size: int) -> Iterator[tuple[int, Int[np.ndarray, " _"]]]:
    """Yield each shard, or chunk, of `size` samples, and the places of the samples in it."""
    numbers, places = np.divmod(samples, size)
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    ends = [0, *changes.tolist(), len(samples)] if len(samples) else []
    for start, stop in pairwise(ends):
        yield int(numbers[start]), places[start:stop]


def _open(path: Path) -> FileIO:
    check_regular(path)
    try:
        return FileIO(path)
    except FileNotFoundError as error:
        raise ValueError("a shard is missing") from error


def _read(file: FileIO, begin: int, buffer: UInt8[np.ndarray, " bytes"]) -> None:
    """Fill a buffer with bytes of a file, starting at `begin`."""
    if begin >= 0:
        file.seek(begin)
    if begin < 0 or file.readinto(buffer.data) != len(buffer):
        raise ValueError("the file is too short")


def _check(buffer: UInt8[np.ndarray, " bytes"]) -> int:
    """Return the checksum of the bytes before the one at the end, which must be the same."""
    stored = int(buffer[-_CHECKSUM:].view(np.uint32)[0])
    computed: int = google_crc32c.value(buffer[:-_CHECKSUM])
    if computed != stored:
        raise ValueError(f"checksum {computed:08x} where {stored:08x} was written")
    return computed
