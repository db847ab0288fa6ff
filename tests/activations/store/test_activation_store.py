"""A store gives back what was put in, and what is not whole is not opened."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from orbitlens.activations import ActivationStore, open_store, store_from_array
from orbitlens.activations.store._on_disk import Shards, chunk_samples, plan_shards
from orbitlens.activations.store._open_store import describe
from orbitlens.activations.store._resume_settings import weights_digest
from orbitlens.activations.store._write_store import write_store
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 4 * 2**20)


@pytest.fixture
def values() -> np.ndarray:
    """Three shards of the store: an orbit takes 64 KiB."""
    return numbers(150, 4, 4096)


@pytest.fixture
def path(tmp_path: Path, values: np.ndarray) -> Path:
    labels = np.arange(150) % 3
    out = tmp_path / "acts.zarr"
    store_from_array(values, group=cyclic(4), out=out, labels=labels, class_names=("a", "b", "c"))
    return out


def aligned(group_order: int, moves: np.ndarray, blocks: list[np.ndarray]) -> ActivationStore:
    attributes = describe(
        group=cyclic(group_order),
        action="images",
        action_config={},
        model="m",
        layer="l",
        digest="d",
        class_names=(),
        moves=moves,
    )
    n = sum(len(block) for block in blocks)
    return write_store(blocks, n=n, out=None, labels=None, attributes=attributes)


def test_round_trip_on_disk(path: Path, values: np.ndarray) -> None:
    store = open_store(path)
    assert np.array_equal(store.orbits().numpy(), values)
    assert (store.n, store.dim, store.positions) == (150, 4096, 1)
    assert store.group == cyclic(4)
    assert store.group.element_names == ("e", "r", "r^2", "r^3")
    assert store.labels is not None
    assert store.labels.tolist() == [0, 1, 2] * 50
    assert store.class_names == ("a", "b", "c")
    assert (store.shard_samples, store.array.shards) == (64, (64, 4, 4096))
    assert [entry.name for entry in path.parent.iterdir()] == ["acts.zarr"]


def test_indices_are_read_in_the_order_given(path: Path, values: np.ndarray) -> None:
    indices = np.array([149, 0, 64, 0, 63])
    assert np.array_equal(open_store(path).orbits(indices).numpy(), values[indices])


@pytest.mark.parametrize("size", [7, 100, 4096])
def test_chunks_are_the_orbits_in_order(path: Path, values: np.ndarray, size: int) -> None:
    store = open_store(path)
    pieces = list(store.chunks(size=size))
    assert np.array_equal(torch.cat(pieces).numpy(), values)
    assert max(map(len, pieces)) <= size
    chosen = np.arange(100)[::-1].copy()
    picked = torch.cat(list(store.chunks(chosen, size=size)))
    assert np.array_equal(picked.numpy(), values[chosen])


def test_positions_that_move_are_laid_beside_each_other() -> None:
    # Two positions that element 1 of C2 exchanges: entry = 100 sample + 10 element + place.
    entry = np.array([[[[100.0 * i + 10 * g + p] for p in (0, 1)] for g in (0, 1)] for i in (0, 1)])
    blocks = [entry.astype(np.float32)]
    store = aligned(2, np.array([[0, 1], [1, 0]]), blocks)
    assert store.orbits().flatten(1).tolist() == [[0, 11], [1, 10], [100, 111], [101, 110]]
    assert store.orbits(np.array([1])).flatten(1).tolist() == [[100, 111], [101, 110]]
    assert [len(piece) for piece in store.chunks(size=3)] == [2, 2]


def test_positions_without_moves_stay() -> None:
    values = numbers(3, 2, 5, 4)
    store = store_from_array(values, group=cyclic(2))
    assert store.positions == 5
    assert np.array_equal(store.orbits()[7].numpy(), values[1, :, 2])


def test_split_is_fixed_disjoint_and_complete(path: Path) -> None:
    train, held_out = open_store(path).split()
    again, _ = store_from_array(numbers(150, 2, 1), group=cyclic(2)).split()
    assert len(held_out) == 30
    assert sorted([*train, *held_out]) == list(range(150))
    assert np.array_equal(train, again)
    assert held_out.tolist() != list(range(120, 150))


def test_split_holds_out_at_least_one_sample() -> None:
    train, held_out = store_from_array(numbers(2, 2, 1), group=cyclic(2)).split()
    assert (len(train), len(held_out)) == (1, 1)
    with pytest.raises(OrbitLensError, match="at least 2 to split, received 1"):
        store_from_array(numbers(1, 2, 1), group=cyclic(2)).split()


def test_indices_out_of_range_are_named(path: Path) -> None:
    for wrong in ([0, 150], [-1]):
        with pytest.raises(OrbitLensError, match=r"0\.\.149"):
            open_store(path).orbits(np.array(wrong))


def test_require_names_what_is_wanted_and_what_is_there() -> None:
    store = store_from_array(numbers(2, 4, 3), group=cyclic(4), model="mlp", layer="encoder")
    store.require(group=cyclic(4), model="mlp", layer="encoder")
    store.require()
    with pytest.raises(OrbitLensError, match=r"another group.*group D2, received group C4"):
        store.require(group=dihedral(2))
    with pytest.raises(
        OrbitLensError, match=r"another model and layer.*'cnn', layer 'x', received model 'mlp'"
    ):
        store.require(group=cyclic(4), model="cnn", layer="x")


def test_summary_is_json_ready(path: Path) -> None:
    summary = json.loads(json.dumps(open_store(path).to_dict()))
    assert summary["group"] == "C4"
    assert (summary["n"], summary["dim"], summary["labelled"]) == (150, 4096, True)


def test_no_such_path_and_other_files_are_no_stores(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="no such path"):
        open_store(tmp_path / "nothing")
    (tmp_path / "file").write_text("text")
    with pytest.raises(OrbitLensError, match="received a file"):
        open_store(tmp_path / "file")
    with pytest.raises(OrbitLensError, match="no Zarr group"):
        open_store(tmp_path)
    zarr.create_group(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(OrbitLensError, match="Zarr group of format None"):
        open_store(tmp_path / "other.zarr")


def change(path: Path, **attributes: object) -> None:
    root = zarr.open_group(path, mode="r+")
    root.attrs.update(attributes)


def test_an_incomplete_store_is_refused(path: Path) -> None:
    change(path, complete=False)
    with pytest.raises(OrbitLensError, match="received an incomplete one; remove it"):
        open_store(path)


def test_a_newer_schema_is_refused(path: Path) -> None:
    change(path, schema=99)
    with pytest.raises(OrbitLensError, match="schema 1 to 2, received schema 99; update"):
        open_store(path)


def test_a_store_of_schema_1_is_read(tmp_path: Path, values: np.ndarray) -> None:
    root = zarr.create_group(tmp_path / "old", zarr_format=3)
    attributes = describe(
        group=cyclic(4),
        action="given",
        action_config={},
        model="m",
        layer="l",
        digest="d",
        class_names=(),
        moves=None,
    )
    del attributes["dtype"]
    root.attrs.update({**attributes, "schema": 1, "labelled": False, "complete": True})
    array = root.create_array(
        "activations",
        shape=values.shape,
        chunks=(64, 4, 4096),
        dtype="float32",
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        config={"write_empty_chunks": True},
    )
    array[:] = values
    store = open_store(tmp_path / "old")
    assert (store.dtype, store.shard_samples) == ("float32", 64)
    assert np.array_equal(store.orbits().numpy(), values)
    spoil(tmp_path / "old/activations/c/1/0/0", "flipped")
    with pytest.raises(OrbitLensError, match=r"damaged shard 1 \(samples 64\.\.127\)"):
        store.orbits()
    (tmp_path / "old/activations/c/2/0/0").unlink()
    with pytest.raises(OrbitLensError, match="2 of the 3 shards"):
        open_store(tmp_path / "old")


def test_memory_and_disk_are_cut_alike(path: Path, values: np.ndarray) -> None:
    in_memory = store_from_array(values, group=cyclic(4))
    assert in_memory.shard_samples == open_store(path).shard_samples == 64


@pytest.mark.parametrize("n", [1, 5, 33, 64, 65, 1000])
@pytest.mark.parametrize("widths", [(3,), (4096, 3), (40, 700, 11)])
def test_shards_hold_whole_chunks_of_every_layer(n: int, widths: tuple[int, ...]) -> None:
    shapes = [(4, width) for width in widths]
    shards = plan_shards(n, shapes, together=7)
    assert 1 <= shards.samples < 2 * n
    assert shards.count * shards.samples >= n > (shards.count - 1) * shards.samples
    for shape in shapes:
        assert shards.samples % min(shards.samples, chunk_samples(shape)) == 0


def test_another_group_than_the_arrays_is_refused(path: Path) -> None:
    change(path, group=cyclic(3).to_dict())
    with pytest.raises(OrbitLensError, match=r"intact store.*\(150, 4, 4096\)"):
        open_store(path)


def test_wider_orbits_than_the_pieces_they_are_stored_in_are_refused(path: Path) -> None:
    # Zarr would fill up what was never written.
    metadata = path / "activations" / "zarr.json"
    record = json.loads(metadata.read_text())
    record["shape"][-1] += 1
    metadata.write_text(json.dumps(record))
    with pytest.raises(OrbitLensError, match="intact store.*in pieces of"):
        open_store(path)


def test_what_is_missing_of_a_group_is_said_to_be(path: Path) -> None:
    record = cyclic(4).to_dict()
    change(path, group={name: record[name] for name in record if name != "table"})
    with pytest.raises(OrbitLensError, match="expected an intact store, received no 'table'; "):
        open_store(path)


@pytest.mark.parametrize("chunk", ["activations/c.1.0.0", "labels/c/0"])
def test_a_missing_shard_is_no_zeros(path: Path, chunk: str) -> None:
    (path / chunk).unlink()
    with pytest.raises(OrbitLensError, match=r"intact store.*of the . shards"):
        open_store(path)


def test_a_store_without_its_array_is_refused(path: Path) -> None:
    shutil.rmtree(path / "activations")
    with pytest.raises(OrbitLensError, match="intact store"):
        open_store(path)


def spoil(shard: Path, damage: str) -> None:
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    whole = {"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}
    shard.write_bytes(whole[damage])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_shard_is_found_when_it_is_read(path: Path, damage: str) -> None:
    spoil(path / "activations/c.1.0.0", damage)
    store = open_store(path)
    store.orbits(np.array([0, 63]))
    named = r"shards as they were written, received damaged shard 1 \(samples 64\.\.127\): "
    with pytest.raises(OrbitLensError, match=named):
        store.orbits()
    with pytest.raises(OrbitLensError, match=named):
        store.orbits(np.array([3, 66]))
    with pytest.raises(OrbitLensError, match=named):
        list(store.chunks())


def test_every_damaged_shard_is_named(path: Path) -> None:
    store = open_store(path)
    spoil(path / "activations/c.2.0.0", "flipped")
    (path / "activations/c.0.0.0").unlink()
    named = r"shards 0 \(samples 0\.\.63\), 2 \(samples 128\.\.149\): missing"
    with pytest.raises(OrbitLensError, match=named):
        store.orbits()


def test_every_truncation_and_every_flipped_bit_is_found(tmp_path: Path) -> None:
    values = numbers(3, 2, 5)
    store_from_array(values, group=cyclic(2), out=tmp_path / "acts", dtype="float16")
    shard = tmp_path / "acts/activations/c.0.0.0"
    whole = shard.read_bytes()
    broken = [whole[:length] for length in range(len(whole))]
    broken += [
        whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]
        for bit in range(8 * len(whole))
    ]
    store = open_store(tmp_path / "acts")
    for content in broken:
        shard.write_bytes(content)
        with pytest.raises(OrbitLensError, match=r"damaged shard 0 \(samples 0\.\.2\)"):
            store.orbits()
        with pytest.raises(OrbitLensError, match=r"damaged shard 0 \(samples 0\.\.2\)"):
            store.orbits(np.array([1]))


def test_a_chunk_of_zeros_is_written_all_the_same(tmp_path: Path) -> None:
    store_from_array(np.zeros((3, 2, 4), np.float32), group=cyclic(2), out=tmp_path / "zeros")
    assert not open_store(tmp_path / "zeros").orbits().any()


@pytest.mark.parametrize("reason", [RuntimeError("stop"), KeyboardInterrupt()])
def test_an_interrupted_writer_leaves_nothing(tmp_path: Path, reason: BaseException) -> None:
    def blocks():
        yield numbers(2, 2, 3)
        assert any(tmp_path.iterdir())
        raise reason

    with pytest.raises(type(reason)):
        write_store(
            blocks(),
            n=4,
            out=tmp_path / "acts",
            labels=None,
            attributes=describe(
                group=cyclic(2),
                action="given",
                action_config={},
                model="m",
                layer="l",
                digest="",
                class_names=(),
                moves=None,
            ),
        )
    assert not any(tmp_path.iterdir())


def test_what_a_killed_writer_leaves_never_opens(tmp_path: Path) -> None:
    left_over = tmp_path / "left-over"

    def blocks():
        yield numbers(2, 2, 3)
        (partial,) = tmp_path.iterdir()
        shutil.copytree(partial, left_over)
        yield numbers(2, 2, 3)

    attributes = describe(
        group=cyclic(2),
        action="given",
        action_config={},
        model="m",
        layer="l",
        digest="",
        class_names=(),
        moves=None,
    )
    write_store(blocks(), n=4, out=tmp_path / "acts", labels=None, attributes=attributes)
    assert open_store(tmp_path / "acts").n == 4
    with pytest.raises(OrbitLensError, match="incomplete"):
        open_store(left_over)


def test_blocks_of_any_size_fill_the_same_store(values: np.ndarray, tmp_path: Path) -> None:
    pieces = np.split(values, [1, 30, 31, 130])
    store = aligned(4, np.zeros((4, 1), dtype=np.int64), [piece[:, :, None] for piece in pieces])
    assert np.array_equal(store.orbits().numpy(), values)


def test_the_last_shard_may_have_fewer_samples() -> None:
    shards = Shards(10, samples=4)
    assert [shards.span(i) for i in range(shards.count)] == [(0, 4), (4, 8), (8, 10)]


def test_a_digest_changes_with_every_weight() -> None:
    model = torch.nn.BatchNorm1d(2)
    before = weights_digest(model)
    assert weights_digest(torch.nn.Identity()) == "e3b0c44298fc1c14"  # of nothing
    assert weights_digest(torch.nn.BatchNorm1d(2)) == before
    model.running_var[1] += 1  # type: ignore[index]
    assert weights_digest(model) != before
