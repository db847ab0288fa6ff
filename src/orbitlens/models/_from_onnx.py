"""Loader of "onnx:FILE": a network in the ONNX format, converted by onnx2torch."""

import os
import warnings
from pathlib import Path
from typing import Any

from torch import nn

from orbitlens.errors import OrbitLensError, missing_extra, one_line
from orbitlens.models._layers import default_layer
from orbitlens.models._pretrained import check_channels
from orbitlens.models.base import BaseModel
from orbitlens.models.preparation import ImagePreparation

_DEFAULT_LAYERS = ("encoder",)
_FLOAT = 1  # TensorProto.FLOAT
_IN_PYTHON = "give the network in Python, as python:file.py:function"


def from_onnx(
    name: str,
    *,
    layer: str | None,
    random_weights: bool,
    image_shape: tuple[int, int, int] | None,
    seed: int,
) -> BaseModel:
    """Return the network in an ONNX file; its layers are the nodes of the file, by their names.

    The file states channels and size of its images where these are fixed. It states no
    normalisation. `seed` has no use, as `random_weights` are refused.
    """
    del seed
    subject = f"onnx:{name}"
    if random_weights:
        raise OrbitLensError(
            subject,
            expected="the weights in the file",
            received="random weights",
            remedy="leave out --random-weights",
        )
    try:
        import onnx
        import onnx2torch
    except ImportError:
        raise missing_extra("onnx2torch", extra="onnx") from None
    path = Path(os.path.expanduser(name))
    if not path.is_file():
        received = "a folder" if path.is_dir() else "no such file"
        raise OrbitLensError(
            subject, expected="an ONNX file", received=received, remedy="check the path"
        )
    try:
        graph = onnx.load(path)
        channels, size = _input_of(graph.graph, subject)
        _constants_as_weights(graph.graph, onnx.numpy_helper)
        module: nn.Module = onnx2torch.convert(graph)
    except OrbitLensError:
        raise
    except Exception as error:  # the parser and each converter raise their own kinds
        raise OrbitLensError(
            subject,
            expected="an ONNX file that onnx2torch can convert",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy=_IN_PYTHON,
        ) from error
    check_channels(subject, image_shape, channels)
    # Its converter of Slice indexes with a list, and torch says so in every forward pass.
    warnings.filterwarnings("ignore", "Using a non-tuple sequence", UserWarning)
    prepare = ImagePreparation(size=size, channels=channels, name=subject)
    layer = layer or default_layer(module, _DEFAULT_LAYERS, subject)
    return BaseModel(
        subject, module, layer, prepare, image_size=prepare.image_size, channels=channels
    )


def _input_of(graph: Any, subject: str) -> tuple[int, tuple[int, int] | None]:
    """Return the channels of the only input, and its height and width if they are fixed."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    kinds = [each.type.tensor_type for each in inputs]
    shapes = [[axis.dim_value for axis in kind.shape.dim] for kind in kinds]
    shown = [[value if value > 0 else "?" for value in shape] for shape in shapes]
    one = len(inputs) == 1 and len(shapes[0]) == 4 and kinds[0].elem_type == _FLOAT
    if not one or shapes[0][1] < 1 or (shapes[0][1] > 3 >= shapes[0][3] > 0):
        raise OrbitLensError(
            subject,
            expected="one input of images in float32, [n, channels, height, width]",
            received=" and ".join(
                f"{each.name} {shape} of type {kind.elem_type}"
                for each, shape, kind in zip(inputs, shown, kinds, strict=True)
            )
            or "none",
            remedy=f"export it in this form, or {_IN_PYTHON}",
        )
    _, channels, height, width = shapes[0]
    return channels, (height, width) if height > 0 and width > 0 else None


def _constants_as_weights(graph: Any, numpy_helper: Any) -> None:
    """Move tensors from nodes of type Constant to the weights, where converters look for them."""
    for node in [each for each in graph.node if each.op_type == "Constant"]:
        tensors = [field.t for field in node.attribute if field.name == "value"]
        if tensors:
            numbers = numpy_helper.to_array(tensors[0])
            graph.initializer.append(numpy_helper.from_array(numbers, node.output[0]))
            graph.node.remove(node)
