"""A store is read as it was written, or refused in a line that says what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from orbitlens.actions import images
from orbitlens.activations import (
    ActivationStore,
    OrbitBatches,
    harvest,
    open_store,
    store_from_array,
)
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

N, BEFORE = 150, Path(__file__).parents[2] / "before" / "files" / "stores"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 samples in chunks of 8."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**13)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**10)


def numbers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, 2, 16), np.float32)


def written(out: Path | str, seed: int = 0, dtype: str = "float32") -> ActivationStore:
    labels = np.random.default_rng(seed).integers(0, 3, N)
    return store_from_array(
        numbers(seed),
        group=cyclic(2),
        out=out,
        labels=labels,
        class_names=("a", "b", "c"),
        dtype=dtype,
    )


def grid(out: Path) -> ActivationStore:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, padding=1))
    pictures = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    action = images(cyclic(4))
    return harvest(network, layer="0", inputs=pictures, action=action, out=out, positions="all")


def change(store: Path, array: str = "", **changes: Any) -> None:
    file = store / array / "zarr.json"
    record = json.loads(file.read_text())
    (record if array else record["attributes"]).update(changes)
    file.write_text(json.dumps(record))


def unsealed(store: Path) -> None:
    """Make it a store of the version before, which had neither seal nor checksums."""
    file = store / "zarr.json"
    record = json.loads(file.read_text())
    for name in ("seal", "fingerprint"):
        record["attributes"].pop(name, None)
    file.write_text(json.dumps(record))
    shutil.rmtree(store / "checksums", ignore_errors=True)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("by_zarr", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_shard_in_the_place_of_another_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, by_zarr: bool
) -> None:
    """All of its own checksums fit; only those of the store say where it belongs."""
    if by_zarr:
        monkeypatch.setattr(
            "orbitlens.activations.store._shard_reader.ShardFiles.of", lambda *_: None
        )
    written(tmp_path / "acts", dtype=dtype)
    first, second, _ = sorted((tmp_path / "acts" / "activations").glob("c.*"))
    shutil.copy(first, second)
    store = open_store(tmp_path / "acts")
    assert torch.isfinite(store.orbits(np.arange(64))).all()
    for read in (
        lambda: store.orbits(),
        lambda: store.orbits([3, 70]),
        lambda: store.orbits(np.arange(60, 66)),
        lambda: list(store.chunks(size=32)),
        lambda: list(OrbitBatches(store, batch_size=8, memory=2**26).epoch(0)),
    ):
        with pytest.raises(OrbitLensError, match=r"damaged shard 1 \(samples 64\.\.127\): chunk 8"):
            read()


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    "part", ["activations/c.1.0.0", "checksums/c.1", "labels/c/0", "zarr.json"]
)
def test_a_part_of_another_store_is_noticed(tmp_path: Path, part: str) -> None:
    for seed in range(2):
        written(tmp_path / str(seed), seed=seed)
    shutil.copy(tmp_path / "1" / part, tmp_path / "0" / part)
    with pytest.raises(OrbitLensError, match="not the one that was written|not those that were"):
        open_store(tmp_path / "0").orbits()


@pytest.mark.usefixtures("small_shards")
def test_a_shard_and_its_checksums_of_another_store_are_noticed(tmp_path: Path) -> None:
    for seed in range(2):
        written(tmp_path / str(seed), seed=seed)
    for part in ("activations/c.1.0.0", "checksums/c.1"):
        shutil.copy(tmp_path / "1" / part, tmp_path / "0" / part)
    with pytest.raises(OrbitLensError, match="the list of checksums is not the one"):
        open_store(tmp_path / "0").orbits()


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("samples", [range(N), [149, 0, 77], [8], np.arange(N) % 7 == 0])
def test_every_way_to_read_checks_and_gives_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: Any
) -> None:
    chosen = np.asarray(samples)
    wanted = torch.from_numpy(numbers()[chosen])
    store = written(tmp_path / "acts")
    assert torch.equal(store.orbits(samples), wanted)
    assert torch.equal(torch.cat(list(store.chunks(samples, size=10))), wanted)
    monkeypatch.setattr("orbitlens.activations.store._shard_reader.ShardFiles.of", lambda *_: None)
    assert torch.equal(open_store(tmp_path / "acts").orbits(samples), wanted)


def test_a_fingerprint_is_of_the_numbers(tmp_path: Path) -> None:
    first, other = written(tmp_path / "a"), written(tmp_path / "b", seed=1)
    same = store_from_array(numbers(), group=cyclic(2), out=tmp_path / "c")
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert len(first.fingerprint) == 16
    assert store_from_array(numbers(), group=cyclic(2)).fingerprint == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"layer": "other"},
        {"model": "other"},
        {"digest": "0" * 16},
        {"class_names": ["b", "a", "c"]},
        {"action_config": {"interpolation": "bilinear"}},
        {"group": {**cyclic(2).to_dict(), "element_names": ["e", "s"]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_attributes_that_were_changed_are_noticed(tmp_path: Path, changes: dict[str, Any]) -> None:
    written(tmp_path / "acts")
    change(tmp_path / "acts", **changes)
    with pytest.raises(OrbitLensError, match="expected an intact store, received attributes"):
        open_store(tmp_path / "acts")


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("n", [130, 160])
def test_another_number_of_samples_is_noticed(tmp_path: Path, n: int) -> None:
    store_from_array(numbers(), group=cyclic(2), out=tmp_path / "acts")
    change(tmp_path / "acts", "activations", shape=[n, 2, 16])
    with pytest.raises(OrbitLensError, match="expected an intact store"):
        open_store(tmp_path / "acts")


@pytest.mark.parametrize("row", [1, 3])
@pytest.mark.parametrize("value", [10, 70, -1, 1.5, "3", None])
@pytest.mark.parametrize("sealed", [True, False])
def test_moves_that_were_changed_are_noticed(
    tmp_path: Path, row: int, value: object, sealed: bool
) -> None:
    store = grid(tmp_path / "acts")
    assert store.moves is not None
    moves: list[list[Any]] = store.moves.tolist()
    assert moves[row][0] != value
    moves[row][0] = value
    change(tmp_path / "acts", moves=moves)
    if not sealed:
        unsealed(tmp_path / "acts")
    with pytest.raises(OrbitLensError, match="expected an intact store"):
        open_store(tmp_path / "acts")


def test_permutations_that_are_no_action_are_noticed_without_a_seal(tmp_path: Path) -> None:
    store = grid(tmp_path / "acts")
    assert store.moves is not None
    moves = store.moves.tolist()
    moves[1], moves[2] = moves[2], moves[1]
    change(tmp_path / "acts", moves=moves)
    unsealed(tmp_path / "acts")
    with pytest.raises(OrbitLensError, match="moves that do not multiply as the elements"):
        open_store(tmp_path / "acts")


def test_a_store_without_seal_and_checksums_is_read(tmp_path: Path) -> None:
    written(tmp_path / "acts")
    unsealed(tmp_path / "acts")
    before = open_store(tmp_path / "acts")
    assert (before.checksums, before.fingerprint) == (None, "")
    assert torch.equal(before.orbits(), torch.from_numpy(numbers()))
    assert open_store(BEFORE / "float32.zarr").checksums is None


@pytest.mark.parametrize("labels", [[0, 7], [-1, 0]])
def test_labels_without_a_name_are_noticed_without_a_seal(
    tmp_path: Path, labels: list[int]
) -> None:
    written(tmp_path / "acts")
    unsealed(tmp_path / "acts")
    array = zarr.open_group(tmp_path / "acts", mode="r+")["labels"]
    assert isinstance(array, zarr.Array)
    array[:2] = np.array(labels)
    with pytest.raises(OrbitLensError, match="3 class names, received labels in"):
        open_store(tmp_path / "acts")


def test_numbers_in_the_other_byte_order_are_read_right(tmp_path: Path) -> None:
    """Zarr allows both; the checksums are of the numbers, not of their order on disk."""
    store = store_from_array(numbers(), group=cyclic(2), out=tmp_path / "acts")
    file = tmp_path / "acts" / "activations" / "zarr.json"
    text = file.read_text().replace('"endian": "little"', '"endian": "big"')
    file.write_text(text)
    with pytest.raises(OrbitLensError, match="damaged shard 0|chunk 0 is not the one"):
        open_store(tmp_path / "acts").orbits()  # only the record was changed
    shutil.rmtree(tmp_path / "acts" / "activations")
    shutil.copytree(_written_big(tmp_path / "big", store), tmp_path / "acts" / "activations")
    assert torch.equal(open_store(tmp_path / "acts").orbits(), torch.from_numpy(numbers()))


def _written_big(folder: Path, like: ActivationStore) -> Path:
    array = zarr.create_array(
        str(folder),
        shape=like.array.shape,
        dtype="float32",
        chunks=like.array.chunks,
        shards=like.array.shards,
        serializer=zarr.codecs.BytesCodec(endian="big"),
        compressors=[zarr.codecs.Crc32cCodec()],
        fill_value=float("nan"),
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"write_empty_chunks": True},
    )
    array[:] = numbers()
    return folder


def _without(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("damage", [_without, _cut, _zeros])
@pytest.mark.parametrize(
    "part",
    ["activations/c.1.0.0", "checksums/c.1", "labels/c/0", "checksums/zarr.json", "zarr.json"],
)
def test_damage_to_any_part_is_one_line(
    tmp_path: Path, damage: Callable[[Path], None], part: str
) -> None:
    written(tmp_path / "acts")
    damage(tmp_path / "acts" / part)
    with pytest.raises(OrbitLensError) as raised:
        open_store(tmp_path / "acts").orbits()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("array", ["", "activations"])
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "5",
        "null",
        '{"zarr_format": 3, "node_type": "array"}',
        '{"a":' * 900 + "1" + "}" * 900,
    ],
    ids=["nested", "number", "null", "bare", "deep"],
)
def test_a_hostile_record_is_one_line(tmp_path: Path, array: str, text: str) -> None:
    written(tmp_path / "acts")
    (tmp_path / "acts" / array / "zarr.json").write_text(text)
    with pytest.raises(OrbitLensError, match=r"^store ") as raised:
        open_store(tmp_path / "acts")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moves", "all"),
        ("labelled", "no"),
        ("group", None),
        ("group", {"name": 5}),
        ("group", {**cyclic(2).to_dict(), "table": [[0, 1], [1]]}),
        ("class_names", 7),
        ("class_names", [1, 2, 3]),
        ("dtype", ["float32"]),
        ("dtype", "float64"),
        ("layer", None),
        ("action_config", []),
        ("schema", "2"),
        ("complete", 1),
    ],
)
def test_values_of_another_type_are_one_line_without_a_seal(
    tmp_path: Path, name: str, value: object
) -> None:
    written(tmp_path / "acts")
    unsealed(tmp_path / "acts")
    change(tmp_path / "acts", **{name: value})
    with pytest.raises(OrbitLensError, match=r"^store |^group "):
        open_store(tmp_path / "acts")


@pytest.mark.parametrize("shape", [[10**15, 2, 16], [2**62, 2, 16], [-1, 2, 16], [150], "x"])
def test_a_huge_or_senseless_shape_is_one_line(tmp_path: Path, shape: object) -> None:
    written(tmp_path / "acts")
    unsealed(tmp_path / "acts")
    change(tmp_path / "acts", "activations", shape=shape)
    with pytest.raises(OrbitLensError, match=r"^store "):
        open_store(tmp_path / "acts")
