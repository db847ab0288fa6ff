"""Harvests of many layers that are stopped go on to the same bits, with any number of workers."""

import os
import shutil
import signal
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from torch import nn

from orbitlens.actions import images
from orbitlens.activations import LayerHarvest, harvest, harvest_layers, open_store
from orbitlens.activations.harvest import _reduction as reduction
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral

LAYERS = ["0", "1", "3"]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 samples of the widest layer, which takes 4 KiB an orbit."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**18)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**13)


def run(out: Path | str, *, seed: int = 0, **settings: Any) -> LayerHarvest:
    """Maps, vectors of 64 numbers of which 24 directions are kept, and vectors."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(256, 6)
    )
    given: dict[str, Any] = {
        "layers": LAYERS,
        "inputs": torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        "action": images(cyclic(4)),
        "labels": np.arange(300) % 3,
        "max_positions": 64,
        "max_dim": 24,
        "batch_size": 64,
    }
    return harvest_layers(model, out=out, **{**given, **settings})


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def interrupted(out: Path | str, after: int, **settings: Any) -> None:
    def progress(done: int, _: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out, progress=progress, resume=True, **settings)


@pytest.mark.parametrize("after", [64, 150, 300])
def test_an_interrupted_harvest_goes_on_to_the_same_bits(tmp_path: Path, after: int) -> None:
    whole = run(tmp_path / "whole")
    interrupted(tmp_path / "acts", after)
    assert not (tmp_path / "acts").exists()
    seen: list[int] = []
    found = run(tmp_path / "acts", resume=True, progress=lambda done, _: seen.append(done))
    assert files(tmp_path / "acts") == files(tmp_path / "whole")
    assert seen[:1] == {64: [80], 150: [144], 300: []}[after]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["acts", "whole"]
    for layer, store in found.stores.items():
        assert torch.equal(store.orbits(), whole.stores[layer].orbits())


def test_what_is_whole_is_opened_with_all_that_was_taken(tmp_path: Path) -> None:
    first = run(tmp_path / "acts")
    before = files(tmp_path)
    again = run(tmp_path / "acts", resume=True, progress=lambda *_: pytest.fail("nothing to do"))
    assert files(tmp_path) == before
    assert list(again.stores) == list(first.stores) == LAYERS
    assert again.skipped == first.skipped
    for layer, taken in first.taken.items():
        other = again.taken[layer]
        assert (taken.kind, taken.width, taken.dim, taken.places, taken.kept_variance) == (
            *(other.kind, other.width, other.dim, other.places, other.kept_variance),
        )
        assert (taken.basis is None) == (layer != "1")
    assert torch.equal(first.taken["1"].basis, again.taken["1"].basis)  # type: ignore[arg-type]


def test_a_run_that_goes_on_keeps_the_directions_that_were_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    interrupted(tmp_path / "acts", 100)
    monkeypatch.setattr(
        reduction, "principal_directions", lambda *_: pytest.fail("they were found before")
    )
    found = run(tmp_path / "acts", resume=True)
    assert torch.equal(found.taken["1"].basis, whole.taken["1"].basis)  # type: ignore[arg-type]
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    "lost", ["002.zarr", "001.zarr", "001.zarr/basis", "001.zarr/basis/c", "000.zarr"]
)
def test_a_run_killed_while_its_stores_were_made_goes_on(tmp_path: Path, lost: str) -> None:
    run(tmp_path / "whole")
    interrupted(tmp_path / "acts", 100)
    shutil.rmtree(tmp_path / ".acts.unfinished" / lost)
    run(tmp_path / "acts", resume=True)
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_a_shard_that_one_layer_lacks_is_written_again(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    interrupted(tmp_path / "acts", 290)
    shard = tmp_path / ".acts.unfinished" / "002.zarr" / "activations" / "c.2.0.0"
    shard.unlink()
    seen: list[int] = []
    run(tmp_path / "acts", resume=True, progress=lambda done, _: seen.append(done))
    assert seen == [252, 268, 284, 300]
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_workers_write_the_bits_of_one_and_go_on_where_it_stopped(tmp_path: Path) -> None:
    one = run(tmp_path / "one")
    interrupted(tmp_path / "two", 100)
    seen: list[int] = []
    two = run(tmp_path / "two", workers=2, resume=True, progress=lambda done, _: seen.append(done))
    for layer in LAYERS:
        assert torch.equal(one.stores[layer].orbits(), two.stores[layer].orbits())
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert (seen[0], seen[-1]) == (80, 300)


CHANGED: dict[str, dict[str, Any]] = {
    r"layers \['0', '1', '3'\], received layers \['0'\]": {"layers": ["0"]},
    "max_dim 24, received max_dim 12": {"max_dim": 12},
    "max_positions 64, received max_positions 16": {"max_positions": 16},
    "weights digest": {"seed": 1},
    "group C4, .*received group D4": {"action": images(dihedral(4))},
    "dtype float32, batch_size 64, received dtype float16, batch_size 8; give the same": {
        "dtype": "float16",
        "batch_size": 8,
    },
}


@pytest.mark.parametrize("whole", [False, True])
def test_a_resume_with_other_settings_names_them(tmp_path: Path, whole: bool) -> None:
    if whole:
        run(tmp_path / "acts")
    else:
        interrupted(tmp_path / "acts", 200)
    before = files(tmp_path)
    for name, changed in CHANGED.items():
        with pytest.raises(OrbitLensError, match=f"`resume`: expected the settings .*{name}"):
            run(tmp_path / "acts", resume=True, **changed)
    assert files(tmp_path) == before


def test_one_layer_and_many_are_not_taken_for_each_other(tmp_path: Path) -> None:
    interrupted(tmp_path / "acts", 100)
    with pytest.raises(OrbitLensError, match="continue it with `resume`, or remove"):
        run(tmp_path / "acts")
    with pytest.raises(OrbitLensError, match="`resume`: .*layers .*layer 0"):
        harvest(
            nn.Sequential(nn.Flatten()),
            layer="0",
            inputs=torch.rand(5, 1, 8, 8),
            action=images(cyclic(4)),
            out=tmp_path / "acts",
            resume=True,
        )
    run(tmp_path / "acts", resume=True)
    with pytest.raises(OrbitLensError, match="of format 'orbitlens-layers'; give the path of"):
        open_store(tmp_path / "acts")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    refused = []

    def progress(done: int, _: int) -> None:
        if done > 200:
            with pytest.raises(OrbitLensError, match="another process that is writing it"):
                run(tmp_path / "acts", resume=True)
            refused.append(done)

    run(tmp_path / "acts", progress=progress)
    assert refused


def test_stores_at_a_url_are_continued_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    interrupted("memory://bucket/acts", 150)
    with pytest.raises(OrbitLensError, match="layers .*received layers"):
        run("memory://bucket/acts", resume=True, layers=["1"])
    found = run("memory://bucket/acts", resume=True)
    whole = run(tmp_path / "whole")
    for number, (layer, store) in enumerate(found.stores.items()):
        assert torch.equal(store.orbits(), whole.stores[layer].orbits())
        assert open_store(f"memory://bucket/acts/00{number}.zarr").layer == layer
    assert run("memory://bucket/acts", resume=True).stores.keys() == found.stores.keys()


def slow(*_: int) -> None:
    time.sleep(0.02)


def harvest_slowly(out: Path) -> None:
    torch.set_num_threads(1)
    run(out, resume=True, progress=slow)


def test_a_killed_harvest_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    out = tmp_path / "killed" / "acts"
    for delay in np.random.default_rng(0).uniform(0.05, 0.4, 5):
        process = get_context("fork").Process(target=harvest_slowly, args=(out,))
        process.start()
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    run(out, resume=True)
    assert files(out) == files(tmp_path / "whole")
    assert [entry.name for entry in out.parent.iterdir()] == ["acts"]


def harvest_until_an_array(number: int, out: Path) -> None:
    create, made = zarr.Group.create_array, 0

    def ending(*arguments: Any, **settings: Any) -> Any:
        nonlocal made
        made += 1
        array = create(*arguments, **settings)
        if made == number:
            os._exit(9)
        return array

    zarr.Group.create_array = ending
    run(out, resume=True)


@pytest.mark.parametrize("number", range(1, 10))
def test_a_harvest_that_ends_between_two_arrays_goes_on_to_the_same_files(
    tmp_path: Path, number: int
) -> None:
    run(tmp_path / "whole")
    process = get_context("fork").Process(
        target=harvest_until_an_array, args=(number, tmp_path / "acts")
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    run(tmp_path / "acts", resume=True)
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_stores_of_two_layers_that_were_exchanged_are_noticed(tmp_path: Path) -> None:
    run(tmp_path / "acts")
    (tmp_path / "acts" / "000.zarr").rename(tmp_path / "other")
    (tmp_path / "acts" / "002.zarr").rename(tmp_path / "acts" / "000.zarr")
    (tmp_path / "other").rename(tmp_path / "acts" / "002.zarr")
    with pytest.raises(OrbitLensError, match="layer '0', received layer '3'"):
        run(tmp_path / "acts", resume=True)


def test_a_shard_in_the_place_of_another_is_written_again(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    interrupted(tmp_path / "acts", 290)
    shards = tmp_path / ".acts.unfinished" / "000.zarr" / "activations"
    shutil.copy(shards / "c.0.0.0.0", shards / "c.1.0.0.0")
    run(tmp_path / "acts", resume=True)
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_a_layer_whose_name_is_a_path_stays_in_the_folder(tmp_path: Path) -> None:
    network = nn.Sequential()
    for name in (f"{tmp_path}/escaped", "a/b", "c\nd"):
        network.add_module(name, nn.Linear(64, 4) if not len(network) else nn.Linear(4, 4))
    found = run_network(network, tmp_path / "in" / "acts")
    assert list(found.stores) == [f"{tmp_path}/escaped", "a/b", "c\nd"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    stores = sorted(path.name for path in (tmp_path / "in" / "acts").glob("*.zarr"))
    assert stores == ["000.zarr", "001.zarr", "002.zarr"]
    again = run_network(network, tmp_path / "in" / "acts", resume=True)
    assert {name: store.layer for name, store in again.stores.items()} == {
        n: n for n in found.stores
    }


def run_network(network: nn.Module, out: Path, **settings: Any) -> LayerHarvest:
    inputs = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return harvest_layers(
        network, inputs=inputs, action=images(cyclic(4)), out=out, prepare=_flat, **settings
    )


def _flat(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.flatten(1)
