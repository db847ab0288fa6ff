"""`orbitlens harvest`: types on disk, workers, and what an interruption or a full disk leaves."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from orbitlens.activations import open_store
from orbitlens.activations.store._write_store import ShardWriter
from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.processes import Terminated

WORDS = ["harvest", "shapes", "--n-samples", "300", "--image-size", "16", "--model-epochs", "1"]
WORDS += ["--model-samples", "16"]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 samples."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**15)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**12)


def command(out: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*WORDS, "--out", str(out), *words])
    return int(ended.value.code or 0)


def bits(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def after_shards(monkeypatch: pytest.MonkeyPatch, fits: int, reason: BaseException) -> None:
    write, written = ShardWriter.write, []

    def limited(writer: ShardWriter, shard: int, block: Any) -> None:
        written.append(shard)
        if len(written) > fits:
            raise reason
        write(writer, shard, block)

    monkeypatch.setattr(ShardWriter, "write", limited)


def test_dtype_and_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert command(out, "--dtype", "bfloat16", "--workers", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["dtype"] == "bfloat16"
    assert open_store(out / "acts.zarr").dtype == "bfloat16"
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--dtype", "bf16"], "`dtype`: expected one of float32, float16, bfloat16"),
        (["--workers", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert command(tmp_path / "out", *words) == 2
    assert line in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


FULL = OrbitLensError("x", expected="space", received="No space left on device", remedy="free")


@pytest.mark.parametrize(
    ("reason", "code", "line"),
    [
        (FULL, 2, "No space left on device"),
        (KeyboardInterrupt(), 130, "orbitlens: interrupted; continue with --resume"),
        (Terminated(signal.SIGTERM), 143, "orbitlens: terminated; continue with --resume"),
    ],
)
def test_what_stopped_goes_on_with_resume(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reason: BaseException,
    code: int,
    line: str,
) -> None:
    assert command(tmp_path / "whole") == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        after_shards(patch, 2, reason)
        assert command(tmp_path / "out", "--json") == code
    said = capsys.readouterr()
    assert said.out == ""
    assert line in said.err.splitlines()[-1]
    assert not (tmp_path / "out" / "acts.zarr").exists()
    assert len(list((tmp_path / "out").rglob("c.?.0.0"))) == 2
    assert command(tmp_path / "out", "--resume") == 0
    assert bits(tmp_path / "out" / "acts.zarr") == bits(tmp_path / "whole" / "acts.zarr")
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(("model", "trained"), [("mlp", True), ("python:small:build", False)])
def test_only_a_model_that_is_trained_is_said_to_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    trained: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "small.py").write_text(
        "from orbitlens.models import MLPAutoencoder\n\n\n"
        "def build(): return MLPAutoencoder(size=16, dim=4)\n"
    )
    assert command(tmp_path / "out", "--model", model) == 0
    said = capsys.readouterr().err
    assert ("train the base model" in said) == trained
    assert "harvest orbits" in said
