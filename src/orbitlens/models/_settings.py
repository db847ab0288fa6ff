"""The arguments that a network was built with, kept so that the same network can be built again."""

import inspect
from collections.abc import Mapping
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

_Network = TypeVar("_Network", bound=type[nn.Module])
_SETTINGS = "_orbitlens_settings"


def keeps_settings(cls: _Network) -> _Network:
    """Let a class remember the arguments of its networks, so that `orbitlens.save` can keep them.

    The arguments are those of the call, with the defaults of that version written out; lists and
    arrays among them are copied, so that they may change afterwards. A class
    whose arguments are numbers, text, groups, representations, or networks that remember theirs,
    can be decorated; what cannot be kept is told by `save`.

    Example:
        >>> @keeps_settings
        ... class Scale(nn.Module):
        ...     def __init__(self, factor: float = 2.0) -> None:
        ...         super().__init__()
        >>> settings_of(Scale())
        {'factor': 2.0}
    """
    build, signature = cls.__init__, inspect.signature(cls.__init__)

    @wraps(build)
    def remembering(self: nn.Module, *args: Any, **keywords: Any) -> None:
        copies, named = _copy(args), _copy(keywords)
        build(self, *args, **keywords)
        bound = signature.bind(self, *copies, **named)
        bound.apply_defaults()
        # Past nn.Module, which would take a network among the arguments for a submodule.
        self.__dict__[_SETTINGS] = dict(list(bound.arguments.items())[1:])

    cls.__init__ = remembering  # type: ignore[method-assign]
    return cls


def _copy(value: Any) -> Any:
    """Return an argument that does not change with the one that was given.

    Networks among the arguments are no copies; their own settings tell how they are built.
    """
    match value:
        case torch.Tensor():
            return value.detach().clone()
        case np.ndarray():
            return value.copy()
        case list() | tuple():
            parts = [_copy(each) for each in value]
            return parts if isinstance(value, list) else tuple(parts)
        case dict():
            return {key: _copy(each) for key, each in value.items()}
    return value


def settings_of(network: nn.Module) -> Mapping[str, Any] | None:
    """Return the arguments that a network was built with; None if its class keeps none."""
    found: Mapping[str, Any] | None = network.__dict__.get(_SETTINGS)
    return found
