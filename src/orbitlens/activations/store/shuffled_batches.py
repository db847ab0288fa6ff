"""Orbits in random order from a store that is larger than memory.

Reading single rows at random is slow: each costs the disk a seek, and a whole chunk is decoded.
So the shuffle has two levels, as in WebDataset (Aizman, Maltby & Breuel, arXiv 2001.01858). Runs of
consecutive samples, about 2 MiB each, fill a buffer in random order; then the orbits of the buffer
are permuted. Runs are read at nearly the speed of the disk. Runs mix better than whole shards,
because a buffer holds many more of them. `benchmarks/scale/batches.md` measures both.

A training step uses few rows of an orbit, so it takes them from the buffer directly (`places`).
Both buffers lie in one memory: a batch may begin in one and end in the other. Only a batch that is
larger than a buffer is copied.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, final

import numpy as np
import torch

from orbitlens.activations.store._on_disk import Samples
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.checks import as_samples
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.typing import Float, Int, Orbits, Tensor

Place = tuple[Float[Tensor, "orbits group dim"], Int[Tensor, " batch"] | None]

_MIB = 2**20
_RUN_BYTES = 2 * _MIB
# While Zarr reads a run, it exists compressed, decoded, about its mean and with places aligned.
# The decoding threads keep about as much freed memory again, and some MiB for runs of any length.
_COPIES_OF_A_RUN = 8
_KEPT_BY_DECODERS = 16 * _MIB
# As many as a training step has, so that it waits for all equally; Zarr has threads of its own.
_THREADS = 4
# The current batch and the one before it.
_BATCHES = 2


class Needs(NamedTuple):
    """The memory that OrbitBatches needs, in bytes, and the samples of a `run` read at a time.

    `fixed` does not depend on the buffers: runs being read, batches, sample numbers. `by_zarr` is
    its part for runs being read. Shards on a disk need one chunk instead, but the full amount
    always counts, so that the order is the same everywhere. `each` is for a sample in a buffer,
    with the place of its rows in the order.
    """

    run: int
    sample: int
    batch: int
    fixed: int
    by_zarr: int
    each: int

    @classmethod
    def of(
        cls, *, count: int, sample: int, positions: int, chunk: int, shard: int, batch_size: int
    ) -> "Needs":
        """Return the needs of a store: `sample` in bytes, `chunk` and `shard` in samples."""
        run = min(shard, max(chunk, _RUN_BYTES // sample // chunk * chunk))
        batch = batch_size * sample // positions
        kept = min(_KEPT_BY_DECODERS, shard * sample // 2)
        by_zarr = _COPIES_OF_A_RUN * run * sample + kept
        fixed = by_zarr + _BATCHES * batch + 16 * count
        return cls(run, sample, batch, fixed, by_zarr, sample + 8 * positions)

    def all(self, count: int) -> int:
        """Return the bytes needed to hold all samples."""
        return self.fixed + count * self.each

    def runs_held(self, memory: int, count: int, longest: int) -> int:
        """Return how many runs fit into each of two buffers; too little memory is an error.

        The longest run has `longest` of the `count` samples.
        """
        held = (memory - self.fixed) // (2 * self.each) // longest
        if held >= 1:
            return held
        least, read = self.fixed + min(2 * longest, count) * self.each, longest * self.sample
        gib = math.ceil(least / 2**30 * 1e4) / 1e4
        raise OrbitLensError(
            "memory for activations",
            expected=f"at least {_mib(least, up=True)} MiB, to read {_mib(read)} MiB at a time for "
            f"batches of {_mib(self.batch)} MiB",
            received=f"{_mib(memory)} MiB",
            remedy=f"give a `memory_gib` (--memory-gib) of {gib:.4f} or more for each store, or "
            "take smaller batches",
        )


@final
class OrbitBatches:
    """Batches of whole orbits in random order, within a stated memory budget.

    An epoch visits every orbit once. Its order depends on the seed, the number of the epoch, the
    budget and the store, never on timing. Threads read one buffer while the batches of the other
    are used, so two buffers share the budget. If the whole store fits into the budget, it is read
    once, kept, and permuted as one buffer.

    Args:
        store: The store, or a view of it about a mean.
        batch_size: Orbits per batch; the last batch of an epoch may be smaller.
        memory: Budget in bytes for the buffers, for filling them and for two batches.
        samples: Samples to visit, shape [n], in any order, or a boolean mask; default all of the
            store.
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
        samples: Samples | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise out_of_range("batch_size", "at least 1", batch_size)
        if seed < 0:
            raise out_of_range("seed", "0 or more", seed)
        self.store, self.batch_size, self.memory, self.seed = store, batch_size, memory, seed
        self._samples = _sorted_samples(store, samples)
        self.n = len(self._samples) * store.positions
        needs = Needs.of(
            count=len(self._samples),
            sample=4 * store.positions * store.group.order * store.dim,
            positions=store.positions,
            chunk=int(store.array.chunks[0]),
            shard=store.shard_samples,
            batch_size=batch_size,
        )
        starts = np.flatnonzero(np.diff(self._samples // needs.run, prepend=-1))
        self._ends = np.append(starts, len(self._samples))  # run i is samples ends[i] : ends[i + 1]
        self._parts = self._share_budget(needs)
        self._resident: Float[Tensor, "rows group dim"] | None = None
        self._scale = 1.0

    def _share_budget(self, needs: Needs) -> int:
        """Return the number of parts of an epoch; each part fits into a buffer."""
        count, longest = len(self._samples), int(np.diff(self._ends).max())
        if needs.all(count) <= self.memory:
            return 1
        return -(-(len(self._ends) - 1) // needs.runs_held(self.memory, count, longest))

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-self.n // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Float[Tensor, "batch group dim"]]:
        """Return the batches of an epoch from `start` on; earlier ones are not read.

        They equal the batches of the whole epoch, to the bit. The reading threads end with the
        iterator.

        Args:
            epoch: Number of the epoch, from 0.
            start: Number of the first batch, default 0; at most `len` of these batches.

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
            yield rows if batch is None else rows.index_select(0, batch)

    def places(self, epoch: int, start: int = 0) -> Iterator[Place]:
        """Return the batches of `epoch` without copying them, except a few.

        Returns:
            Pairs of orbits in memory and the indices of the batch in them, None for all orbits in
            their order. A pair is valid until the next one.
        """
        self._check(epoch, start)
        return self._places(epoch, start * self.batch_size)

    def everything(self) -> Iterator[Float[Tensor, "orbits group dim"]]:
        """Yield every orbit once, a buffer at a time; each is valid until the next one."""
        for rows, part, go_on in self._buffers(self._order(0)):
            go_on()
            yield rows[part]

    def scale_(self, factor: float) -> None:
        """Multiply the activations by a factor from now on; no epoch may be under way."""
        self._scale *= factor
        if self._resident is not None:
            self._resident.mul_(factor)

    def _check(self, epoch: int, start: int) -> None:
        if epoch < 0:
            raise out_of_range("epoch", "0 or more", epoch)
        if not 0 <= start <= len(self):
            raise out_of_range("start", f"a batch in 0..{len(self)}", start)

    def _places(self, epoch: int, first: int) -> Iterator[Place]:
        """Cut batches from the order of an epoch, starting with its orbit number `first`."""
        parts = self._order(epoch)
        ends = np.cumsum([self._count(part) * self.store.positions for part in parts]).tolist()
        skipped = int(np.searchsorted(ends, first, side="right"))
        begin = first - (ends[skipped - 1] if skipped else 0)
        left = self.n - first
        rest, joined = torch.arange(0), _Joined()  # the start of a batch, from an earlier part
        for number, (rows, part, go_on) in enumerate(self._buffers(parts[skipped:]), skipped):
            mixed = self._generator(epoch, 1 + number).permutation(part.stop - part.start)
            order = torch.from_numpy(part.start + mixed)[begin:]
            begin, wanted = 0, min(self.batch_size, left)
            if len(rest) or joined.filled:
                end = wanted - joined.filled - len(rest)
                rest, order = torch.cat([rest, order[:end]]), order[end:]
                if len(rest) < wanted:
                    joined.take(rows, rest, wanted)
                    rest = rest[:0]
                if len(rest) or joined.filled == wanted:
                    yield (rows, rest) if len(rest) else (joined.hand_out(), None)
                    left -= wanted
            go_on()
            while left and len(order) >= (wanted := min(self.batch_size, left)):
                yield rows, order[:wanted]
                left, order = left - wanted, order[wanted:]
            rest = order

    def _order(self, epoch: int) -> list[Int[np.ndarray, " _"]]:
        """Return the runs of each buffer of an epoch; their numbers differ by one at most."""
        count = len(self._ends) - 1
        kept = self._parts == 1  # a buffer that stays from epoch to epoch has one order of runs
        order = np.arange(count) if kept else self._generator(epoch, 0).permutation(count)
        return np.array_split(order, self._parts)

    def _count(self, runs: Int[np.ndarray, " _"]) -> int:
        """Return the number of samples in some runs."""
        return int((self._ends[runs + 1] - self._ends[runs]).sum())

    def _generator(self, epoch: int, key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, key)))

    def _buffers(
        self, parts: Sequence[Int[np.ndarray, " _"]]
    ) -> Iterator[tuple[Float[Tensor, "rows group dim"], slice, Callable[[], None]]]:
        """Yield the memory of each part, and a function that lets the next overwrite the last."""
        if not parts:
            return
        stop = threading.Event()
        capacity = max(map(self._count, parts)) * self.store.positions
        if self._parts == 1:
            if self._resident is None:
                self._resident = self._memory(capacity)
                self._read(parts[0], self._resident, stop)
            yield self._resident, slice(0, capacity), lambda: None
            return
        rows, pending = self._memory(2 * capacity), list[Future[None]]()
        threads = 1 if self.store._files is None else min(_THREADS, torch.get_num_threads())
        pool = ThreadPoolExecutor(threads, thread_name_prefix="orbit-batches")

        def begin(number: int) -> None:
            place = number % 2 * capacity
            for runs in np.array_split(parts[number], threads) if number < len(parts) else ():
                end = place + self._count(runs) * self.store.positions
                pending.append(pool.submit(self._read, runs, rows[place:end], stop))
                place = end

        try:
            begin(0)
            for number, part in enumerate(parts):
                while pending:
                    pending.pop(0).result()
                start = number % 2 * capacity
                end = start + self._count(part) * self.store.positions
                yield rows, slice(start, end), partial(begin, number + 1)
        finally:
            # An iterator may be collected in any thread, even one that the reader waits for:
            # tell the reader to stop, and do not wait.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _memory(self, orbits: int) -> Float[Tensor, "rows group dim"]:
        shape = (orbits, self.store.group.order, self.store.dim)
        return torch.from_numpy(np.empty(shape, np.float32))

    def _read(
        self,
        runs: Int[np.ndarray, " _"],
        rows: Float[Tensor, "rows group dim"],
        stop: threading.Event,
    ) -> None:
        """Fill memory with the samples of some runs, run by run."""
        end = 0
        for run in runs.tolist():
            if stop.is_set():
                break
            wanted = self._samples[self._ends[run] : self._ends[run + 1]]
            count = len(wanted) * self.store.positions
            self.store._read_to(rows[end : end + count], wanted, self._scale)
            end += count


@final
class _Joined:
    """A batch that is copied, because it lies in more parts than the buffers hold."""

    def __init__(self) -> None:
        self.filled, self._orbits = 0, torch.empty(0, 0, 0)

    def take(
        self, rows: Float[Tensor, "rows group dim"], chosen: Int[Tensor, " _"], size: int
    ) -> None:
        """Append some rows to a batch of `size` orbits."""
        if self.filled == 0:
            self._orbits = torch.empty(size, *rows.shape[1:])
        into = self._orbits[self.filled : self.filled + len(chosen)]
        torch.index_select(rows, 0, chosen, out=into)
        self.filled += len(chosen)

    def hand_out(self) -> Orbits:
        """Return the batch; the next one gets memory of its own."""
        orbits, self._orbits, self.filled = self._orbits, torch.empty(0, 0, 0), 0
        return orbits


def _sorted_samples(store: ActivationStore, samples: Samples | None) -> Int[np.ndarray, " n"]:
    """Return the samples in rising order, the order on disk."""
    if samples is None:
        return np.arange(store.n)
    chosen = as_samples(samples, store.n)
    if len(chosen) == 0:
        raise OrbitLensError(
            "`samples`", expected="at least one", received="none", remedy="choose some"
        )
    return np.sort(chosen)


def _mib(size: int, *, up: bool = False) -> str:
    hundredths = -(-size * 100 // _MIB) if up else round(size * 100 / _MIB)
    return f"{hundredths / 100:.2f}"
