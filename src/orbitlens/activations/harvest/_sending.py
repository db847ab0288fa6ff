"""Tensors on their way to another process: as bytes through a pipe.

The way of torch is shared memory, of which a container may have 64 MiB, with a file descriptor for
every tensor, of which a process may have a thousand; and a process that is killed leaves it behind.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn

Packed = tuple[str, tuple[int, ...], UInt8[np.ndarray, " bytes"]]
Place = tuple[str, str, str]
_KINDS = ("_parameters", "_buffers")


def packed(tensor: Shaped[Tensor, "*axes"]) -> Packed:
    """Return type, shape and bytes of a tensor.

    Example:
        >>> packed(torch.ones(1, 2, dtype=torch.bfloat16))[:2]
        ('bfloat16', (1, 2))
    """
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), flat


def unpacked(content: Packed) -> Shaped[Tensor, "*axes"]:
    """Return the tensor that was packed."""
    kind, shape, flat = content
    dtype: Any = getattr(torch, kind)
    if flat.size == 0:
        return torch.empty(shape, dtype=dtype)  # torch views no empty bytes as numbers
    # A copy: in the memory of torch products round as they do where the tensor comes from.
    return torch.from_numpy(flat).clone().view(dtype).reshape(shape)


def weights(model: nn.Module) -> tuple[list[Tensor], list[tuple[Place, int]]]:
    """Return the parameters and buffers of a network, each once, and every place of each."""
    tensors: list[Tensor] = []
    indices: dict[int, int] = {}
    places = []
    for path, module in model.named_modules():
        for kind in _KINDS:
            for name, tensor in getattr(module, kind).items():
                if tensor is None:
                    continue
                if id(tensor) not in indices:
                    indices[id(tensor)] = len(tensors)
                    tensors.append(tensor)
                places.append(((path, kind, name), indices[id(tensor)]))
    return tensors, places


@contextmanager
def hollow(model: nn.Module) -> Iterator[None]:
    """Take the parameters and buffers out of a network, and put them back at the end."""
    tensors, places = weights(model)
    try:
        for place, _ in places:
            _put(model, place, None)
        yield
    finally:
        fill(model, tensors, places)


def fill(model: nn.Module, tensors: Sequence[Tensor], places: Sequence[tuple[Place, int]]) -> None:
    """Put parameters and buffers where they were."""
    for place, index in places:
        _put(model, place, tensors[index])


def _put(model: nn.Module, place: Place, tensor: Tensor | None) -> None:
    path, kind, name = place
    getattr(model.get_submodule(path), kind)[name] = tensor
