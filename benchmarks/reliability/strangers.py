"""Thirteen run folders and settings from a stranger, beyond the cases that were reported.

    python benchmarks/reliability/strangers.py

A result is right if nothing of the stranger ran, nothing was written outside the folder, and no
secret and no control character is in what was printed or kept.
"""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from outcomes import show
from PIL import Image

from orbitlens.cli.commands import main
from orbitlens.pipeline import Console, RunConfig, run, verbs

WORD = "wJalrXUtnFEMI"
SETTINGS = {"image_size": 16, "model_epochs": 1, "d_sae": 8, "k": 2, "hidden": 0, "epochs": 1}
PLAIN_IMAGES = 40


def change(run_folder: Path, name: str, **values: Any) -> None:
    """Change a record of a run as one who leaves out the checksum."""
    file = run_folder / name
    record = {**json.loads(file.read_text()), **values}
    record.pop("checksum", None)
    file.write_text(json.dumps(record))


def spoiled(run_folder: Path, **settings: Any) -> None:
    """Change settings in both places that hold them."""
    change(run_folder, "config.json", **settings)
    change(run_folder, "metrics.json", config=json.loads((run_folder / "config.json").read_text()))


def printed(*words: str) -> str:
    """Run a command; return all that it printed."""
    out = io.StringIO()
    with (
        contextlib.redirect_stderr(out),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        main(list(words))
    return out.getvalue()


def draws_without_code(folder: Path, model: str) -> bool:
    """Draw the page of a run whose settings name code of the stranger."""
    ran = folder / "ran"
    code = folder / "orbitlens_stranger.py"
    code.write_text(f"open({str(ran)!r}, 'w').close()\n")
    spoiled(folder, model=model.format(code=code), layer="")
    verbs.report(folder, console=Console(quiet=True))
    return not ran.exists()


def resumes_without_code(folder: Path) -> bool:
    """Resume a run whose settings were changed to name code of the stranger."""
    ran = folder / "ran"
    code = folder / "orbitlens_stranger.py"
    code.write_text(f"open({str(ran)!r}, 'w').close()\n")
    source = json.loads((folder / "config.json").read_text())["source"]
    spoiled(folder, model=f"python:{code}:build")
    line = printed("run", source, "--out", str(folder), "--resume")
    return not ran.exists() and "expected" in line


def writes_nowhere_else(folder: Path, name: str) -> bool:
    """Draw the page again where a part of the folder is a link to elsewhere."""
    elsewhere = folder.parent / f"elsewhere-{folder.name}"
    place = folder / name
    if place.is_dir():
        shutil.rmtree(place)
        elsewhere.mkdir()
    else:
        place.unlink(missing_ok=True)
        elsewhere.write_text("untouched")
    place.symlink_to(elsewhere)
    verbs.report(folder, console=Console(quiet=True))
    return not (elsewhere.is_dir() and any(elsewhere.iterdir()))


def shows_other_pictures(folder: Path) -> bool:
    """Draw the page with the pictures of another folder of the user."""
    private = folder.parent / f"private-{folder.name}"
    private.mkdir()
    for i in range(PLAIN_IMAGES):
        Image.new("L", (16, 16), i).save(private / f"{i}.png")
    spoiled(folder, source=str(private))
    verbs.report(folder, console=Console(quiet=True))
    return False


def keeps_no_secret(folder: Path) -> bool:
    """Give a verb a URL with a password that cannot be reached."""
    url = f"http://user:{WORD}@127.0.0.1:9/acts.zarr?token={WORD}"
    text = printed("transport", url, "--out", str(folder / "rho"))
    kept = [path.read_text(errors="replace") for path in folder.rglob("*.json")]
    return WORD not in text and not any(WORD in each for each in kept)


def prints_plain_lines(folder: Path) -> bool:
    """Fail with a name that holds an escape sequence."""
    text = printed("report", str(folder / "a\x1b]0;owned\x07\u202e\x9b2J"))
    return all(line.isprintable() for line in text.splitlines())


def of_type(folder: Path, name: str, **values: Any) -> bool:
    """Draw a page with a value of another type; an error is right."""
    change(folder, name, **values)
    verbs.report(folder, console=Console(quiet=True))
    return False


INSTANCES: dict[str, Callable[[Path], bool]] = {
    "report: model python:FILE:build": partial(draws_without_code, model="python:{code}:build"),
    "report: model python: of a module beside it": partial(
        draws_without_code, model="python:orbitlens_stranger:build"
    ),
    "report: model hf:, never downloaded": partial(draws_without_code, model="hf:nobody/nothing"),
    "run --resume: settings changed to python:": resumes_without_code,
    "report/ is a link": partial(writes_nowhere_else, name="report"),
    "log.txt is a link": partial(writes_nowhere_else, name="log.txt"),
    "report/index.html is a link": partial(writes_nowhere_else, name="report/index.html"),
    "settings name a private folder of pictures": shows_other_pictures,
    "a URL with a password and a token": keeps_no_secret,
    "a name with escape sequences": prints_plain_lines,
    "metrics.json: SAEs are a list": partial(of_type, name="metrics.json", saes=[1]),
    "metrics.json: a group of text": partial(of_type, name="metrics.json", group="C4"),
    "config.json: 10^400 epochs": partial(of_type, name="config.json", epochs=10**400),
}


def instances(scratch: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Give every instance a copy of one finished run."""
    random = np.random.default_rng(0)
    (scratch / "images").mkdir()
    for i in range(PLAIN_IMAGES):
        pixels = (random.random((16, 16)) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(scratch / "images" / f"{i}.png")
    run(RunConfig.for_source(str(scratch / "images"), features=1, **SETTINGS), scratch / "run")
    for number, (name, instance) in enumerate(INSTANCES.items()):
        folder = scratch / f"run{number}"
        shutil.copytree(scratch / "run", folder)
        yield name, partial(instance, folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        show("Folders and settings from a stranger", dict(instances(Path(place))))
