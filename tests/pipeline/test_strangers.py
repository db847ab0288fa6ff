"""A run folder from a stranger: nothing in it runs, and nothing is written elsewhere."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orbitlens.activations import store_from_array
from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json
from orbitlens.groups import cyclic
from orbitlens.pipeline import Console, RunConfig, RunFolder, run, verbs

TINY: dict[str, Any] = {
    "n_samples": 40,
    "image_size": 16,
    "model_epochs": 1,
    "model_samples": 64,
    "d_sae": 8,
    "k": 2,
    "hidden": 0,
    "epochs": 1,
    "probe_samples": 24,
    "probe_every": 90,
    "features": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run(RunConfig.for_source("shapes", **TINY), out)
    return out


def change(file: Path, **values: Any) -> None:
    """Change a record as a stranger would, who leaves out the checksum."""
    record = {**json.loads(file.read_text()), **values}
    record.pop("checksum", None)
    file.write_text(json.dumps(record))


def test_a_page_is_drawn_without_the_network_that_the_settings_name(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("config.json", "metrics.json")
    before = {name: (finished / name).read_text() for name in names}
    ran = finished / "ran"
    (finished / "net.py").write_text(f"open({str(ran)!r}, 'w').close()")
    for model in (f"python:{finished / 'net.py'}:build", "hf:nobody/nothing", "timm:nothing"):
        change(finished / "config.json", model=model, layer="")
        config = json.loads((finished / "config.json").read_text())
        change(finished / "metrics.json", config=config)
        page = finished / "report" / "index.html"
        page.unlink(missing_ok=True)
        verbs.report(finished, console=Console(quiet=True))
        assert page.exists()
    # Who resumes such a run types the network himself, and only the same one goes on.
    monkeypatch.chdir(finished)
    with pytest.raises(OrbitLensError, match="same settings"):
        run(RunConfig.for_source("shapes", **TINY), finished, resume=True)
    assert not ran.exists()
    for name, text in before.items():
        (finished / name).write_text(text)


OTHER_TYPES = """
import json, sys
from orbitlens.errors import OrbitLensError
from orbitlens.pipeline import RunConfig
for line in sys.stdin:
    values = json.loads(line)
    try:
        RunConfig.from_dict({"source": "shapes", **values})
    except OrbitLensError as error:
        print(error)
    else:
        print("taken")
"""


def test_settings_of_another_type_are_one_line() -> None:
    wrong: list[dict[str, Any]] = [
        {"source": 5},
        {"group": None},
        {"k": None},
        {"k": True},
        {"d_sae": "x"},
        {"lr": None},
        {"lr": "1e-3"},
        {"lr": 10**400},
        {"layer": 7},
        {"probe_latents": 4},
        {"probe_latents": [2, "4"]},
        {"probe_latents": "24"},
        {"model": 3},
        {"seed": 1e999},
        {"random_weights": 1},
        {"transport": ["exact"] * 1000},
        {"nope": 1},
    ]
    right: list[dict[str, Any]] = [
        {"layer": None},
        {"probe_latents": [2, 4]},
        {"k": 4.0},
        {"lr": 1},
    ]
    # The types of arguments are checked in this process; users have no such check.
    done = subprocess.run(
        [sys.executable, "-c", OTHER_TYPES],
        input="\n".join(map(json.dumps, wrong + right)),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[len(wrong) :] == ["taken"] * len(right)
    for values, line in zip(wrong, lines[: len(wrong)], strict=True):
        assert next(iter(values)) in line
        assert len(line) < 600


@pytest.mark.parametrize("name", ["report", "log.txt", "saes/vanilla", "metrics.json"])
def test_a_link_in_a_run_folder_is_not_written_through(finished: Path, name: str) -> None:
    place, kept = finished / name, finished.parent / "kept"
    elsewhere = finished.parent / "elsewhere"
    place.rename(kept)
    place.symlink_to(elsewhere)
    with pytest.raises(OrbitLensError):
        verbs.report(finished, console=Console(quiet=True))
    folder = RunFolder(finished, read_json(finished / "config.json"), resume=True)
    with pytest.raises(OrbitLensError, match="a link to .*remove the link"), folder.writing():
        pytest.fail("a link was followed")
    place.unlink()
    kept.rename(place)
    assert not elsewhere.exists()


def test_a_log_is_never_written_through_a_link_that_appears_later(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", {}, resume=False)
    with folder.writing():
        (tmp_path / "out" / "log.txt").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OrbitLensError, match="symbolic link"):
            folder.log("words")
    assert not (tmp_path / "elsewhere").exists()


def test_the_log_holds_no_control_characters_and_no_credentials(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", {}, resume=False)
    with folder.writing():
        folder.log("layer \x1b[2J\nof s3://key:secret@bucket/\udcff")
    (line,) = (tmp_path / "out" / "log.txt").read_text().splitlines()
    assert line.endswith(" layer \\x1b[2J\\nof s3://***@bucket/\\udcff")


def test_credentials_of_a_store_are_not_kept_and_a_run_resumes_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_from_array(
        [[[float(i + g)] * 4 for g in range(4)] for i in range(300)], group=cyclic(4)
    )
    monkeypatch.setattr(verbs, "locate_store", lambda _: store)
    url, out = "s3://key:{}@bucket/acts.zarr", tmp_path / "rho"
    for password, resume in (("first", False), ("second", True)):
        verbs.transport(
            RunConfig(), url.format(password), out, resume=resume, console=Console(quiet=True)
        )
    written = "".join(path.read_text() for path in out.iterdir() if path.is_file())
    assert "first" not in written
    assert "second" not in written
    assert "s3://***@bucket/acts.zarr" in written
    with pytest.raises(OrbitLensError, match="activations"):
        verbs.transport(
            RunConfig(), "s3://key:first@other", out, resume=True, console=Console(quiet=True)
        )


def test_an_error_line_cannot_steer_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "/no/such\x1b[2J\u202efolder", "--out", "/no/place"])
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.isprintable()
    assert "\\x1b[2J\\u202e" in line
