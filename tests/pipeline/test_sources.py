"""What SOURCE names: a built-in set of images or a folder, and never one for the other."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json
from orbitlens.models import resolve_model
from orbitlens.pipeline import RunConfig, load_source

BUILT_IN = ("shapes", "digits", "photographs", "cells")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(folder: Path, n: int = 2) -> None:
    folder.mkdir()
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_name_that_is_also_a_folder_is_refused(here: Path, name: str) -> None:
    assert RunConfig.for_source(name).source == name
    fill(here / name)
    message = f"'{name}', which is both; write ./{name} for the folder, builtin:{name} for the"
    with pytest.raises(OrbitLensError, match=message):
        RunConfig.for_source(name)
    for folder in (f"./{name}", f"{name}/", str(here / name)):
        assert RunConfig.for_source(folder).source == str(here / name)
    built_in = RunConfig.for_source(f"builtin:{name}", n_samples=20)
    assert built_in == RunConfig.from_dict({**built_in.to_dict(), "source": name})
    assert load_source(built_in).inputs.name == name
    assert built_in.image_size == RunConfig(source=name).settled().image_size


def test_a_file_of_the_name_is_no_folder(here: Path) -> None:
    (here / "cells").write_text("notes")
    assert RunConfig.for_source("cells").source == "cells"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("builtin:cell", "expected one of .* received 'cell'; did you mean 'cells'"),
        ("builtin:", "received 'builtin:'"),
        ("images.zip", "received the file images.zip; give the folder that holds its images"),
        ("https://example.org/images/", "received the URL https://example.org/images/; download"),
        ("images/*.png", r"received the pattern images/\*.png; give the folder"),
        (
            "no-such-folder",
            "or recipe:NAME, received 'no-such-folder', and no folder has",
        ),
        ("moved/away", "a folder of images, received moved/away, which is not there"),
    ],
)
def test_what_is_no_source_is_refused(here: Path, source: str, message: str) -> None:
    (here / "images.zip").write_bytes(b"PK")
    with pytest.raises(OrbitLensError, match=message):
        RunConfig.for_source(source)


def test_home_is_found_where_the_shell_left_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    fill(here / "cells")
    assert RunConfig.for_source("~/cells").source == str(here / "cells")


def test_a_folder_of_the_model_comes_before_the_hub(here: Path) -> None:
    """A model is a folder only behind hf:, and then the folder comes first."""
    fill(here / "cnn")
    assert RunConfig.for_source("digits", model="cnn").model == "cnn"
    with pytest.raises(OrbitLensError, match="hf:cnn: expected a model that transformers can load"):
        resolve_model("hf:cnn", image_shape=(1, 8, 8))


def test_a_harvest_of_a_folder_keeps_what_was_passed_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(here / "cells", 10)
    Image.new("L", (8, 16), 200).save(here / "cells" / "oblong.webp", lossless=True)
    (here / "cells" / "notes.txt").write_text("taken on Monday")
    words = ["--image-size", "8", "--model-epochs", "1", "--device", "cpu", "--group", "C2"]
    with pytest.raises(SystemExit) as ended:
        main(["harvest", "cells", *words])
    assert ended.value.code == 2
    assert "builtin:cells" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["harvest", "./cells", *words])
    assert not ended.value.code
    out = here / "runs" / "cells-harvest"
    told = [
        "1 file of other formats: notes.txt.",
        "1 oblong image cut to the centred square, at most 50% of the area lost.",
    ]
    assert read_json(out / "metrics.json")["passed_over"] == told
    log = (out / "log.txt").read_text()
    assert all(sentence in log for sentence in told)
    assert read_json(out / "config.json")["source"] == str(here / "cells")
