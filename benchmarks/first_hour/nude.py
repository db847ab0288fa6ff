"""The detector of nudenet, with the input that nudenet gives it: 320 x 320, [0, 1], blue first."""

from pathlib import Path

import nudenet
import onnx2torch

import orbitlens as ol


def network():
    """Return the network of the ONNX file and its preparation."""
    file = Path(nudenet.__file__).parent / "320n.onnx"
    preparation = ol.models.ImagePreparation(size=(320, 320), channels=3, flip=True)
    return onnx2torch.convert(file), preparation
