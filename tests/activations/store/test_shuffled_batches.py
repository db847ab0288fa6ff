"""Batches of an epoch hold every orbit once, whatever the budget, and can be taken up anywhere."""

import gc
import re
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from orbitlens.activations import ActivationStore, OrbitBatches, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

DIM = 256


def numbered(n: int, *, shard: int = 4, positions: int = 1, out: Path | None = None):
    """A store in which orbit i at place p holds the number i * positions + p + g / 4."""
    numbers = np.arange(n * positions, dtype=np.float32).reshape(n, 1, positions, 1)
    values = numbers + np.array([0, 0.25], np.float32)[:, None, None]
    values = np.broadcast_to(values, (n, 2, positions, DIM)).copy()
    return sharded(values if positions > 1 else values[:, :, 0], shard=shard, out=out)


def sharded(
    values: np.ndarray,
    *,
    shard: int,
    chunk: int = 1,
    out: Path | None = None,
    compressed: bool = True,
):
    store = store_from_array(values[:1], group=cyclic(2))
    array = zarr.create_array(
        MemoryStore() if out is None else str(out),
        shape=values.shape,
        dtype=values.dtype,
        chunks=(chunk, *values.shape[1:]),
        shards=(shard, *values.shape[1:]),
        compressors=[*[ZstdCodec(level=1)] * compressed, Crc32cCodec()],
    )
    array[:] = values
    return replace(store, array=array, labels=None)


def least_memory(store: ActivationStore, batch_size: int, samples: np.ndarray | None = None) -> int:
    """The budget that the error asks for, in bytes."""
    with pytest.raises(OrbitLensError) as error:
        OrbitBatches(store, batch_size=batch_size, memory=0, samples=samples)
    (needed,) = re.findall(r"at least ([\d.]+) MiB", str(error.value))
    return round(float(needed) * 2**20)


def tight(store: ActivationStore, batch_size: int = 3, seed: int = 0, spare: int = 0):
    """Batches whose buffers hold one run, here a shard, or a few more."""
    memory = least_memory(store, batch_size) + 2 * spare * 4 * 2 * DIM * 4
    return OrbitBatches(store, batch_size=batch_size, memory=memory, seed=seed)


def order(batches: OrbitBatches, epoch: int = 0, start: int = 0) -> list[int]:
    return [int(row) for batch in batches.epoch(epoch, start) for row in batch[:, 0, 0]]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("orbit-batches")]


def assert_readers_end() -> None:
    for thread in readers():
        thread.join(60)
    assert readers() == []


@given(
    n=st.integers(1, 40),
    shard=st.integers(1, 6),
    positions=st.integers(1, 3),
    batch_size=st.integers(1, 50),
    spare=st.floats(0, 6),
    data=st.data(),
)
def test_every_orbit_once_and_any_start_is_a_suffix(
    n: int, shard: int, positions: int, batch_size: int, spare: float | int, data: st.DataObject
) -> None:
    store = numbered(n, shard=shard, positions=positions)
    samples = data.draw(st.none() | st.sets(st.integers(0, n - 1), min_size=1).map(sorted))
    chosen = np.arange(n) if samples is None else np.array(samples)
    memory = least_memory(store, batch_size, chosen) + int(spare * shard * positions * 8 * DIM)
    batches = OrbitBatches(store, batch_size=batch_size, memory=memory, samples=chosen)
    whole = list(batches.epoch(3))

    assert batches.n == len(chosen) * positions
    assert [len(batch) for batch in whole[:-1]] == [batch_size] * (len(batches) - 1)
    assert 0 < len(whole[-1]) <= batch_size
    rows = torch.cat(whole)
    assert torch.equal(rows[rows[:, 0, 0].argsort()], store.orbits(chosen))

    start = data.draw(st.integers(0, len(batches)))
    rest = list(batches.epoch(3, start))
    assert len(rest) == len(batches) - start
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("spare", [0, 2, 100], ids=["one run", "three runs", "all"])
def test_epochs_and_seeds_differ_and_the_same_seed_does_not(spare: int) -> None:
    store = numbered(40)
    first = tight(store, spare=spare)
    again, other = tight(store, spare=spare), tight(store, spare=spare, seed=1)
    orders = [order(first, 0), order(first, 1), order(other, 0), order(other, 1)]
    assert len({tuple(rows) for rows in orders}) == 4
    assert list(range(40)) not in orders
    assert [order(again, 0), order(again, 1)] == orders[:2]


