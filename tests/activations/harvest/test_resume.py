"""A harvest that is killed at any instant goes on, to the bits of one that was not."""

import errno
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orbitlens.actions import Action, images
from orbitlens.activations import ActivationStore, harvest, open_store, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral

C4 = images(cyclic(4))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 samples: an orbit takes 16 KiB, a chunk 32 samples."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**20)


def pictures(n: int = 300) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1024), nn.Tanh())


def run(out: Path | str, **settings: Any) -> ActivationStore:
    model = settings.pop("model", None) or network()
    given = {"layer": "2", "inputs": pictures(), "action": C4, "batch_size": 64, **settings}
    return harvest(model, out=out, **given)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def interrupted(out: Path, after: int, reason: BaseException, **settings: Any) -> None:
    def progress(done: int, _: int) -> None:
        if done >= after:
            raise reason

    with pytest.raises(type(reason)):
        run(out, progress=progress, **settings)


@pytest.mark.parametrize("after", [64, 100, 128, 280])
def test_an_interrupted_harvest_goes_on_to_the_same_bits(tmp_path: Path, after: int) -> None:
    run(tmp_path / "whole")
    interrupted(tmp_path / "acts", after, KeyboardInterrupt(), resume=True)
    assert not (tmp_path / "acts").exists()
    seen: list[int] = []
    run(tmp_path / "acts", resume=True, progress=lambda done, _: seen.append(done))
    # Of 16 samples a batch: whole shards of 64 are not done again.
    assert seen == [*range(after // 64 * 64 + 16, 300, 16), 300]
    assert files(tmp_path / "acts") == files(tmp_path / "whole")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["acts", "whole"]


def test_before_the_first_shard_and_without_resume_nothing_is_left(tmp_path: Path) -> None:
    interrupted(tmp_path / "acts", 1, KeyboardInterrupt(), resume=True)
    interrupted(tmp_path / "acts", 200, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_resume_begins_where_there_is_nothing_and_opens_what_is_whole(tmp_path: Path) -> None:
    first = run(tmp_path / "acts", resume=True)
    again = run(tmp_path / "acts", resume=True)
    assert torch.equal(first.orbits(), again.orbits())
    with pytest.raises(OrbitLensError, match="batch_size 64, received batch_size 32"):
        run(tmp_path / "acts", resume=True, batch_size=32)


CHANGED: dict[str, dict[str, Any]] = {
    "weights digest": {"model": network(1)},
    "layer 2, received layer 1": {"layer": "1"},
    "group C4, .*received group D4": {"action": images(dihedral(4))},
    "dtype float32, received dtype bfloat16": {"dtype": "bfloat16"},
    "inputs digest": {"inputs": pictures(299)},
    "batch_size 64, received batch_size 32": {"batch_size": 32},
    "positions auto, received positions mean": {"positions": "mean"},
    "prepare .*as_they_are, received prepare .*sigmoid": {"prepare": torch.sigmoid},
    "dtype float32, batch_size 64, received dtype float16, batch_size 8; give the same": {
        "dtype": "float16",
        "batch_size": 8,
    },
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_resume_with_other_settings_names_them(tmp_path: Path, name: str) -> None:
    interrupted(tmp_path / "acts", 200, KeyboardInterrupt(), resume=True)
    before = files(tmp_path)
    with pytest.raises(OrbitLensError, match=f"`resume`: expected the settings .*{name}"):
        run(tmp_path / "acts", resume=True, **CHANGED[name])
    assert files(tmp_path) == before


def test_what_is_unfinished_is_not_merged_nor_removed_without_resume(tmp_path: Path) -> None:
    interrupted(tmp_path / "acts", 200, KeyboardInterrupt(), resume=True)
    before = files(tmp_path)
    with pytest.raises(OrbitLensError, match=r"interrupted; continue it with `resume`, or remove"):
        run(tmp_path / "acts")
    with pytest.raises(OrbitLensError, match="interrupted"):
        store_from_array(np.zeros((3, 4, 5)), group=cyclic(4), out=tmp_path / "acts")
    assert files(tmp_path) == before


def test_a_shard_cut_short_is_written_again(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    interrupted(tmp_path / "acts", 299, KeyboardInterrupt(), resume=True)
    array = tmp_path / ".acts.unfinished/activations"
    shard = array / "c.1.0.0"
    shard.write_bytes(shard.read_bytes()[:-7])
    (array / "c.2.0.0").unlink()
    (array / "c.3.0.0123.partial").write_bytes(b"half")
    run(tmp_path / "acts", resume=True)
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_a_part_with_the_record_of_another_array_is_refused(tmp_path: Path) -> None:
    labelled = {"labels": np.zeros(300, int), "class_names": ("a",)}
    interrupted(tmp_path / "acts.zarr", 100, KeyboardInterrupt(), resume=True, **labelled)
    part = tmp_path / ".acts.zarr.unfinished"
    shutil.copy(part / "labels" / "zarr.json", part / "activations" / "zarr.json")
    with pytest.raises(OrbitLensError, match=r"an intact part.*shape \[300\].*begin again"):
        run(tmp_path / "acts.zarr", resume=True, **labelled)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    refused = []

    def progress(done: int, _: int) -> None:
        if done > 100:
            for resume in (False, True):
                with pytest.raises(OrbitLensError, match="another process that is writing it"):
                    run(tmp_path / "acts", resume=resume)
                refused.append(done)

    store = run(tmp_path / "acts", progress=progress)
    assert len(refused) > 4
    assert store.n == 300


def disk_that_fills(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    put = zarr_put()
    calls = []

    def full(path: Path, value: Any, exclusive: bool = False) -> int:
        if path.name.startswith("c."):
            calls.append(1)
            if len(calls) > fits:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return put(path, value, exclusive)

    monkeypatch.setattr("zarr.storage._local._put", full)


def zarr_put() -> Callable[..., int]:
    from zarr.storage import _local

    return _local._put


@pytest.mark.parametrize("resume", [True, False])
def test_a_full_disk_is_one_line_and_the_harvest_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    with monkeypatch.context() as patch:
        disk_that_fills(patch, fits=2)
        with pytest.raises(OrbitLensError, match=r"acts: .*No space left on device.*free space"):
            run(tmp_path / "acts", resume=resume)
    assert not (tmp_path / "acts").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [".acts.unfinished"] * resume
    run(tmp_path / "whole")
    run(tmp_path / "acts", resume=resume)
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def slow(done: int, _: int) -> None:
    time.sleep(0.02)


def harvest_slowly(out: Path) -> None:
    torch.set_num_threads(1)
    run(out, resume=True, progress=slow)


def test_a_killed_harvest_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    out, delays = tmp_path / "killed" / "acts", np.random.default_rng(0).uniform(0.1, 0.4, 4)
    done = 0
    for delay in delays:
        process = multiprocessing.get_context("fork").Process(target=harvest_slowly, args=(out,))
        process.start()
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        written = len(list(out.parent.rglob("c.?.0.0")))
        assert written >= done
        done = written
    run(out, resume=True)
    assert files(out) == files(tmp_path / "whole")
    assert [entry.name for entry in out.parent.iterdir()] == ["acts"]
    assert open_store(out).n == 300


def shifted(by: float) -> Callable[[Tensor], Tensor]:
    return lambda moved: moved + by


def moving(back: bool) -> Action:
    def turn(pictures: Tensor, g: int) -> Tensor:
        return torch.rot90(pictures, g if back else -g, (-2, -1))

    return Action("mine", cyclic(4), turn, lambda _: None)


def with_gelu() -> nn.Sequential:
    return nn.Sequential(*network()[:2], nn.GELU())


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"prepare": shifted(0.0)}, {"prepare": shifted(1.0)}),
        ({"action": moving(True)}, {"action": moving(False)}),
        ({}, {"model": with_gelu()}),
    ],
    ids=["two functions of one name", "two actions of one name", "the same weights"],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_computes_something_else_under_the_same_name_is_refused(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], whole: bool
) -> None:
    out = tmp_path / "acts.zarr"
    if whole:
        run(out, **before)
    else:
        interrupted(out, 100, KeyboardInterrupt(), resume=True, **before)
    with pytest.raises(OrbitLensError, match=r"`resume`.*input 0 at layer '2' that differ by"):
        run(out, resume=True, **now)
    run(out, resume=True, **before)
