"""The one reader of what a layer puts out: find its only tensor, and put another in its place.

An output is a tensor, or holds its only tensor first: a tuple, a named tuple, a list, a mapping, an
output class of transformers or a dataclass.
"""

import copy
from collections.abc import Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError
from orbitlens.models import network_of_views


def only_tensor(output: Any) -> Float[Tensor, "..."] | None:
    """Return the only floating tensor of a layer's output; None if there is no such tensor.

    It must be the output itself or come first in it.
    """
    parts = _parts(output)
    if parts is not None:
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if len(tensors) == 1 and parts[0] is tensors[0]:
            output = tensors[0]
    return output if isinstance(output, Tensor) and _is_usable(output) else None


def with_tensor(output: Any, tensor: Float[Tensor, "..."], name: str) -> Any:
    """Return the output of a layer with its only tensor replaced; the given output stays."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, tuple):
        values = (tensor, *output[1:])
        return output._make(values) if hasattr(output, "_make") else type(output)(values)
    if isinstance(output, MutableMapping | list) or is_dataclass(output):
        changed: Any = copy.copy(output)
        if isinstance(output, MutableMapping):
            changed[next(iter(output))] = tensor
        elif isinstance(output, list):
            changed[0] = tensor
        else:
            object.__setattr__(changed, fields(output)[0].name, tensor)
        return changed
    raise OrbitLensError(
        f"layer {name!r}",
        expected="an output in which a tensor can be replaced",
        received=kind_of(output),
        remedy="choose one of its submodules, or a layer after it",
    )


def kind_of(output: Any) -> str:
    """Return the type of a layer's output in words."""
    kind = type(output).__name__
    if isinstance(output, Tensor):
        kind = str(output.dtype) + (", nested" if output.is_nested else "")
        kind += "" if output.layout == torch.strided else f", {output.layout}"
    parts = _parts(output)
    if parts is not None:
        kind += f" of ({', '.join(type(part).__name__ for part in parts)})"
    return kind


def row_per_input(
    output: Any, name: str, rows: int, model: nn.Module
) -> Float[Tensor, "batch *rest"]:
    """Return the only tensor of the output of a layer, if it has a row for each input."""
    tensor = only_tensor(output)
    if tensor is None:
        raise OrbitLensError(
            f"layer {name!r} whose output is not a tensor",
            expected="one dense floating point tensor, alone or the only one of a tuple, list, "
            "mapping or record and its first entry",
            received=kind_of(output),
            remedy="choose one of its submodules, or a layer after it",
        )
    if tensor.ndim == 0 or len(tensor) != rows:
        many = network_of_views(model, name)
        raise OrbitLensError(
            f"layer {name!r}",
            expected=f"an output with one row for each of {rows} inputs",
            received=f"shape {list(tensor.shape)}",
            remedy="choose a layer that keeps the batch as its first axis"
            if many is None
            else of_many_views(many),
        )
    return tensor


def of_many_views(network: str) -> str:
    """Return what to do about a layer of a network that sees several views of each input."""
    return (
        f"{network!r} sees several views of each input: look into it by itself, "
        f"model.get_submodule({network!r})"
    )


def _is_usable(output: Tensor) -> bool:
    dense = output.layout == torch.strided and not output.is_nested
    return output.is_floating_point() and dense


def _parts(output: Any) -> list[Any] | None:
    if isinstance(output, Mapping):
        return list(output.values())
    if isinstance(output, (tuple, list)):
        return list(output)
    if is_dataclass(output) and not isinstance(output, type):
        return [getattr(output, field.name) for field in fields(output)]
    return None
