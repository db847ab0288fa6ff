"""What a network gets: normalisations by name, and what loaders find out about it."""

from pathlib import Path

import jaxtyping
import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.models import ImagePreparation, normalisation, resolve_model

SOURCE = """
import torch
from torch import nn
from torch.nn.functional import interpolate
import orbitlens as ol

def bare():
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())

def wide():
    return nn.Sequential(nn.Conv2d(7, 2, 1))

def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

def prepared():
    return bare(), ol.models.ImagePreparation(size=(48, 40), mean=(0.5, 0.4, 0.3), std=(0.2,))

def resizing():
    return bare(), lambda images: interpolate(images, (40, 40))

def of_any_size():
    return bare(), lambda images: 2 * images - 1

def grey():
    return nn.Sequential(nn.Conv2d(1, 2, 1)), lambda images: interpolate(
        images * torch.ones(1, 1, 1, 1).expand(1, 1, 1, 1), (24, 24)
    ) if images.shape[1] == 1 else 1 / 0
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(SOURCE)
    return f"python:{tmp_path / 'mine.py'}"


@pytest.mark.parametrize(
    ("text", "black", "white"),
    [
        ("imagenet", [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], None),
        ("half", [-1.0] * 3, [1.0] * 3),
        ("0/1", [0.0] * 3, [1.0] * 3),
        ("0.5/0.25", [-2.0] * 3, [2.0] * 3),
        ("0.5,0.25,0/0.5,0.25,0.125", [-1.0, -1.0, 0.0], [1.0, 3.0, 8.0]),
    ],
)
def test_a_normalisation_by_name(text: str, black: list[float], white: list[float] | None) -> None:
    mean, std = normalisation(text)
    prepare = ImagePreparation(channels=3, mean=mean, std=std)
    assert prepare(torch.zeros(1, 1, 2, 2))[0, :, 0, 0].tolist() == pytest.approx(black)
    if white is not None:
        assert prepare(torch.ones(1, 3, 2, 2))[0, :, 1, 1].tolist() == pytest.approx(white)


@pytest.mark.parametrize(
    "text",
    ["", "halve", "0.5", "0.5/", "/0.5", "1,2/1", "0.5/0", "0.5/-1", "nan/1", "0/inf", "a/b"],
)
def test_another_text_is_no_normalisation(text: str) -> None:
    with pytest.raises(OrbitLensError, match="imagenet, half or MEAN/STD") as caught:
        normalisation(text)
    assert "\n" not in str(caught.value)


def test_three_means_make_grey_images_colour() -> None:
    prepare = ImagePreparation(mean=(0.0, 0.5, 1.0))
    assert prepare(torch.ones(1, 1, 2, 2))[0, :, 0, 0].tolist() == [1.0, 0.5, 0.0]
    assert prepare.channels == 3


def test_a_deviation_of_zero_is_refused() -> None:
    with pytest.raises(OrbitLensError, match="standard deviations other than 0"):
        ImagePreparation(std=(0.5, 0.0, 0.5))


@pytest.mark.parametrize(
    ("function", "size", "channels"),
    [
        ("bare", None, 3),
        ("wide", None, None),
        ("flat", None, None),
        ("prepared", 48, 3),
        ("resizing", 40, None),
        ("of_any_size", None, None),
        ("grey", 24, None),
    ],
)
def test_what_a_network_in_python_is_made_for(
    source: str, function: str, size: int | None, channels: int | None
) -> None:
    base = resolve_model(f"{source}:{function}", layer="0")
    assert (base.image_size, base.channels) == (size, channels)


def test_a_normalisation_is_added_or_replaces_that_of_the_network(source: str) -> None:
    image = torch.full((1, 3, 4, 4), 0.75)
    base = resolve_model(f"{source}:bare", layer="0", normalise="half")
    assert torch.equal(base.prepare(image), torch.full_like(image, 0.5))
    replaced = resolve_model(f"{source}:prepared", layer="0", normalise="0.5/0.25")
    ready = replaced.prepare(image)
    assert ready.shape == (1, 3, 48, 40)
    torch.testing.assert_close(ready, torch.ones_like(ready))
    with pytest.raises(OrbitLensError, match="returns its own preparation.*leave out --normalise"):
        resolve_model(f"{source}:of_any_size", layer="0", normalise="half")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("net.onnx", "write onnx:net.onnx"),
        ("models/net.py", "python:models/net.py:FUNCTION"),
        ("net.pt", "a function that builds the network and loads these weights"),
        ("net.ckpt", "a function that builds the network"),
        ("resnet", "hf:facebook"),
    ],
)
def test_a_file_in_the_place_of_a_name_is_told_what_to_write(
    name: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=remedy):
        resolve_model(name)
