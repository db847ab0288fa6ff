"""`orbitlens plan`: what it prints, what it leaves, and bad input."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from orbitlens.cli.commands import main
from orbitlens.plan import _measure as measure

DIM = ["plan", "--dim", "16", "--d-sae", "32", "--k", "2", "--hidden", "0", "--batch-size", "16"]
SHAPES = ["plan", "shapes", "--image-size", "16", "--d-sae", "32", "--k", "2", "--batch-size", "16"]


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure less: here figures need not be good."""
    monkeypatch.setattr(measure, "_WRITTEN", 2**16)
    monkeypatch.setattr(measure, "_SECONDS", 0.01)


@pytest.fixture
def no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings and transports that take too long to measure."""
    monkeypatch.setattr(measure, "measure_apart", lambda *_: {"not_measured": "too long"})


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_a_plan_from_a_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*DIM, "--n-samples", "1000", "--out", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1,000 inputs under C4 (4 elements), positions 1, width 16"
    assert lines[1].startswith("store: 260 kB on disk")
    begins = ("harvest: ", "transport: ", "SAE, vanilla or equivariant: ", "orbit SAE: ")
    assert all(any(line.startswith(begin) for line in lines) for begin in begins)
    assert not any("not measured" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_other_process")
def test_a_plan_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--n-samples", "300", "--group", "D4", "--out", str(tmp_path), "--json"]
    assert command(*SHAPES, *words) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["inputs"], record["order"], record["positions"]) == (300, 8, 1)
    assert record["harvest"]["forward_seconds"] > 0
    assert record["harvest"]["input_bytes"] == 300 * 4 * 16 * 16
    assert set(record["training"]) == {"vanilla", "orbit"}
    assert record["warnings"] == []


@pytest.mark.usefixtures("no_other_process")
def test_positions_are_counted_where_a_width_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*DIM, "--positions", "9", "--out", str(tmp_path), "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["positions"] == 9
    assert record["store"]["raw"] == 4 * 4096 * 4 * 9 * 16


@pytest.mark.usefixtures("no_other_process")
def test_a_disk_that_is_too_small_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert command(*DIM, "--out", str(tmp_path)) == 0
    assert "warning: the store needs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["plan"], "`dim`: expected the width of the activations"),
        (["plan", "--dim", "0"], "`dim`: expected 1 to"),
        ([*DIM, "--n-samples", "0"], "`n_samples`: expected 2 to"),
        ([*DIM, "--group", "E8"], "E8"),
        ([*DIM, "--k", "33"], "`k`: expected at most d_sae = 32"),
        ([*DIM, "--k", "9", "--n-atoms", "2"], "`k` of the orbit SAE: expected at most 8"),
        ([*DIM, "--dtype", "f16"], "`dtype`: expected one of float32"),
        ([*DIM, "--memory-gib", "0"], "`memory_gib`"),
        ([*DIM, "--memory-gib", "0.0001"], "(--memory-gib) of 0.0"),
        ([*DIM, "--positions", "cls"], "`positions`: expected a number"),
        ([*DIM, "--positions", "0"], "`positions`: expected a number from 1 to"),
        ([*DIM, "--model", "cnn"], "`--model`: expected a SOURCE"),
        ([*SHAPES, "--dim", "3"], "`dim`: expected none"),
        ([*SHAPES, "--layer", "nope"], "`layer`"),
        (["plan", "nowhere"], "`source`"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words, "--out", str(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert line in captured.err
    assert list(tmp_path.iterdir()) == []
