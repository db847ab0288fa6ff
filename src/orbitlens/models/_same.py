"""Whether a network that was saved and read back is built as the one that was saved."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from orbitlens.checks import bytes_of
from orbitlens.errors import OrbitLensError

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_NONE, _LONGEST = "none", 80


def check_same_build(network: nn.Module, again: nn.Module) -> None:
    """Refuse a network that is not what its arguments build: something was changed afterwards.

    Compared are the classes of all layers, their plain attributes and the number of their hooks,
    the type and shape of each tensor, and which of them are one and the same.

    Raises:
        OrbitLensError: If one of these differs.
    """
    found, wanted = _told(network), _told(again)
    for name in {**wanted, **found}:
        if found.get(name) != wanted.get(name):
            raise OrbitLensError(
                f"`thing` to save, {name}",
                expected=f"{_short(wanted.get(name))}, as its arguments build it",
                received=_short(found.get(name)),
                remedy="build the network with it, or write a function that builds it and loads "
                "its weights; commands take that as python:FILE.py:FUNCTION",
            )


def _told(network: nn.Module) -> dict[str, Any]:
    """Return what makes up a network beside its numbers, each under a name in plain words."""
    told: dict[str, Any] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        place = f"layer {name!r}" if name else "the network"
        told[place] = type(module).__qualname__
        told |= {f"{key} of {place}": value for key, value in _attributes(module)}
        told[f"hooks of {place}"] = sum(len(getattr(module, key, ())) for key in _HOOKS)
    for name, tensor in network.state_dict(keep_vars=True).items():
        told[f"tensor {name!r}"] = f"{tensor.dtype} {list(tensor.shape)}"
    return told | _shared(network.named_parameters(remove_duplicate=False))


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for key, value in vars(module).items():
        if not key.startswith("_") and key != "training":
            yield key, _plain(value)


def _plain(value: Any) -> Any:
    """Return a number, a text or a list of these in words, and of anything else its class."""
    match value:
        case torch.Tensor():
            return [
                str(value.dtype),
                list(value.shape),
                hashlib.sha256(bytes_of(value).data).hexdigest(),
            ]
        case np.ndarray() if value.dtype.kind in "biuf":
            return _plain(torch.from_numpy(value.copy()))
        case np.generic():
            return _plain(value.item())
        case bool() | int() | float() | str() | None:
            return repr(value)
        case list() | tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
    return type(value).__qualname__


def _shared(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, str]:
    """Return, for each tensor, under which earlier name it stands too, if any."""
    first: dict[int, str] = {}
    shared = {}
    for name, tensor in tensors:
        earlier = first.setdefault(id(tensor), name)
        own = earlier == name
        shared[f"weights {name!r}"] = "its own" if own else f"the same as {earlier!r}"
    return shared


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else _NONE if value is None else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
