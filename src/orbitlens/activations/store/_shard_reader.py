"""Shards on a local disk, read without what Zarr does around every chunk.

Zarr takes 1.3 processor seconds for a GB in chunks of half a MiB, most of them for what it does
around the bytes, and a training on the same cores waits for them. Here the bytes of a chunk go from
the file to one room, small enough to stay in the processor's cache, are held against their checksum
there, and are taken from there: 0.1 s (`benchmarks/scale/batches.md`).

Zarr is the format and the only writer. What is read here is what this library writes to a disk:
chunks of whole orbits, not compressed, a CRC-32C behind each, in shards that end in an index of
their chunks with a CRC-32C of its own (Zarr v3, codec "sharding_indexed"). Everything else is read
by Zarr.
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

_CHECKSUM = 4
_ENTRY = 16
"""Bytes of the index for each chunk: where it begins, and how long it is."""
_PLAIN = (BytesCodec(), Crc32cCodec())


@final
class ShardFiles:
    """The shards of an array, each a file.

    Args:
        array: The array; of those that `of` accepts.
        metadata: How it is stored.
        folder: Where its shards are.

    Example:
        >>> import tempfile
        >>> from orbitlens.activations import store_from_array
        >>> from orbitlens.groups import cyclic
        >>> values = np.arange(30, dtype=np.float32).reshape(10, 3, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = store_from_array(values, group=cyclic(3), out=f"{folder}/acts.zarr")
        ...     ShardFiles.of(store.array).read(np.array([7, 2]))[:, 0, 0].tolist()
        [21.0, 6.0]
    """

    def __init__(self, array: zarr.Array[Any], metadata: ArrayV3Metadata, folder: Path) -> None:
        self._array, self._metadata, self._folder = array, metadata, folder
        self._chunk, self._shard = int(array.chunks[0]), int((array.shards or array.chunks)[0])
        self._sample = array.dtype.itemsize * int(np.prod(array.shape[1:]))

    @classmethod
    def of(cls, array: zarr.Array[Any]) -> "ShardFiles | None":
        """Return the files of an array; None if Zarr must read it."""
        metadata, store = array.metadata, array.store_path.store
        if not isinstance(metadata, ArrayV3Metadata) or not isinstance(store, LocalStore):
            return None
        if sys.byteorder != "little" or not _is_plain(metadata, array.shape[1:]):
            return None
        return cls(array, metadata, store.root / array.path)

    def read(self, samples: Int[np.ndarray, " n"]) -> Shaped[np.ndarray, "n group *_"]:
        """Return samples as they are stored.

        Args:
            samples: Which, in the order wanted; each chunk of them is read once.

        Raises:
            ValueError: If a shard is missing or damaged.
            OSError: If the disk cannot be read.
        """
        found = np.empty((len(samples), *self._array.shape[1:]), self._array.dtype)
        order = np.argsort(samples, kind="stable")
        for begin, chunk, wanted in self.pieces(samples[order]):
            found[as_slice(order[begin : begin + len(wanted)])] = chunk[as_slice(wanted)]
        return found

    def pieces(
        self, samples: Int[np.ndarray, " n"]
    ) -> Iterator[tuple[int, Shaped[np.ndarray, "chunk group *_"], Int[np.ndarray, " wanted"]]]:
        """Yield the chunks that samples lie in.

        Args:
            samples: Which, in rising order.

        Returns:
            How many samples came before; a chunk as it is stored, which is the caller's until the
            next one is asked for; and which of its samples are wanted.

        Raises:
            ValueError: From the iterator, if a shard is missing or damaged.
            OSError: From the iterator, if the disk cannot be read.
        """
        room = np.empty(self._chunk * self._sample + _CHECKSUM, np.uint8)
        stored = room[:-_CHECKSUM].view(self._array.dtype).reshape(-1, *self._array.shape[1:])
        begin = 0
        for shard, of_shard in _runs(samples, self._shard):
            with _opened(self._path(shard)) as file:
                places = self._index(file)
                for chunk, wanted in _runs(of_shard, self._chunk):
                    self._load(file, places[chunk], room)
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
        return _checked(index).view(np.uint64).reshape(-1, 2)

    def _load(
        self, file: FileIO, place: UInt64[np.ndarray, "2"], room: UInt8[np.ndarray, " bytes"]
    ) -> None:
        begin, length = place.tolist()
        if length != len(room):
            raise ValueError(f"a chunk of {length} bytes, not {len(room)}")
        _read(file, begin, room)
        _checked(room)


def as_slice(indices: slice | Int[np.ndarray, " n"]) -> slice | Int[np.ndarray, " n"]:
    """Return consecutive indices as a slice, which is read faster; others as they are.

    Example:
        >>> as_slice(np.array([3, 4, 5])), as_slice(np.array([3, 5]))
        (slice(3, 6, None), array([3, 5]))
    """
    if isinstance(indices, slice) or len(indices) == 0 or (indices[1:] != indices[:-1] + 1).any():
        return indices
    return slice(int(indices[0]), int(indices[-1]) + 1)


def _is_plain(metadata: ArrayV3Metadata, orbit: tuple[int, ...]) -> bool:
    """Whether shards hold whole orbits, in chunks that are checked and not compressed."""
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
    """Yield each shard, or chunk, of `size` samples that some lie in, and their places in it."""
    numbers, places = np.divmod(samples, size)
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    ends = [0, *changes.tolist(), len(samples)] if len(samples) else []
    for start, stop in pairwise(ends):
        yield int(numbers[start]), places[start:stop]


def _opened(path: Path) -> FileIO:
    try:
        return FileIO(path)
    except FileNotFoundError as error:
        raise ValueError("a shard is missing") from error


def _read(file: FileIO, begin: int, room: UInt8[np.ndarray, " bytes"]) -> None:
    """Fill a room with the bytes from a place on."""
    if begin >= 0:
        file.seek(begin)
    if begin < 0 or file.readinto(room.data) != len(room):
        raise ValueError("the file is too short")


def _checked(room: UInt8[np.ndarray, " bytes"]) -> UInt8[np.ndarray, " _"]:
    """Return all but the checksum at the end, if it is theirs."""
    content, stored = room[:-_CHECKSUM], int(room[-_CHECKSUM:].view(np.uint32)[0])
    computed = google_crc32c.value(content)
    if computed != stored:
        raise ValueError(f"checksum {computed:08x} where {stored:08x} was written")
    return content