def test_iterators_side_by_side_do_not_disturb_each_other() -> None:
    batches = tight(numbered(40), spare=1)
    pairs = list(zip(batches.epoch(0), batches.epoch(1), strict=True))
    assert [int(row) for batch, _ in pairs for row in batch[:, 0, 0]] == order(batches, 0)
    assert [int(row) for _, batch in pairs for row in batch[:, 0, 0]] == order(batches, 1)


def test_a_batch_keeps_its_numbers_while_later_ones_are_read() -> None:
    batches = tight(numbered(40))
    kept = [(batch, batch.clone()) for batch in batches.epoch(0)]
    assert all(torch.equal(batch, copy) for batch, copy in kept)


@pytest.mark.parametrize("batch_size", [2, 7, 11, 40])
@pytest.mark.parametrize("spare", [0, 2])
def test_places_are_the_batches_until_the_next_is_asked_for(
    batch_size: int, spare: int, tmp_path: Path
) -> None:
    values = numbered(60).orbits().numpy()
    store = sharded(values, shard=4, compressed=False, out=tmp_path / "array")
    batches = tight(store, batch_size=batch_size, spare=spare)  # buffers of 4 or 12
    memory = set()
    for (rows, places), batch in zip(batches.places(1, 1), batches.epoch(1, 1), strict=True):
        time.sleep(0.003)  # for the readers to write where they should not
        assert torch.equal(rows if places is None else rows[places], batch)
        memory.add(rows.data_ptr())
    assert len(memory) == 1 or batch_size > 4 * (spare + 1)


