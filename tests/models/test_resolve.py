"""Networks by name: prefixes, and functions of the user's own."""

from pathlib import Path

import pytest
import torch

from orbitlens.errors import MissingExtraError, OrbitLensError
from orbitlens.models import BaseModel, resolve_model

SOURCE = """
from dataclasses import dataclass
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

def with_prepare():
    return network(), lambda images: 2 * images

def with_encoder():
    return nn.ModuleDict({"encoder": nn.Linear(4, 2)})

def fails():
    raise RuntimeError("no\\n  weights")

def nothing():
    return None

def needs(argument):
    return argument
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(SOURCE)
    return f"python:{tmp_path / 'mine.py'}"


def resolve(name: str, layer: str | None = "1", random_weights: bool = False) -> BaseModel:
    return resolve_model(name, layer=layer, random_weights=random_weights, image_shape=(1, 2, 2))


def test_a_function_in_a_file_builds_the_network(source: str) -> None:
    base = resolve(f"{source}:network")
    assert base.name == f"{source}:network"
    assert base.module(torch.rand(3, 1, 2, 2)).shape == (3, 2)
    assert torch.equal(base.prepare(torch.ones(2)), torch.ones(2))


def test_a_function_may_return_the_preparation_too(source: str) -> None:
    assert torch.equal(resolve(f"{source}:with_prepare").prepare(torch.ones(2)), 2 * torch.ones(2))


def test_the_encoder_is_the_default_layer(source: str) -> None:
    assert resolve(f"{source}:with_encoder", layer=None).layer == "encoder"
    with pytest.raises(OrbitLensError, match=r"one of 0, 1, received none.*name the layer"):
        resolve(f"{source}:network", layer=None)


def test_a_module_on_the_path_serves_as_well(source: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("python:mine:network").layer == "1"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("netwrk", "function of .*mine.py.*did you mean 'network'"),
        ("zzz", "function of .*mine.py.*choose one of these"),
        ("fails", "received RuntimeError: no weights; call it in Python"),
        ("needs", "a function without arguments.*TypeError"),
        ("nothing", "a torch.nn.Module, or a pair.*received NoneType"),
    ],
)
def test_a_function_that_does_not_serve_is_named(source: str, function: str, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message) as caught:
        resolve(f"{source}:{function}")
    assert "\n" not in str(caught.value)


def test_a_source_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="nowhere to be imported, received ModuleNotFound"):
        resolve("python:nowhere:f")
    with pytest.raises(OrbitLensError, match="FileNotFoundError"):
        resolve(f"python:{tmp_path}/nowhere.py:f")
    (tmp_path / "broken.py").write_text("1 +")
    with pytest.raises(OrbitLensError, match="SyntaxError"):
        resolve(f"python:{tmp_path}/broken.py:f")
    with pytest.raises(OrbitLensError, match="expected python:module:function"):
        resolve("python:nofunction")


def test_random_weights_are_the_functions_own_business(source: str) -> None:
    with pytest.raises(OrbitLensError, match="leave out --random-weights"):
        resolve(f"{source}:network", random_weights=True)


@pytest.mark.parametrize("name", ["resnet18", "keras:resnet", "hf:", "", ":vit"])
def test_an_unknown_prefix_lists_the_known_ones(name: str) -> None:
    with pytest.raises(
        OrbitLensError,
        match="torchvision:NAME, onnx:FILE, python:MODULE:FUNCTION, recipe:NAME or the folder",
    ):
        resolve(name)


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_a_missing_library_names_its_extra(library: str, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    prefix = {"transformers": "hf"}.get(library, library)
    with pytest.raises(MissingExtraError, match=rf"pip install 'orbitlens\[{prefix}\]'"):
        resolve(f"{prefix}:vit")
