"""Places that may not be read or written: a matter of rights, and named as the user named them."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orbitlens.activations import ActivationStore, open_store, store_from_array
from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

SMALL = ["--objective", "vanilla", "--epochs", "1", "--d-sae", "16", "--k", "4"]
RIGHTS = "get the rights to it or choose another path\n"


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def system_error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path.absolute()))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).standard_normal((20, 4, 6)).astype(np.float32)
    store_from_array(values, group=cyclic(4), out="acts.zarr")
    np.save("acts.npy", values)
    return tmp_path


@pytest.mark.parametrize(
    "words", [["train", "acts.zarr", *SMALL], ["import", "acts.npy", "--group", "C4"]]
)
def test_an_out_on_a_file_system_that_is_read_only(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    def shut(path: Path, *_: Any, **__: Any) -> None:
        raise system_error(errno.EROFS, path)

    monkeypatch.setattr(Path, "mkdir", shut)
    line = "orbitlens: shut/out: expected a place that can be written, received Read-only file "
    assert refusal(capsys, *words, "--out", "shut/out") == f"{line}system; {RIGHTS}"


def test_an_out_in_a_folder_that_may_not_be_entered(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exists = Path.exists

    def barred(path: Path, *_: Any, **__: Any) -> bool:
        if "shut" in path.parts:
            raise system_error(errno.EACCES, path)
        return exists(path)

    monkeypatch.setattr(Path, "exists", barred)
    line = refusal(capsys, "transport", "acts.zarr", "--out", "shut/out")
    assert line.startswith("orbitlens: shut/out: expected a place that can be written, received Pe")
    assert line.endswith(RIGHTS)


def test_a_disk_that_fills_up_late_is_a_matter_of_room(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Any, path: Path) -> None:
        raise system_error(errno.ENOSPC, path)

    monkeypatch.setattr("orbitlens.pipeline.verbs.write_json", full)
    line = refusal(capsys, "transport", "acts.zarr", "--out", "out")
    assert line.startswith("orbitlens: out/metrics.json: ")
    assert line.endswith("No space left on device; free space there or choose another path\n")


@pytest.mark.parametrize("name", ["zarr.storage._local._get", "pathlib.Path.exists"])
def test_a_store_that_may_not_be_read(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def denied(path: Path, *_: Any) -> None:
        raise system_error(errno.EACCES, path)

    with monkeypatch.context() as patch:
        patch.setattr(name, denied)
        found = refusal(capsys, "train", "acts.zarr", *SMALL, "--out", "out")
    line = "orbitlens: acts.zarr: expected a place that can be read, received Permission denied; "
    assert found == line + RIGHTS
    assert not (here / "out").exists()


def test_shards_that_may_not_be_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> None:
        raise system_error(errno.EACCES, here)

    store = open_store("acts.zarr")
    monkeypatch.setattr(ActivationStore, "_stored", denied)
    with pytest.raises(OrbitLensError, match="received .*Permission denied.*; get the rights"):
        store.orbits()
