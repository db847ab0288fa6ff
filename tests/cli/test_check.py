"""`orbitlens check`: networks and environments, right and wrong; what it prints and keeps."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from orbitlens.cli.check_command import ENVIRONMENTS, OUTPUTS, check_command
from orbitlens.cli.commands import main

_CODE = """
import torch
from torch import nn
from orbitlens.groups import dihedral
from orbitlens.models import GroupCNN, ImagePreparation

def exact():
    return GroupCNN(dihedral(4), features=2), ImagePreparation(size=16, channels=1)

def broken():
    network, prepare = exact()
    return GroupCNN(dihedral(4), features=2, broken=0.1), prepare

def blurred():
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.ReLU()), ImagePreparation(size=16)

class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()
    def forward(self, x):
        return self.inner(x), x

def pairs():
    return Pairs(), ImagePreparation(size=16)

class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, _ = exact()
    def forward(self, x):
        return {"logits": self.inner(x)}

def logits():
    return Logits(), exact()[1]

class Constant(nn.Module):
    def forward(self, x):
        return torch.ones(len(x), 2)

def constant():
    return Constant(), ImagePreparation(size=16)

class Drawing(nn.Module):
    draws, seed = True, 0
    def forward(self, x):
        sums = 10 * x.mean((-1, -2))
        generator = torch.Generator().manual_seed(self.seed)
        return sums + 0.05 * torch.randn(sums.shape, generator=generator)

def drawing():
    return nn.Sequential(Drawing(), nn.Identity()), ImagePreparation(size=16)

def mirror():
    return torch.diag(torch.tensor([1.0, -1.0, -1.0])), [[-1.0]]

def one_sign_missing():
    return [[1, 0, 0], [0, 1, 0], [0, 0, -1]], [[-1]]

def alone():
    return [[-1]]

def failing():
    raise ValueError("no maps today")

import gymnasium
import numpy as np

