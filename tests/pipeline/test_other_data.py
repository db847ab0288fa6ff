"""Runs on data that are no images: what the settings become, what a run writes, what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orbitlens import files
from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.groups import from_name
from orbitlens.pipeline import RunConfig, load_source, run
from orbitlens.plan import _measure as measure

NETWORKS = """
import torch
from torch import nn

class Strands(nn.Module):
    def __init__(self):
        super().__init__()
        kernels = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
        self.kernels, self.out = torch.cat([kernels, kernels.flip(1, 2)]), nn.ReLU()
    def forward(self, x):
        return self.out(nn.functional.conv1d(x, self.kernels, padding=2))

def strands(): return nn.Sequential(Strands())
def whole(): return nn.Sequential(nn.Flatten())
def images():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
"""
TINY: dict[str, Any] = {
    "d_sae": 8,
    "n_atoms": 3,
    "k": 2,
    "hidden": 8,
    "epochs": 2,
    "features": 2,
    "saes": ("vanilla", "orbit"),
    "device": "cpu",
    "probe_samples": 20,
}


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def dna(n: int, length: int) -> np.ndarray:
    letters = np.random.default_rng(0).integers(0, 4, (n, length))
    return np.eye(4, dtype=np.float32)[letters].transpose(0, 2, 1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORKS)
    return tmp_path


def write(inputs: np.ndarray, name: str = "data.npz", **more: Any) -> str:
    np.savez(name, inputs=inputs, **more)
    return name


@pytest.mark.parametrize(
    ("action", "shape", "group"),
    [
        ("reverse_complement", (9, 4, 12), "C2"),
        ("volumes", (9, 1, 4, 4, 4), "O"),
        ("points", (9, 7, 3), "O"),
        ("points", (9, 7, 2), "C4"),
        ("sets", (9, 4, 2), "S4"),
        ("set_permutation", (9, 6), "S6"),
        ("graphs", (9, 3, 5), "S3"),
        ("images", (9, 3, 8, 8), "C4"),
    ],
)
def test_the_group_follows_action_and_shape(
    here: Path, action: str, shape: tuple[int, ...], group: str
) -> None:
    source, model = write(np.zeros(shape)), "python:net.py:whole"
    config = RunConfig.for_source(source, action=action, model=model)
    assert config.group == group
    assert config.action == ("set_permutation" if action == "sets" else action)
    assert RunConfig.from_dict(config.to_dict()) == config
    assert config.source == str(here / "data.npz")
    given = RunConfig.for_source(source, action=action, model=model, group="C2")
    assert given.group == "C2"


def test_settings_of_earlier_versions_are_of_images() -> None:
    record = RunConfig("shapes").to_dict()
    for name in ("action", "axis", "centred"):
        del record[name]
    assert RunConfig.from_dict(record).action == "images"


@pytest.mark.parametrize("action", ["cyclic_shift", "sets", "graphs"])
def test_a_group_that_only_the_user_knows_is_asked_for(here: Path, action: str) -> None:
    source = write(np.zeros((5, 9, 15)))
    with pytest.raises(OrbitLensError, match=r"`group`: expected .* give for example --group C"):
        RunConfig.for_source(source, action=action, model="python:net.py:whole")


def check_run(out: Path, metrics: dict[str, Any], action: str) -> None:
    assert files.read_json(out / "config.json")["action"] == action
    assert metrics["action"]["name"] == action
    assert set(metrics["saes"]) == {"vanilla", "orbit"}
    page = (out / "report" / "index.html").read_text()
    assert page.split('id="features"')[1].count("data:image") > 1
    assert not any("normalisation" in warning for warning in metrics["warnings"])


@pytest.mark.parametrize(
    ("action", "inputs", "settings"),
    [
        ("volumes", drawn(20, 1, 4, 4, 4), {"model": "python:net.py:whole"}),
        ("points", drawn(30, 5, 3), {"model": "python:net.py:whole", "centred": True}),
        (
            "points",
            drawn(30, 5, 4),
            {"model": "python:net.py:whole", "group": "C4", "axis": "x"},
        ),
        ("set_permutation", drawn(30, 3), {"model": "python:net.py:whole"}),
        ("graphs", drawn(30, 3, 4), {"model": "python:net.py:whole"}),
        ("cyclic_shift", drawn(30, 2, 6), {"model": "python:net.py:whole", "group": "C3"}),
    ],
    ids=["volumes", "points", "points about an axis", "sets", "graphs", "cyclic"],
)
def test_whole_inputs_move_exactly(
    here: Path, action: str, inputs: np.ndarray, settings: dict[str, Any]
) -> None:
    """A network that hands on its inputs: the transport is that of the action itself."""
    config = RunConfig.for_source(
        write(inputs), action=action, layer="0", **{**TINY, "transport": "exact", **settings}
    )
    metrics = run(config, here / "out")
    check_run(here / "out", metrics, action)
    assert metrics["transport"]["relation_error"] < 1e-4
    if "centred" not in settings:
        assert metrics["group"]["name"] == config.group
        assert metrics["model"]["input"]["shape"] == list(inputs.shape[1:])


def test_dna_from_the_command_line_to_the_page(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"gene {i}" for i in range(60)]
    source = write(dna(60, 20), labels=np.arange(60) % 2, class_names=["on", "off"], names=names)
    words = ["--action", "reverse_complement", "--model", "python:net.py:strands"]
    layer = [*words, "--layer", "0.out", "--positions", "all"]
    few = ["--d-sae", "8", "--n-atoms", "3", "--k", "2", "--epochs", "2", "--saes", "orbit,vanilla"]
    call(["run", source, *layer, *few, "--transport", "spatial"])
    out = here / "runs" / "data"
    metrics = files.read_json(out / "metrics.json")
    check_run(out, metrics, "reverse_complement")
    assert metrics["transport"]["r2"] > 0.9999
    assert metrics["saes"]["orbit"]["moved_codes"] > 0.99
    assert metrics["model"]["input"]["sentence"] == "4 x 20, values 0.00 to 1.00, mean 0.25"
    assert metrics["data"]["classes"] == ["on", "off"]
    assert "the network gets 4 x 20" in (out / "log.txt").read_text()
    page = (out / "report" / "index.html").read_text()
    assert "other strand" in page
    assert "moves with the input" in page
    assert "with the image" not in page
    assert "turn</" not in page
    assert "A is green, C blue" in page
    assert page.count('<svg class="logo"') > 1
    assert 'title="gene ' in page
    call(["report", str(out), "--features", "1"])
    assert (out / "report" / "index.html").read_text() != page
    call(["run", source, *layer, *few, "--transport", "spatial", "--resume"])
    call(["harvest", source, *layer])
    assert (here / "runs" / "data-harvest" / "acts.zarr").is_dir()
    call(["transport", "python:net.py:strands", source, *words[:2]])
    table = (here / "runs" / "python-net.py-strands-data" / "layers.csv").read_text()
    assert "exactly equivariant" in table
    capsys.readouterr()
    # Here the plan need not be good; tests of plans measure.
    monkeypatch.setattr(measure, "measure_apart", lambda *_: {"not_measured": "too long"})
    call(["plan", source, *layer, "--epochs", "1", "--json"])
    assert '"order": 2' in capsys.readouterr().out


def call(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code


def test_groups_are_ranked_without_a_group(here: Path) -> None:
    source = write(drawn(60, 2, 12))
    words = ["--action", "cyclic_shift", "--groups", "C2,C3", "--lie-inputs", "0"]
    call(["transport", "python:net.py:whole", source, *words])
    record = files.read_json(here / "runs" / "python-net.py-whole-data" / "metrics.json")
    assert {group["name"] for group in record["groups"]} == {"C2", "C3"}


def test_images_in_arrays(here: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 3, 12, 12), dtype=np.uint8)
    np.save("pixels.npy", pixels)
    small = {"model_samples": 20, "model_epochs": 1, **TINY}
    config = RunConfig.for_source("pixels.npy", **small)
    assert config.image_size is None
    metrics = run(config, here / "cnn")
    check_run(here / "cnn", metrics, "images")
    assert metrics["model"]["input"]["shape"] == [3, 12, 12]
    assert metrics["model"]["input"]["high"] == 1
    grey = load_source(RunConfig.for_source("pixels.npy", channels=1)).inputs.values
    luminance = pixels[:, 0] * 0.299 + pixels[:, 1] * 0.587 + pixels[:, 2] * 0.114
    np.testing.assert_allclose(grey[:][:, 0].numpy(), luminance / 255, atol=1e-6)


@pytest.mark.filterwarnings("ignore::orbitlens.errors.OrbitLensWarning")
def test_a_network_of_images_gets_arrays_as_they_are(here: Path) -> None:
    source = write(np.random.default_rng(0).random((30, 3, 12, 12)))
    config = RunConfig.for_source(
        source, model="python:net.py:images", normalise="half", layer="1", **TINY
    )
    metrics = run(config, here / "out")
    assert metrics["model"]["input"]["low"] < -0.9
    assert metrics["warnings"] == [each for each in metrics["warnings"] if "pixels" not in each]


def test_a_large_file_of_images_gets_other_channels_when_it_is_read(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orbitlens.data import LazyInputs, arrays

    np.save("pixels.npy", np.random.default_rng(0).random((10, 1, 6, 6)))
    held = load_source(RunConfig.for_source("pixels.npy", channels=3)).inputs
    monkeypatch.setattr(arrays, "_HELD", 1)
    lazy = load_source(RunConfig.for_source("pixels.npy", channels=3)).inputs
    assert isinstance(lazy.values, LazyInputs)
    assert lazy.values.shape == (10, 3, 6, 6)
    assert lazy.digest == held.digest


ARRAYS = {
    "dna": dna(20, 12),
    "cloud": drawn(20, 5, 3),
    "image": np.zeros((20, 1, 8, 8)),
    "set": drawn(20, 4, 2),
    "nan": np.full((20, 4, 8), np.nan),
    "bright": np.full((20, 1, 8, 8), 3.0),
}
RC = ["--action", "reverse_complement"]
BAD: list[tuple[str, list[str], str]] = [
    ("dna", [], r"`action`: expected one of volumes, .* for inputs \[n, 4, 12\], which are no"),
    ("dna", ["--action", "point"], "did you mean 'points'"),
    ("dna", [*RC, "--group", "C4"], "`group` of reverse_complement: expected C2"),
    ("cloud", RC, r"sequences: expected one-hot letters .* received \[1, 5, 3\]"),
    ("cloud", ["--action", "volumes"], "volumes: expected shape"),
    ("cloud", ["--action", "points", "--group", "S3"], "`group` of points: expected C_n"),
    ("cloud", ["--action", "points", "--axis", "w"], "`axis`: expected one of x, y, z"),
    ("cloud", ["--action", "points", "--axis", "x"], "C_n for turns about an axis, received O"),
    ("cloud", ["--action", "cyclic_shift"], "give for example --group C3"),
    ("dna", ["--action", "cyclic_shift", "--group", "C5"], "a length divisible by 5"),
    ("set", ["--action", "sets", "--group", "S3"], r"sets under S3: expected shape \[n, 3"),
    ("set", ["--action", "graphs"], r"graphs under S4: expected shape \[n, 4, 4"),
    ("nan", RC, "NaN or infinity in input 0 and 19 more"),
    ("bright", ["--model", "cnn"], r"values in \[0, 1\], or numbers of uint8, received values 3"),
    ("dna", [*RC, "--image-size", "8"], "`image_size`: expected no --image-size for --action"),
    ("dna", [*RC, "--normalise", "half"], "`normalise`: expected no --normalise"),
    ("dna", [*RC, "--channels", "1"], "`channels`: expected no --channels"),
    ("dna", [*RC, "--crop", "pad"], "`crop`: expected no --crop"),
    ("dna", [*RC, "--white", "255"], "`white`: expected no --white"),
    ("dna", [*RC, "--interpolation", "bilinear"], "`interpolation`: expected no --interp"),
    ("dna", [*RC, "--centred"], "`centred`: expected no --centred for --action reverse_comp"),
    ("image", ["--axis", "z"], "`axis`: expected no --axis for images"),
    ("image", ["--image-size", "8"], "no --image-size for images in arrays, which stay"),
    ("image", ["--crop", "none"], "no --crop for images in arrays, which stay"),
    (
        "dna",
        [*RC, "--model", "cnn"],
        "python:FILE.py:FUNCTION or recipe:NAME for --action reverse_complement, ",
    ),
    ("dna", [*RC, "--model", "hf:vit"], "received hf:vit, which takes images"),
    ("text", RC, "a whole .npz file, as numpy.savez writes it"),
]


@pytest.mark.parametrize(("name", "words", "message"), BAD)
def test_bad_input_ends_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, words: list[str], message: str
) -> None:
    source = "text.npz"
    if name == "text":
        Path(source).write_text("inputs")
    else:
        source = write(ARRAYS[name], f"{name}.npz")
    before = sorted(here.rglob("*"))
    model = [] if "--model" in words else ["--model", "python:net.py:whole"]
    with pytest.raises(SystemExit) as ended:
        main(["run", source, *words, *model, "--layer", "0", "--out", "out"])
    assert ended.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("orbitlens: ")
    assert re.search(message, line), line
    assert [p for p in sorted(here.rglob("*")) if "__pycache__" not in str(p)] == before


def test_built_in_images_have_no_other_action() -> None:
    for source in ("shapes", "digits"):
        with pytest.raises(OrbitLensError, match=f"images for {source}, received points"):
            RunConfig.for_source(source, action="points", model="python:net.py:whole")


def test_every_named_action_is_built(here: Path) -> None:
    from orbitlens.pipeline._actions import action_by_name
    from orbitlens.pipeline._names import ACTIONS

    groups = {"reverse_complement": "C2", "volumes": "O"}
    for name in ACTIONS:
        group = from_name(groups.get(name, "C4"))
        action = action_by_name(name, group, {})
        assert (action.name, action.group) == (name, group)
        again = action_by_name(name, group, action.config)
        assert again.config == action.config
