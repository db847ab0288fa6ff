"""Orbits in random order from a store that is larger than memory.

Rows at random places cost a disk a seek each, and a whole chunk is decoded for every one of them.
So the shuffle has two levels, as in WebDataset (Aizman, Maltby & Breuel, arXiv 2001.01858): runs of
samples, about 2 MiB each, fill a buffer in random order, and the orbits of the buffer are permuted.
Such runs are read at nearly the speed of the disk, and there are many more of them in a buffer than
there are whole shards, on which mixing depends. Both are measured in `benchmarks/scale/batches.md`.

A step uses few of the rows of an orbit. So training takes them from the buffer where they lie,
scaled as they were read (`places`); only a batch that lies in two buffers is copied.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, final

import numpy as np
import torch

from orbitlens.activations.store import ActivationStore
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.typing import Float, Int, Orbits, Tensor

_MIB = 2**20
_RUN_BYTES = 2 * _MIB
# While Zarr reads a run, it exists compressed, decoded, about its mean and with places aligned; the
# threads that decode keep about as much again of what they freed, and some MiB whatever its length.
_COPIES_OF_A_RUN = 8
_KEPT_BY_DECODERS = 16 * _MIB
# The one that is handed out, the one before it, and one that lies in two buffers.
_BATCHES = 3


class Needs(NamedTuple):
    """What reading a store in runs takes, for a reader and for whoever plans one.

    Attributes:
        run: Samples that are read at a time.
        batch: Bytes of a batch.
        fixed: Bytes whatever is held: runs on their way, batches, the numbers of samples and runs.
        by_zarr: Those of them that are for runs on their way; shards on a disk take one chunk.
            They count wherever the store lies, so that its order is the same everywhere.
        each: Bytes for each sample that is held, with the place of its rows in the order.
    """

    run: int
    batch: int
    fixed: int
    by_zarr: int
    each: int

    @classmethod
    def of(
        cls, *, count: int, sample: int, positions: int, chunk: int, shard: int, batch_size: int
    ) -> "Needs":
        """Return what is needed for `count` samples of `sample` bytes each.

        Example:
            >>> Needs.of(
            ...     count=9, sample=2**20, positions=1, chunk=1, shard=2, batch_size=1
            ... ).run
            2
        """
        run = min(shard, max(chunk, _RUN_BYTES // sample // chunk * chunk))
        batch = batch_size * sample // positions
        kept = min(_KEPT_BY_DECODERS, shard * sample // 2)
        by_zarr = _COPIES_OF_A_RUN * run * sample + kept
        fixed = by_zarr + _BATCHES * batch + 16 * count
        return cls(run, batch, fixed, by_zarr, sample + 8 * positions)

    def all(self, count: int) -> int:
        """Return the bytes that are needed to hold all samples."""
        return self.fixed + count * self.each

    def least(self, count: int, longest: int) -> int:
        """Return the bytes of the smallest two buffers, whose longest run has so many samples."""
        return self.fixed + min(2 * longest, count) * self.each

    def runs_held(self, memory: int, longest: int) -> int:
        """Return how many runs fit into each of two buffers."""
        return (memory - self.fixed) // (2 * self.each) // longest


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
        memory: Budget in bytes for buffers, for what is needed to fill them and for three batches.
        samples: Samples to visit, shape [n], in any order; default all of the store.
        seed: Seed of the order, default 0.

    Raises:
        OrbitLensError: If the budget is below what two runs need, a number is out of range, or
            there are no samples.

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
        self.store, self.batch_size, self.memory, self.seed = store, batch_size, memory, seed
        self._samples = _chosen(store, samples)
        self.n = len(self._samples) * store.positions
        sample = 4 * store.positions * store.group.order * store.dim
        needs = Needs.of(
            count=len(self._samples),
            sample=sample,
            positions=store.positions,
            chunk=int(store.array.chunks[0]),
            shard=store.shard_samples,
            batch_size=batch_size,
        )
        starts = np.flatnonzero(np.diff(self._samples // needs.run, prepend=-1))
        self._ends = np.append(starts, len(self._samples))  # run i is samples ends[i] : ends[i + 1]
        self._parts = self._share_budget(sample, needs)
        self._resident: Float[Tensor, "rows group dim"] | None = None
        self._scale = 1.0

    def _share_budget(self, sample: int, needs: Needs) -> int:
        """Return into how many parts an epoch falls, each of which fits into a buffer."""
        count, longest = len(self._samples), int(np.diff(self._ends).max())
        if needs.all(count) <= self.memory:
            return 1
        held = needs.runs_held(self.memory, longest)
        if held < 1:
            raise OrbitLensError(
                "`memory`",
                expected=f"at least {_mib(needs.least(count, longest), up=True)} MiB, to read "
                f"{_mib(longest * sample)} MiB at a time for batches of {_mib(needs.batch)} MiB",
                received=f"{_mib(self.memory)} MiB",
                remedy="give more memory, or take smaller batches",
            )
        return -(-(len(self._ends) - 1) // held)

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
        self._check(epoch, start)
        return self._copies(epoch, start)

    def _copies(self, epoch: int, start: int) -> Iterator[Orbits]:
        for rows, batch in self._places(epoch, start * self.batch_size):
            yield rows.index_select(0, batch)

    def places(
        self, epoch: int, start: int = 0
    ) -> Iterator[tuple[Float[Tensor, "orbits group dim"], Int[Tensor, " batch"]]]:
        """Return the batches of an epoch where they lie, without a copy of any but few.

        Args:
            epoch: Number of the epoch, from 0.
            start: Number of the first batch, default 0.

        Returns:
            Orbits in memory, and which of them are the batch; until the next one is asked for.

        Raises:
            OrbitLensError: As `epoch` does.
        """
        self._check(epoch, start)
        return self._places(epoch, start * self.batch_size)

    def everything(self) -> Iterator[Float[Tensor, "orbits group dim"]]:
        """Return every orbit once, a buffer at a time; each until the next one is asked for."""
        return self._buffers(self._order(0))

    def scale_(self, factor: float) -> None:
        """Multiply what is read from now on by a factor; no epoch may be under way."""
        self._scale *= factor
        if self._resident is not None:
            self._resident.mul_(factor)

    def _check(self, epoch: int, start: int) -> None:
        if epoch < 0:
            raise out_of_range("epoch", "0 or more", epoch)
        if not 0 <= start <= len(self):
            raise out_of_range("start", f"a batch in 0..{len(self)}", start)

    def _places(
        self, epoch: int, first: int
    ) -> Iterator[tuple[Float[Tensor, "orbits group dim"], Int[Tensor, " batch"]]]:
        """Cut batches from the order of an epoch, beginning with its orbit number `first`."""
        parts = self._order(epoch)
        ends = np.cumsum([self._count(part) * self.store.positions for part in parts]).tolist()
        part = int(np.searchsorted(ends, first, side="right"))
        begin = first - (ends[part - 1] if part else 0)
        left = self.n - first
        joined, filled = torch.empty(0), 0  # a batch that lies in several buffers
        for number, rows in enumerate(self._buffers(parts[part:]), part):
            order = torch.from_numpy(self._generator(epoch, 1 + number).permutation(len(rows)))
            while begin < len(rows):
                wanted = min(self.batch_size, left)
                batch = order[begin : begin + wanted - filled]
                begin += len(batch)
                if len(batch) < wanted:
                    if len(joined) == 0:
                        joined = torch.empty(self.batch_size, *rows.shape[1:])
                    into = joined[filled : filled + len(batch)]
                    torch.index_select(rows, 0, batch, out=into)
                    filled += len(batch)
                    if filled < wanted:
                        break
                    yield joined, torch.arange(wanted)
                else:
                    yield rows, batch
                left, filled = left - wanted, 0
            begin = 0

    def _order(self, epoch: int) -> list[Int[np.ndarray, " _"]]:
        """The runs of each buffer of an epoch; buffers hold equally many, or one less."""
        count = len(self._ends) - 1
        kept = self._parts == 1  # a buffer that stays from epoch to epoch has one order of runs
        order = np.arange(count) if kept else self._generator(epoch, 0).permutation(count)
        return np.array_split(order, self._parts)

    def _count(self, runs: Int[np.ndarray, " _"]) -> int:
        """How many samples some runs hold."""
        return int((self._ends[runs + 1] - self._ends[runs]).sum())

    def _generator(self, epoch: int, key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, key)))

    def _buffers(
        self, parts: Sequence[Int[np.ndarray, " _"]]
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

    def _buffer(self, parts: Sequence[Int[np.ndarray, " _"]]) -> Float[Tensor, "samples numbers"]:
        numbers = self.store.positions * self.store.group.order * self.store.dim
        return torch.from_numpy(np.empty((max(map(self._count, parts)), numbers), np.float32))

    def _read(
        self,
        runs: Int[np.ndarray, " _"],
        buffer: Float[Tensor, "samples numbers"],
        stop: threading.Event,
    ) -> Float[Tensor, "rows group dim"]:
        """Fill a buffer with the samples of some runs, one by one; return its rows."""
        orbit, end = (self.store.group.order, self.store.dim), 0
        for run in runs.tolist():
            if stop.is_set():
                break
            wanted = self._samples[self._ends[run] : self._ends[run + 1]]
            rows = buffer[end : end + len(wanted)].view(-1, *orbit)
            self.store._read_to(rows, wanted, self._scale)
            end += len(wanted)
        return buffer[:end].view(-1, *orbit)


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


def _mib(size: int, *, up: bool = False) -> str:
    hundredths = -(-size * 100 // _MIB) if up else round(size * 100 / _MIB)
    return f"{hundredths / 100:.2f}"
