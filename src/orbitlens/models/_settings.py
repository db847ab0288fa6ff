"""The arguments that a network was built with, kept so that the same network can be built again."""

import inspect
from collections.abc import Mapping
from functools import wraps
from typing import Any, TypeVar

from torch import nn

_Network = TypeVar("_Network", bound=type[nn.Module])
_SETTINGS = "_orbitlens_settings"


def keeps_settings(cls: _Network) -> _Network:
    """Let a class remember the arguments of its networks, so that `orbitlens.save` can keep them.

    The arguments are those of the call, with the defaults of that version written out. A class
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
        build(self, *args, **keywords)
        bound = signature.bind(self, *args, **keywords)
        bound.apply_defaults()
        # Past nn.Module, which would take a network among the arguments for a submodule.
        self.__dict__[_SETTINGS] = dict(list(bound.arguments.items())[1:])

    cls.__init__ = remembering  # type: ignore[method-assign]
    return cls


def settings_of(network: nn.Module) -> Mapping[str, Any] | None:
    """Return the arguments that a network was built with; None if its class keeps none."""
    found: Mapping[str, Any] | None = network.__dict__.get(_SETTINGS)
    return found