class Line(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.normal(size=2).astype(np.float32)
        return self.state, {}
    def step(self, action):
        x, v = self.state
        self.state = np.array([x + 0.1 * v, 0.9 * v - 0.1 * x + 0.1 * action[0]], np.float32)
        return self.state, -float(x * x), False, False, {}

class Old(Line):
    def reset(self):
        return np.zeros(2, np.float32)

def line():
    return Line()

def flip():
    return [[-1, 0], [0, -1]], [[-1]]

def not_one():
    return 3
"""
DIGITS = ["digits", "--image-size", "16", "--n-samples", "24"]
FEW = ["--n-samples", "64"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(_CODE)
    return tmp_path


def ran(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["check", *words])
    return int(ended.value.code or 0)


def record_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert ran(*words, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("network", "words", "verdict"),
    [
        ("exact", [], "exact"),
        ("logits", [], "exact"),
        ("exact", ["--layer", "conv2", "--output", "regular"], "exact"),
        ("exact", ["--layer", "pool", "--output", "regular"], "exact"),
        ("exact", ["--layer", "conv2", "--output", "maps"], "none"),
        ("blurred", ["--output", "maps"], "exact"),
        ("broken", [], "none"),
    ],
)
def test_a_network_is_checked_at_its_output_or_a_layer(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    network: str,
    words: list[str],
    verdict: str,
) -> None:
    model = f"python:mine.py:{network}"
    record = record_of(capsys, model, *DIGITS, "--group", "D4", *words, "--out", "out")
    assert record["check"]["verdict"] == verdict
    assert record["check"]["n"] == record["inputs"]["n"] == 24
    assert len(record["check"]["elements"]) == 7


def test_the_folder_holds_settings_figures_table_and_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["python:mine.py:exact", *DIGITS, "--group", "C4"]
    assert ran(*words) == 0
    out = folder / "runs" / "check-python-mine.py-exact-digits"
    said = capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    config = json.loads((out / "config.json").read_text())
    assert (config["group"], config["output"], config["n_samples"]) == ("C4", "invariant", 24)
    assert metrics["check"]["sentence"] in said
    assert metrics["check"]["wrong_groups"]["other"]["name"] == "D2"
    with (out / "elements.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["element"] for row in rows] == ["r", "r^2", "r^3"]
    assert [f"{float(row['mean']):.4g}" for row in rows] == [
        f"{row['mean']:.4g}" for row in metrics["check"]["elements"]
    ]
    assert rows[0]["other mean"] == ""
    turns = ["quarter turn left", "half turn", "quarter turn right"]
    assert [row["words"] for row in rows] == turns
    assert "\nr^3, quarter turn right  error " in said
    assert said.splitlines()[-1] == f"page: {out.relative_to(folder) / 'report' / 'index.html'}"
    assert "up to rounding" in (out / "report" / "index.html").read_text()
    assert ran(*words) == 2
    assert "one that already holds a run" in capsys.readouterr().err
    assert ran(*words, "--resume") == 0
    again = json.loads((out / "metrics.json").read_text())
    assert again["check"] == metrics["check"]


def test_constant_outputs_get_no_line_of_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran("python:mine.py:constant", *DIGITS, "--group", "C4", "--out", "out") == 0
    said = capsys.readouterr().out
    assert "All inputs get the same output" in said
    assert "nan" not in said
    assert "error" not in said.replace("errors", "")


def test_a_network_that_draws_is_judged_on_average(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["python:mine.py:drawing", *DIGITS, "--group", "C4", "--out"]
    assert ran(*words, "out") == 0
    said = capsys.readouterr().out
    assert "is invariant under C4 in expectation" in said
    assert "no error above " in said
    record = record_of(capsys, *words, "layer", "--layer", "0")
    assert record["check"]["verdict"] == "expectation"


def test_an_autoencoder_is_trained_first_and_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mlp", *DIGITS, "--output", "maps", "--model-epochs", "1", "--out", "out"]
    first = record_of(capsys, *words)
    assert first["model"] == {"name": "digits-mlp", "layer": None, "trained_here": True}
    kept = (folder / "out" / "model.safetensors").read_bytes()
    again = record_of(capsys, *words, "--resume")
    assert again["check"] == first["check"]
    assert (folder / "out" / "model.safetensors").read_bytes() == kept


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["python:mine.py:pairs", *DIGITS], "name the layer whose output is meant (--layer)"),
        (["python:mine.py:exact", *DIGITS, "--layer", "conv9"], "did you mean 'conv2'?"),
        (
            ["python:mine.py:exact", *DIGITS, "--group", "C4", "--output", "maps"],
            "images: expected shape [n, channels, height, width], received [24, 2]",
        ),
        (
            ["python:mine.py:exact", *DIGITS, "--group", "C4", "--output", "regular"],
            "outputs under regular of C4: expected shape [n, features x 4], or maps of as many "
            "channels of images, received [24, 2]",
        ),
        (["python:mine.py:exact", *DIGITS, "--group", "C1"], "more than its identity"),
        (
            ["env:Pendulum-v1", "--symmetry", "mine.py:mirror", "--n-samples", "3"],
            "`n_samples`: expected at least 16",
        ),
        (["env:Pendulum-v1", "--symmetry", "mine.py:mirorr"], "did you mean 'mirror'?"),
        (["env:Pendulum-v1", "--symmetry", "mine.py:alone"], "two maps, of states and of actions"),
        (["env:Pendulum-v1", "--symmetry", "mine.py:failing"], "ValueError: no maps today"),
        (["env:Pendulum-v1", "--symmetry", "nowhere.maps:mirror"], "No module named 'nowhere'"),
        (["env:CartPole-v1", "--symmetry", "mine.py:mirror"], "`states`: expected matrices"),
        (["env:Nowhere-v1", "--symmetry", "mine.py:mirror"], "a Gymnasium environment"),
        (["env:Pendulim-v1"], "Did you mean: `Pendulum`?"),
        (["env:Blackjack-v1"], "`symmetry`: expected the maps of Blackjack-v1; only those of"),
        (["env:mine.py:Line"], "`symmetry`: expected the maps of Line; only those of"),
        (["env:mine.py:Lime", "--symmetry", "mine.py:flip"], "did you mean"),
        (["env:mine.py"], "expected env:FILE.py:NAME"),
        (["env:nowhere.py:Line"], "an existing file, received nowhere.py"),
        (["env:mine.py:not_one", "--symmetry", "mine.py:flip"], "or its name, received int"),
        (["env:mine.py:failing", "--symmetry", "mine.py:flip"], "ValueError: no maps today"),
        (
            ["env:mine.py:Old", "--symmetry", "mine.py:flip"],
            "environment Old: expected reset(seed=",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert ran(*words, "--out", "out", "--json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert line in said.err
    assert len(said.err.splitlines()) == 1
    assert not (folder / "out").exists()


def test_built_in_reflections_need_no_symmetry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ENVIRONMENTS[:3]:
        record = record_of(capsys, f"env:{name}", *FEW)
        assert record["check"]["verdict"] == "symmetric", name
        out = folder / "runs" / f"check-{name}"
        names = {path.name for path in out.iterdir()}
        assert names == {"config.json", "metrics.json", "errors.csv", "log.txt", "report"}


def test_a_wrong_map_and_a_broken_environment_are_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = {
        name: ["env:Pendulum-v1", "--symmetry", f"mine.py:{name}", *FEW]
        for name in ("mirror", "one_sign_missing")
    }
    right = record_of(capsys, *maps["mirror"], "--out", "right")
    wrong = record_of(capsys, *maps["one_sign_missing"], "--out", "wrong")
    assert (right["check"]["verdict"], wrong["check"]["verdict"]) == ("symmetric", "none")
    errors = [
        record_of(capsys, "env:CartPole-v1", *FEW, "--kappa", kappa, "--out", kappa)["check"][
            "eps_r"
        ]
        for kappa in ("0", "0.3")
    ]
    assert errors == pytest.approx([0, 0.3])


@pytest.mark.parametrize("name", ["Line", "line"])
def test_an_environment_of_ones_own_comes_from_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words = [f"env:mine.py:{name}", "--symmetry", "mine.py:flip", *FEW]
    assert ran(*words, "--kappa", "0.3") == 0
    said = capsys.readouterr().out
    assert "nearly a symmetry of Line (C2, kappa = 0.3) on states that random actions visit" in said
    assert "so ends were not judged" in said
    page = (folder / "runs" / f"check-mine.py-{name}" / "report" / "index.html").read_text()
    assert "Is C2 a symmetry of Line, broken by κ = 0.3?" in page


def test_a_model_tells_one_figure_in_table_sentence_and_bound(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.py").write_text(_CODE.replace("self.state", "self.__state"))
    words = ["env:mine.py:Line", "--symmetry", "mine.py:flip", "--n-samples", "1000"]
    assert ran(*words, "--kappa", "0.3", "--gamma", "0.5", "--out", "out") == 0
    said = capsys.readouterr().out.splitlines()
    eps = json.loads((folder / "out" / "metrics.json").read_text())["check"]["eps_r"]
    assert eps == pytest.approx(0.3 / 3**0.5, rel=0.1)
    assert said[0].endswith(f"beyond it {eps:.3g}")
    assert f"a root mean square of {eps:.2g} " in said[2]
    assert f"<= {2 * eps:.3g} + " in said[3]


def test_the_discount_is_in_the_bound(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env:CartPole-v1", "--kappa", "0.5", "--gamma", "0.9", *FEW]
    assert ran(*words, "--out", "out") == 0
    said = capsys.readouterr().out
    assert "|Q*(s, a) - Q*(gs, ga)| <= 5 + " in said
    assert "under gamma 0.9" in said
    assert ran(*words[:-2], "--out", "out", "--resume") == 2
    assert "`n_samples`" in capsys.readouterr().err


def test_names_on_the_command_line_are_those_of_the_rooms() -> None:
    from orbitlens.errors import OrbitLensError
    from orbitlens.symmetry.check import reflection

    with pytest.raises(OrbitLensError, match=f"one of {', '.join(ENVIRONMENTS)}, received"):
        reflection("Nowhere-v1")
    (option,) = (each for each in check_command.params if each.name == "output")
    assert all(name in str(getattr(option, "help", "")) for name in OUTPUTS)
