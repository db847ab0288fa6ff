"""What a network gets: the images as its preparation makes them, in one line."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from orbitlens.actions import Action
from orbitlens.activations.harvest import make_ready
from orbitlens.data import Inputs
from orbitlens.errors import warn
from orbitlens.groups import turns_and_flips
from orbitlens.models import BaseModel, as_they_are
from orbitlens.pipeline._given_source import IMAGES, is_array_source
from orbitlens.pipeline.config import RunConfig

_LOOKED_AT = 64
_FLAT = 0.05
_WITHOUT_QUARTERS = (1, 2)
_OF_STRANGERS = ("python:", "onnx:")
_SQUARED = {
    "centre": "centre crop of {} oblong images",
    "none": "{} oblong images squeezed into squares",
    "pad": "{} oblong images filled up with black",
}


@torch.no_grad()
def describe_network_input(config: RunConfig, model: BaseModel, inputs: Inputs) -> dict[str, Any]:
    """Return shape, range and mean of what the network gets for some images, and a sentence.

    At most 64 images are looked at, from the whole set at equal distances.
    """
    n = len(inputs.values)
    some = torch.linspace(0, n - 1, min(n, _LOOKED_AT)).long()
    ready = make_ready(model.prepare, inputs.values[some]).float()
    shape = list(ready.shape[1:])
    low, high, mean = (value.item() for value in (ready.min(), ready.max(), ready.mean()))
    own, read = inputs.values.shape[2:], ready.shape[2:]
    parts = [
        " x ".join(map(str, shape)),
        *([f"from {' x '.join(map(str, own))} pixels"] if own != read and len(own) == 2 else []),
        f"values {low:.2f} to {high:.2f}",
        f"mean {mean:.2f}",
        *(["blue first"] if getattr(model.prepare, "flip", False) else []),
        *([_SQUARED[config.crop].format(inputs.oblong)] if inputs.oblong else []),
    ]
    return {"shape": shape, "low": low, "high": high, "mean": mean, "sentence": ", ".join(parts)}


def warn_of_flat(name: str, given: Mapping[str, Any]) -> None:
    """Warn of a network that gets nearly one number; `given` is what is described above."""
    if 0 < given["high"] - given["low"] < _FLAT:
        warn(
            name,
            found=f"it gets values from {given['low']:.3f} to {given['high']:.3f}, nearly the same",
            remedy="check --normalise, whose mean and deviation are of images in [0, 1]: 0.5/0.5 "
            "and not 127/127",
        )


def warn_of_oblong(
    name: str, action: Action, shape: Sequence[int], given: Mapping[str, Any]
) -> None:
    """Warn of a preparation that makes squares oblong under a group with quarter turns.

    `shape` is that of the images, and `given` what is described above.
    """
    got = given["shape"]
    squares = action.name == IMAGES and len(shape) == 4 and shape[2] == shape[3] and len(got) == 3
    turns = turns_and_flips(action.group)
    if squares and got[1] != got[2] and (turns is None or turns[0] not in _WITHOUT_QUARTERS):
        warn(
            name,
            found=f"its preparation makes squares of {shape[3]} pixels {got[1]} x {got[2]}, so it "
            "does not see a turned image turned",
            remedy="take C2, D1 or D2, or a preparation that keeps squares",
        )


def warn_of_unprepared(config: RunConfig, model: BaseModel, shape: Sequence[int]) -> None:
    """Warn of a network that may want other images than it gets.

    `config` holds what the user gave; `shape` is that of the images, [n, channels, height, width].
    """
    if model.image_size is not None and shape[-1] < model.image_size:
        warn(
            model.name,
            found=f"images are read at {shape[-1]} pixels, and it enlarges them to "
            f"{model.image_size}",
            remedy="leave --image-size to the network, unless the images have no more pixels",
        )
    if not config.model.startswith(_OF_STRANGERS):
        return
    _, channels, height, width = shape
    # Images in arrays stay as they are, and who wrote them knows their size.
    arrays = is_array_source(config.source)
    if config.image_size is None and model.image_size is None and not arrays:
        warn(
            model.name,
            found=f"nothing states the size of its images, so they are read at {width} pixels",
            remedy="give --image-size as in its training",
        )
    stated = model.prepare is not as_they_are and not config.model.startswith("onnx:")
    if config.normalise is None and not stated:
        warn(
            model.name,
            found="it comes without a normalisation of images, so it gets "
            f"{channels} x {height} x {width} in [0, 1]",
            remedy="give --normalise (half, imagenet or MEAN/STD) as in its training, or 0/1 if "
            "this is right; or return the network and its preparation from the function",
        )
