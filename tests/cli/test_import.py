"""`orbitlens import`: a store that the other verbs take, or one line and nothing on disk."""

import json
from pathlib import Path

import numpy as np
import pytest

from orbitlens.activations import open_store
from orbitlens.cli.commands import main


def outcome(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_file_becomes_a_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    acts = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float16)
    np.save(tmp_path / "acts.npy", acts)
    words = ["import", f"{tmp_path}/acts.npy", "--group", "C4", "--out", f"{tmp_path}/acts.zarr"]
    assert outcome([*words, "--model", "mine", "--json"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert (record["n"], record["order"], record["model"], record["layer"]) == (
        3,
        4,
        "mine",
        "acts",
    )
    store = open_store(tmp_path / "acts.zarr")
    assert np.array_equal(store.orbits().numpy(), acts.reshape(3, 4, 3))


def test_without_json_a_reader_gets_size_and_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "acts.npy", np.ones((3, 2), dtype=np.float32))
    assert outcome(["import", f"{tmp_path}/acts.npy", "--out", f"{tmp_path}/a.zarr"]) == 0
    said = f"3 samples under C1, 1 positions, width 2\nstore: {tmp_path}/a.zarr\n"
    assert capfd.readouterr().out == said


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--group", "C4"], "a multiple of 4 rows"),
        (["--group", "Q8"], "C or D and a number"),
        (["--dtype", "half"], "half"),
        (["--kind", "numpy"], "did you mean 'npy'"),
        (["--kind", "safetensors"], "a whole .safetensors file"),
    ],
)
def test_bad_input_ends_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str], expected: str
) -> None:
    np.save(tmp_path / "acts.npy", np.ones((6, 2), dtype=np.float32))
    words = ["import", f"{tmp_path}/acts.npy", "--out", f"{tmp_path}/a.zarr", *more, "--json"]
    assert outcome(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("orbitlens: ")
    assert err.count("\n") == 1
    assert expected in err
    assert [path.name for path in tmp_path.iterdir()] == ["acts.npy"]


def test_a_number_that_is_none_leaves_no_store(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "acts.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    assert outcome(["import", f"{tmp_path}/acts.npy", "--out", f"{tmp_path}/a.zarr"]) == 2
    assert "sample 1, element 0, dimension 1" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["acts.npy"]


def test_a_store_in_the_memory_of_the_command_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "acts.npy", np.ones((3, 2), dtype=np.float32))
    assert outcome(["import", f"{tmp_path}/acts.npy", "--out", "memory://x/y"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(
        "orbitlens: `--out`: expected a place that outlives the command, received"
    )
    assert err.count("\n") == 1


def test_the_place_to_write_must_be_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert outcome(["import", f"{tmp_path}/acts.npy"]) == 2
    assert "Missing option '--out'" in capfd.readouterr().err
