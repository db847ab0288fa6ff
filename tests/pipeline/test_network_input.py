"""What reaches a network is described, and what cannot be right is warned of or refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orbitlens.cli.commands import main

Harvest = Callable[..., tuple[int, str]]
SOURCE = """
import torch
from torch import nn
import orbitlens as ol

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def none():
    return net(), lambda images: None

def raises():
    return net(), lambda images: images / {}[0]

def nan():
    return net(), lambda images: images * float("nan")

def oblong():
    return net(), ol.models.ImagePreparation(size=(16, 12))

def half():
    return net(), ol.models.ImagePreparation(size=(24, 24), mean=(0.5,), std=(0.5,))

def flat():
    return net(), ol.models.ImagePreparation(mean=(127.0,), std=(127.0,))
"""


@pytest.fixture
def harvest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Harvest:
    (tmp_path / "net.py").write_text(SOURCE)

    def call(function: str, *words: str) -> tuple[int, str]:
        model = f"python:{tmp_path / 'net.py'}:{function}"
        line = ["harvest", "builtin:digits", "--model", model, "--layer", "3", "--n-samples", "20"]
        with pytest.raises(SystemExit) as ended:
            main([*line, "--out", str(tmp_path / "out"), *words])
        return int(ended.value.code or 0), capfd.readouterr().err

    return call


@pytest.mark.parametrize(
    ("function", "line"),
    [
        ("none", "it returned NoneType, not a tensor"),
        ("raises", "`prepare` on inputs of shape .*KeyError"),
        ("nan", "`prepare`: expected finite numbers, received NaN or infinity"),
    ],
)
def test_a_preparation_at_fault_ends_in_a_line(
    harvest: Harvest, function: str, line: str, tmp_path: Path
) -> None:
    code, said = harvest(function, "--json")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert re.search(line, said)
    assert not (tmp_path / "out").exists()


def test_the_sizes_before_and_after_are_told(harvest: Harvest, tmp_path: Path) -> None:
    assert harvest("half", "--image-size", "16", "--json")[0] == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["given"].startswith("1 x 24 x 24, from 16 x 16 pixels, values -1.00 to ")
    assert any("enlarges them to 24" in each for each in record["warnings"])


def test_nearly_one_number_is_warned_of(harvest: Harvest, tmp_path: Path) -> None:
    assert harvest("flat", "--json")[0] == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert any("from -1.000 to -0.992, nearly the same" in each for each in record["warnings"])


@pytest.mark.parametrize(("group", "warned"), [("C4", True), ("D4", True), ("C2", False)])
def test_a_preparation_that_makes_squares_oblong_is_warned_of_under_quarter_turns(
    harvest: Harvest, group: str, warned: bool, tmp_path: Path
) -> None:
    assert harvest("oblong", "--group", group, "--json")[0] == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    said = [each for each in record["warnings"] if "16 pixels 16 x 12" in each]
    assert bool(said) == warned
