"""Shards that are read as files hold what Zarr reads, and nothing damaged passes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from orbitlens.activations import ActivationStore, OrbitBatches, open_store, store_from_array
from orbitlens.activations.store._shard_reader import ShardFiles, as_slice
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

N, ORDER = 150, 2
BUDGET = 3 * 2**20


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 samples in chunks of 8, so that the last shard and chunk are not full."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**13)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**10)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def written(out: Path, *rest: int, dtype: str = "float32", n: int = N) -> ActivationStore:
    values = numbers(n, ORDER, *(rest or (16,)))
    return store_from_array(values, group=cyclic(ORDER), out=out, dtype=dtype)


def files_of(store: ActivationStore) -> ShardFiles:
    files = ShardFiles.of(store.array)
    assert files is not None
    return files


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**13)
        patch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**10)
        store = written(tmp_path_factory.mktemp("acts") / "acts")
    assert (store.array.shards[0], store.array.chunks[0]) == (64, 8)
    return store


@given(samples=st.lists(st.integers(0, N - 1)))
def test_any_samples_in_any_order_are_those_of_zarr(
    store: ActivationStore, samples: list[int]
) -> None:
    wanted = np.array(samples, dtype=np.int64)
    np.testing.assert_array_equal(files_of(store).read(wanted), store.array[:][wanted])


@given(samples=st.sets(st.integers(0, N - 1)).map(sorted))
def test_pieces_come_in_order_and_say_how_many_came_before(
    store: ActivationStore, samples: list[int]
) -> None:
    wanted, end = np.array(samples, dtype=np.int64), 0
    for begin, chunk, chosen in files_of(store).pieces(wanted):
        assert begin == end
        end += len(chosen)
        np.testing.assert_array_equal(chunk[chosen], store.array[:][wanted[begin:end]])
        chunk[:] = 0  # a chunk is the caller's
    assert end == len(wanted)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("positions", [0, 3])
@pytest.mark.parametrize("centred", [False, True])
def test_every_type_is_read_as_zarr_reads_it(
    dtype: str, positions: int, centred: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = (positions, 16) if positions else (16,)
    store = written(tmp_path / "acts", *rest, dtype=dtype)
    if positions:
        store = replace(store, moves=np.array([[0, 1, 2], [2, 0, 1]]))
    if centred:
        store = store.about(torch.from_numpy(numbers(max(1, positions), 16)))
    chosen = np.flatnonzero(numbers(N) > 0)
    settings: dict[str, Any] = {"batch_size": 7, "memory": BUDGET, "samples": chosen}
    rows = [store.orbits(), store.orbits(chosen[::-1]), *store.chunks(chosen, 10)]
    batches = [list(OrbitBatches(store, **settings).epoch(0))]

    monkeypatch.setattr(ShardFiles, "of", lambda *_: None)
    plain = replace(store)
    assert plain._files is None
    again = [plain.orbits(), plain.orbits(chosen[::-1]), *plain.chunks(chosen, 10)]
    batches.append(list(OrbitBatches(plain, **settings).epoch(0)))
    for one, other in (*zip(rows, again, strict=True), *zip(*batches, strict=True)):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("small_shards")
def test_batches_are_read_from_files_and_scaled(tmp_path: Path) -> None:
    store = written(tmp_path / "acts")
    batches = OrbitBatches(store, batch_size=10, memory=BUDGET)
    before = torch.cat(list(batches.epoch(1)))
    batches.scale_(0.3)
    assert torch.equal(torch.cat(list(batches.epoch(1))), before * np.float32(0.3))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_truncation_and_every_flipped_bit_is_found(tmp_path: Path, dtype: str) -> None:
    store = written(tmp_path / "acts", 3, n=3, dtype=dtype)
    shard, files = tmp_path / "acts/activations/c.0.0.0", files_of(store)
    whole, samples = shard.read_bytes(), np.arange(3)
    broken = [whole[:length] for length in range(len(whole))] + [whole + b"0"]
    broken += [
        whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]
        for bit in range(8 * len(whole))
    ]
    for content in broken:
        shard.write_bytes(content)
        with pytest.raises(ValueError, match="checksum .* was written|the file is too short"):
            files.read(samples)
        with pytest.raises(OrbitLensError, match=r"damaged shard 0 \(samples 0\.\.2\): "):
            list(OrbitBatches(store, batch_size=2, memory=BUDGET).epoch(0))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("damage", ["missing", "a chunk missing", "chunks exchanged", "long"])
def test_a_shard_that_is_not_as_it_was_written_is_named(tmp_path: Path, damage: str) -> None:
    store = written(tmp_path / "acts")
    shard = tmp_path / "acts/activations/c.1.0.0"
    if damage == "missing":
        shard.unlink()
    else:
        rewrite_index(shard, damage)
    with pytest.raises(OrbitLensError, match=r"damaged shard 1 \(samples 64\.\.127\)"):
        store.orbits(np.array([3, 65]))
    with pytest.raises(OrbitLensError, match=r"damaged shard 1 \(samples 64\.\.127\)"):
        list(OrbitBatches(store, batch_size=2, memory=BUDGET).epoch(0))
    assert len(store.orbits(np.array([3, 130]))) == 2


def rewrite_index(shard: Path, damage: str) -> None:
    """Change the index of a shard, with a checksum that fits."""
    content = shard.read_bytes()
    index = np.frombuffer(content[-132:-4], np.uint64).reshape(8, 2).copy()
    if damage == "a chunk missing":
        index[0] = 2**64 - 1
    elif damage == "long":
        index[:, 1] += 1
    else:
        index[0, 0] += 4
    checksum = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    shard.write_bytes(content[:-132] + index.tobytes() + checksum)


def test_what_zarr_must_read_is_left_to_it(tmp_path: Path, store: ActivationStore) -> None:
    values = numbers(8, ORDER, 4)
    in_memory = store_from_array(values, group=cyclic(ORDER))
    remote = store_from_array(values, group=cyclic(ORDER), out="memory://left-to-zarr/acts")
    plain = {"shape": values.shape, "dtype": values.dtype, "shards": values.shape}
    whole, small = values.shape, (2, ORDER, 4)
    others = {
        "compressed": {**plain, "chunks": small, "compressors": [ZstdCodec(), Crc32cCodec()]},
        "unchecked": {**plain, "chunks": small, "compressors": None},
        "torn": {**plain, "chunks": (2, 1, 4), "compressors": [Crc32cCodec()]},
        "no shards": {**plain, "shards": None, "chunks": whole, "compressors": [Crc32cCodec()]},
        "index first": {
            **plain,
            "shards": None,
            "chunks": whole,
            "compressors": None,
            "serializer": ShardingCodec(
                chunk_shape=small, codecs=[BytesCodec(), Crc32cCodec()], index_location="start"
            ),
        },
    }
    arrays = [in_memory.array, remote.array]
    arrays += [zarr.create_array(str(tmp_path / n), **how) for n, how in others.items()]
    assert [ShardFiles.of(array) for array in arrays] == [None] * len(arrays)
    for array in arrays:
        left = replace(store, array=array, labels=None, checksums=None)
        if array.store_path.store != remote.array.store_path.store and array is not arrays[0]:
            array[:] = values
        assert torch.equal(left.orbits(), torch.from_numpy(values))
        rows = torch.cat(list(OrbitBatches(left, batch_size=3, memory=2**26).epoch(0)))
        assert sorted(rows[:, 0, 0].tolist()) == sorted(values[:, 0, 0].tolist())


def test_a_disk_that_fails_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "acts", n=4)
    store = open_store(tmp_path / "acts")

    def failing(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("orbitlens.activations.store._shard_reader.FileIO", failing)
    with pytest.raises(OrbitLensError, match="expected a disk, or a network, that can be read"):
        store.orbits()


def test_samples_are_read_from_files_in_the_order_given(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(10, 3, 1)
    store = store_from_array(values, group=cyclic(3), out=tmp_path / "acts.zarr")
    files = ShardFiles.of(store.array)
    assert files is not None
    assert files.read(np.array([7, 2]))[:, 0, 0].tolist() == [21.0, 6.0]


def test_consecutive_indices_are_a_slice() -> None:
    assert as_slice(np.array([3, 4, 5])) == slice(3, 6)
    assert np.array_equal(as_slice(np.array([3, 5])), [3, 5])
    assert np.array_equal(as_slice(np.zeros(0, np.int64)), [])
