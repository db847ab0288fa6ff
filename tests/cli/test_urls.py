"""Stage commands on stores at URLs: the figures of a local store, or one line and nothing left."""

import json
import re
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from orbitlens.activations import store_from_array
from orbitlens.cli.commands import main
from orbitlens.groups import cyclic

SMALL = ["--epochs", "2", "--d-sae", "16", "--k", "4", "--hidden", "8"]


@pytest.fixture(autouse=True)
def empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def stored(out: Path | str) -> None:
    """Orbits that move as the group says, in two classes."""
    values = np.random.default_rng(0).standard_normal((80, 1, 6)).astype(np.float32)
    turned = np.concatenate([np.roll(values, g, axis=2) for g in range(4)], axis=1)
    store_from_array(
        turned, group=cyclic(4), out=out, labels=np.arange(80) % 2, class_names=("a", "b")
    )


def record(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_stage_gives_the_figures_of_a_local_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path / "acts.zarr")
    stored("memory://bucket/acts.zarr")
    figures: list[list[Any]] = []
    for number, place in enumerate((f"{tmp_path}/acts.zarr", "memory://bucket/acts.zarr")):
        out = tmp_path / f"{number}"
        sae = f"{out}/train/vanilla/sae"
        words = {
            "transport": ["--transport", "exact"],
            "train": ["--objective", "vanilla", *SMALL],
            "probe": ["--sae", sae, "--probe-latents", "2", "--probe-threads", "1"],
        }
        found = []
        for verb, more in words.items():
            assert command(verb, place, *more, "--out", f"{out}/{verb}", "--json") == 0
            found.append(record(capsys))
        figures.append(found)
        assert json.loads((out / "train" / "config.json").read_text())["activations"] == place
    assert figures[0] == figures[1]


def test_resume_knows_the_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        stored(f"memory://bucket/{name}.zarr")
    words = ["--objective", "vanilla", *SMALL, "--out", f"{tmp_path}/out"]
    assert command("train", "memory://bucket/a.zarr", *words) == 0
    assert command("train", "memory://bucket/a.zarr/", *words, "--resume") == 0
    capsys.readouterr()
    assert command("train", "memory://bucket/b.zarr", *words, "--resume") == 2
    assert "'memory://bucket/a.zarr' as when the run began" in capsys.readouterr().err


def test_a_harvest_folder_that_was_copied_to_a_bucket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["harvest", "shapes", "--n-samples", "40", "--image-size", "16", "--model-epochs", "1"]
    assert command(*words, "--model-samples", "16", "--out", f"{tmp_path}/acts") == 0
    fsspec.filesystem("memory").put(f"{tmp_path}/acts", "/bucket/acts", recursive=True)
    for number, place in enumerate((f"{tmp_path}/acts", "memory://bucket/acts")):
        out = f"{tmp_path}/{number}"
        assert command("train", place, "--objective", "vanilla", *SMALL, "--out", out) == 0
        capsys.readouterr()
        more = ["--sae", f"{out}/vanilla/sae", "--probe-every", "90", "--probe-latents", "2"]
        assert command("probe", place, *more, "--out", f"{out}-probe", "--json") == 0
        assert {row["task"] for row in record(capsys)["rows"]}


class Forbidden(MemoryFileSystem):
    """A bucket that one may not look into."""

    protocol = "forbidden"

    def _denied(self, *args: Any, **kwargs: Any) -> None:
        raise PermissionError("Access Denied")

    cat_file = pipe_file = find = ls = info = exists = _denied


@pytest.mark.parametrize("verb", ["train", "probe", "transport"])
@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("forbidden://a/acts.zarr", "with the rights to it, received PermissionError: Access Den"),
        ("memory://no/store", "store memory://no/store: .*received no Zarr group; give the path"),
        ("memory://bucket", "store memory://bucket: .*received no Zarr group; give the path"),
        ("memory://bucket/part", "received an incomplete one; remove it and harvest"),
        ("missing://a", "missing://a: expected the library of its protocol to be installed"),
        ("xyz://a", "Protocol not known: xyz"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_nothing_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    url: str,
    line: str,
) -> None:
    fsspec.register_implementation("forbidden", Forbidden, clobber=True)
    fsspec.register_implementation("missing", "no_such_library.FileSystem", clobber=True)
    stored("memory://bucket/part")
    memory = fsspec.filesystem("memory")
    content = memory.cat_file("/bucket/part/zarr.json").replace(b'complete": true', b'complete": 0')
    memory.pipe_file("/bucket/part/zarr.json", content)
    monkeypatch.chdir(tmp_path)
    more = ["--sae", "sae"] if verb == "probe" else []
    assert command(verb, url, *more) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("orbitlens: ")
    assert said.err.count("\n") == 1
    assert re.search(line, said.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["train", "acts.zarr", "--out", "s3://bucket/run"],
        ["train", "acts.zarr", "--objective", "orbit", "--rho", "s3://bucket/rho"],
        ["probe", "acts.zarr", "--sae", "s3://bucket/sae"],
        ["transport", "acts.zarr", "--out", "memory://run"],
        ["harvest", "shapes", "--out", "s3://bucket/run"],
        ["run", "shapes", "--out", "s3://bucket/run"],
        ["report", "s3://bucket/run"],
        ["plan", "--dim", "8", "--out", "s3://bucket"],
        ["import", "s3://bucket/acts.npy", "--out", "acts.zarr"],
    ],
)
def test_a_url_where_a_folder_is_meant_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    said = capsys.readouterr().err
    assert "expected a local folder, received" in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
