"""Orbits in random order from a store that is larger than memory.

Rows at random places cost a disk a seek each; whole shards in random order are read at its full
speed. So the shuffle has two levels, as in WebDataset (Aizman, Maltby & Breuel, arXiv 2001.01858):
shards in random order fill a buffer, and the orbits of the buffer are permuted. How well that mixes
is measured in `benchmarks/scale/batches.md`.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

import numpy as np
import torch

from orbitlens.activations.store import ActivationStore
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.typing import Float, Int, Orbits, Tensor

_MIB = 2**20
_PIECE_BYTES = 16 * _MIB
# While a piece is read, it exists compressed, decoded, about its mean and with places aligned; the
# threads that decode keep about as much again of what they freed, and some MiB whatever its length.
_COPIES_OF_A_PIECE = 8
_KEPT_BY_DECODERS = 16 * _MIB


@final
class OrbitBatches:
    """Batches of whole orbits in random order, within a stated memory budget.

    An epoch visits every orbit once. Its order depends on the seed, the number of the epoch, the
    budget and the store, never on how fast anything runs. While the orbits of one buffer are handed
    out, a thread reads the next one, so two buffers share the budget. A store that fits into it
    whole is read once, kept, and permuted as one buffer.

    Args:
        store: The store, or a view of it about a mean.
        batch_size: Orbits per batch; the last batch of an epoch may be smaller.
        memory: Budget in bytes for buffers, for what is needed to fill them and for two batches.
        samples: Samples to visit, shape [n], in any order; default all of the store.
        seed: Seed of the order, default 0.

    Raises:
        OrbitLensError: If the budget is below what the largest shard needs, a number is out of
            range, or there are no samples.

    Example:
        >>> from orbitlens.activations import store_from_array
        >>> from orbitlens.groups import cyclic
        >>> store = store_from_array(np.zeros((10, 3, 7), dtype=np.float32), group=cyclic(3))
        >>> batches = OrbitBatches(store, batch_size=4, memory=2**20)
        >>> batches.n, len(batches)
        (10, 3)
        >>> [tuple(batch.shape) for batch in batches.epoch(0)]
        [(4, 3, 7), (4, 3, 7), (2, 3, 7)]
        >>> [tuple(batch.shape) for batch in batches.epoch(0, start=2)]
        [(2, 3, 7)]
    """

    def __init__(
        self,
        store: ActivationStore,
        *,
        batch_size: int,
        memory: int,
        samples: Int[np.ndarray, " n"] | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise out_of_range("batch_size", "at least 1", batch_size)
        if seed < 0:
            raise out_of_range("seed", "0 or more", seed)
        chosen = _chosen(store, samples)
        self.store, self.batch_size, self.memory, self.seed = store, batch_size, memory, seed
        self.n = len(chosen) * store.positions
        array = store.array
        chunk, together = int(array.chunks[0]), int((array.shards or array.chunks)[0])
        self._shards = _runs(chosen, together)
        sample = 4 * store.positions * store.group.order * store.dim
        # Large enough for few reads, small enough beside a shard to cost the budget little.
        piece = min(_PIECE_BYTES, together * sample // 16) // sample
        self._piece = min(together, max(chunk, piece - piece % chunk))
        self._parts = self._share_budget(sample, len(chosen))
        self._resident: Float[Tensor, "rows group dim"] | None = None

    def _share_budget(self, sample: int, count: int) -> int:
        """Return into how many parts an epoch falls, each of which fits into a buffer."""
        row = sample // self.store.positions
        largest = max(map(len, self._shards))
        reading = _COPIES_OF_A_PIECE * self._piece * sample
        reading += min(_KEPT_BY_DECODERS, largest * sample // 2)
        fixed = reading + 2 * self.batch_size * row + 8 * count  # with the numbers of the samples
        each = sample + 8 * self.store.positions  # with the place of each row in the order
        if fixed + count * each <= self.memory:
            return 1
        held = (self.memory - fixed) // (2 * each) // largest
        if held < 1:
            least = fixed + min(2 * largest, count) * each
            raise OrbitLensError(
                "`memory`",
                expected=f"at least {_mib(least, up=True)} MiB, for shards of "
                f"{_mib(largest * sample)} MiB and batches of {_mib(self.batch_size * row)} MiB",
                received=f"{_mib(self.memory)} MiB",
                remedy="give more memory, or write the store with smaller shards",
            )
        return -(-len(self._shards) // held)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-self.n // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Float[Tensor, "batch group dim"]]:
        """Return the batches of an epoch, from one of them on.

        From `start` = s on they are, to the bit, the batches s, s + 1, ... of the whole epoch; what
        comes before is not read. The reading thread ends with the iterator.

        Args:
            epoch: Number of the epoch, from 0.
            start: Number of the first batch, default 0; `len` of these batches for none.

        Returns:
            Batches of shape [batch_size, |G|, dim], each in memory of its own.

        Raises:
            OrbitLensError: If a number is out of range; from the iterator, if a part of the store
                is damaged.
        """
        if epoch < 0:
            raise out_of_range("epoch", "0 or more", epoch)
        if not 0 <= start <= len(self):
            raise out_of_range("start", f"a batch in 0..{len(self)}", start)
        return self._batches(epoch, start * self.batch_size)

    def _batches(self, epoch: int, first: int) -> Iterator[Orbits]:
        """Cut batches from the order of an epoch, beginning with its orbit number `first`."""
        parts = self._order(epoch)
        ends = np.cumsum([_count(part) * self.store.positions for part in parts]).tolist()
        part = int(np.searchsorted(ends, first, side="right"))
        begin = first - (ends[part - 1] if part else 0)
        left, filled = self.n - first, 0
        for number, rows in enumerate(self._buffers(parts[part:]), part):
            order = torch.from_numpy(self._generator(epoch, 1 + number).permutation(len(rows)))
            while begin < len(rows):
                if filled == 0:
                    batch = torch.empty(min(self.batch_size, left), *rows.shape[1:])
                taken = min(len(batch) - filled, len(rows) - begin)
                into = batch[filled : filled + taken]
                torch.index_select(rows, 0, order[begin : begin + taken], out=into)
                begin, filled, left = begin + taken, filled + taken, left - taken
                if filled == len(batch):
                    yield batch
                    filled = 0
            begin = 0

    def _order(self, epoch: int) -> list[list[Int[np.ndarray, " _"]]]:
        """The shards of each buffer of an epoch; buffers hold equally many, or one less."""
        count = len(self._shards)
        kept = self._parts == 1  # a buffer that stays from epoch to epoch has one order of shards
        order = np.arange(count) if kept else self._generator(epoch, 0).permutation(count)
        split = np.array_split(order, self._parts)
        return [[self._shards[i] for i in part] for part in split]

    def _generator(self, epoch: int, key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, key)))

    def _buffers(
        self, parts: Sequence[Sequence[Int[np.ndarray, " _"]]]
    ) -> Iterator[Float[Tensor, "rows group dim"]]:
        """Yield the orbits of each part in turn, while a thread reads the part after it."""
        if not parts:
            return
        stop = threading.Event()
        if self._parts == 1:
            if self._resident is None:
                self._resident = self._read(parts[0], self._buffer(parts), stop)
            yield self._resident
            return
        buffers = [self._buffer(parts) for _ in parts[:2]]
        pool = ThreadPoolExecutor(1, thread_name_prefix="orbit-batches")
        try:
            pending = pool.submit(self._read, parts[0], buffers[0], stop)
            for number in range(1, len(parts) + 1):
                rows = pending.result()
                if number < len(parts):
                    pending = pool.submit(self._read, parts[number], buffers[number % 2], stop)
                yield rows
        finally:
            # An iterator may be collected in any thread, also in one that the reader waits for:
            # tell the reader to stop, and wait for nothing.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _buffer(
        self, parts: Sequence[Sequence[Int[np.ndarray, " _"]]]
    ) -> Float[Tensor, "samples numbers"]:
        numbers = self.store.positions * self.store.group.order * self.store.dim
        return torch.from_numpy(np.empty((max(map(_count, parts)), numbers), np.float32))

    def _read(
        self,
        shards: Sequence[Int[np.ndarray, " _"]],
        buffer: Float[Tensor, "samples numbers"],
        stop: threading.Event,
    ) -> Float[Tensor, "rows group dim"]:
        """Fill a buffer with the samples of some shards, piece by piece; return its rows."""
        end = 0
        for piece in (piece for shard in shards for piece in _runs(shard, self._piece)):
            if stop.is_set():
                break
            first, last = int(piece[0]), int(piece[-1])
            block = self.store._read(slice(first, last + 1)).reshape(last + 1 - first, -1)
            into = buffer[end : end + len(piece)]
            torch.index_select(block, 0, torch.from_numpy(piece - first), out=into)
            end += len(piece)
        return buffer[:end].view(-1, self.store.group.order, self.store.dim)


def _chosen(store: ActivationStore, samples: Int[np.ndarray, " n"] | None) -> Int[np.ndarray, " n"]:
    """Return the samples in rising order, the order of the disk."""
    if samples is None:
        return np.arange(store.n)
    if len(samples) == 0:
        raise OrbitLensError(
            "`samples`", expected="at least one", received="none", remedy="choose some"
        )
    store._check_indices(samples)
    return np.sort(samples).astype(np.int64, copy=False)


def _runs(samples: Int[np.ndarray, " n"], length: int) -> list[Int[np.ndarray, " _"]]:
    """Split rising samples where another run of `length` stored samples begins."""
    return np.split(samples, np.flatnonzero(np.diff(samples // length)) + 1)


def _count(shards: Sequence[Int[np.ndarray, " _"]]) -> int:
    return sum(map(len, shards))


def _mib(size: int, *, up: bool = False) -> str:
    hundredths = -(-size * 100 // _MIB) if up else round(size * 100 / _MIB)
    return f"{hundredths / 100:.2f}"