def test_a_buffer_mixes_its_runs_and_no_others() -> None:
    store = numbered(48)
    rows = np.array(order(tight(store, spare=2))).reshape(4, 12)  # buffers of three shards of four
    assert all(len(set(buffer // 4)) == 3 for buffer in rows)
    assert any(len(set(buffer[:4] // 4)) > 1 for buffer in rows)


def test_a_view_about_a_mean_is_read_as_such() -> None:
    store = numbered(12, positions=2)
    view = replace(store, moves=np.array([[0, 1], [1, 0]])).about(torch.ones(2, DIM))
    rows = torch.cat(list(tight(view).epoch(0)))
    assert torch.equal(rows[rows[:, 0, 0].argsort()], view.orbits())


def test_samples_are_read_by_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int]] = []
    plain = ActivationStore._read

    def counted(self: ActivationStore, samples: slice) -> torch.Tensor:
        reads.append((samples.start, samples.stop))
        return plain(self, samples)

    store = sharded(numbered(160).orbits().numpy(), shard=32, chunk=32)
    samples = np.r_[1:32:2, 64:96:2, 129:160:2][::-1]
    memory = least_memory(store, 2, samples)
    monkeypatch.setattr(ActivationStore, "_read", counted)
    batches = OrbitBatches(store, batch_size=2, memory=memory, samples=samples)
    assert sorted(order(batches)) == sorted(samples)
    assert sorted(reads) == [(1, 32), (64, 95), (129, 160)]

    reads.clear()
    assert list(batches.epoch(0, start=len(batches))) == []
    assert reads == []
    last = order(batches, 0, start=len(batches) - 1)
    assert [start <= row < stop for row in last for start, stop in reads] == [True, True]


def test_a_store_within_the_budget_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = numbered(40)
    batches = OrbitBatches(store, batch_size=7, memory=2**20)
    assert sorted(order(batches, 0)) == list(range(40))
    monkeypatch.setattr(ActivationStore, "_read", None)
    assert sorted(order(batches, 1)) == list(range(40))
    assert order(batches, 1, start=2) == order(batches, 1)[14:]
    assert readers() == []


def test_samples_given_twice_come_twice() -> None:
    samples = np.array([5, 2, 5])
    batches = OrbitBatches(numbered(8), batch_size=2, memory=2**20, samples=samples)
    assert sorted(order(batches)) == [2, 5, 5]


def test_the_budget_that_the_error_names_is_enough_and_less_is_not() -> None:
    store = numbered(40, shard=16)
    least = least_memory(store, 4)
    OrbitBatches(store, batch_size=4, memory=least)
    line = r"memory for activations: expected at least .* MiB.*, received .* MiB; give"
    with pytest.raises(OrbitLensError, match=line) as error:
        OrbitBatches(store, batch_size=4, memory=least - 2**20 // 50)
    named = re.search(r"a `memory_gib` \(--memory-gib\) of (\S+) or more", str(error.value))
    assert named
    OrbitBatches(store, batch_size=4, memory=int(float(named[1]) * 2**30))


def test_numbers_out_of_range_are_named() -> None:
    store = numbered(8)
    for wrong in ({"batch_size": 0}, {"seed": -1}):
        with pytest.raises(OrbitLensError, match=f"`{next(iter(wrong))}`"):
            OrbitBatches(store, **{"batch_size": 2, "memory": 2**20, **wrong})
    with pytest.raises(OrbitLensError, match=r"0\.\.7"):
        OrbitBatches(store, batch_size=2, memory=2**20, samples=np.array([8]))
    with pytest.raises(OrbitLensError, match="at least one, received none"):
        OrbitBatches(store, batch_size=2, memory=2**20, samples=np.array([], dtype=np.int64))
    batches = OrbitBatches(store, batch_size=2, memory=2**20)
    with pytest.raises(OrbitLensError, match="`epoch`"):
        batches.epoch(-1)
    with pytest.raises(OrbitLensError, match=r"`start`: expected a batch in 0\.\.4, received 5"):
        batches.epoch(0, start=5)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_shard_is_an_error_of_the_consumer(tmp_path: Path, damage: str) -> None:
    store = numbered(40, out=tmp_path / "array")
    (shard,) = tmp_path.glob("array/c/5/*/*")
    content = bytearray(shard.read_bytes())
    content[3] ^= 1
    shard.write_bytes(content[:40] if damage == "truncated" else content)
    batches, seen = tight(store), []
    with pytest.raises(OrbitLensError, match="damaged"):
        seen.extend(int(row) for batch in batches.epoch(0) for row in batch[:, 0, 0])
    assert not set(seen) & {20, 21, 22, 23}
    assert_readers_end()


@pytest.mark.parametrize("ending", ["exhausted", "closed", "collected", "raised", "in a cycle"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_reading_threads_end_with_their_iterator(
    ending: str, threads: int, tmp_path: Path
) -> None:
    values = numbered(80).orbits().numpy()
    store = sharded(values, shard=4, compressed=threads == 1, out=tmp_path / "array")
    kept = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        iterator = tight(store).epoch(0)
        assert readers() == []
        next(iterator)
        assert len(readers()) == threads
    finally:
        torch.set_num_threads(kept)
    if ending == "exhausted":
        list(iterator)
    elif ending == "closed":
        iterator.close()
    elif ending == "raised":
        with pytest.raises(RuntimeError):
            iterator.throw(RuntimeError())
    elif ending == "in a cycle":
        cycle = [iterator]
        cycle.append(cycle)
        del cycle
    del iterator
    gc.collect()
    assert_readers_end()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("positions", [1, 4])
def test_what_is_allocated_stays_within_the_budget(
    tmp_path: Path, positions: int, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 16 MiB on disk in shards of 512 KiB and runs of 64 KiB.
    monkeypatch.setattr("orbitlens.activations.store.shuffled_batches._RUN_BYTES", 2**16)
    random = np.random.default_rng(0).standard_normal
    values = random((2048 // positions, 2, positions, 1024), np.float32)
    store = sharded(
        values if positions > 1 else values[:, :, 0],
        shard=64 // positions,
        chunk=8 // positions,
        out=tmp_path / "array",
        compressed=compressed,
    )
    batches = OrbitBatches(store, batch_size=32, memory=3 * 2**20)
    peaks = []
    for epoch in range(2):  # the table of interned strings may grow in one of them
        tracemalloc.start()
        try:
            for _ in batches.epoch(epoch):
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    of_batches = 2 * 32 * 2 * 1024 * 4  # torch's, which are not traced
    assert 2**20 < min(peaks) + of_batches <= 3 * 2**20
