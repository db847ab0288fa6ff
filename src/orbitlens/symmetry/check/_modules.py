"""The networks in a function: what it is, or what its closure and its names hold."""

import inspect
from collections.abc import Iterator
from functools import partial
from types import FunctionType, MethodType

from torch import nn

_DEEP = 3  # functions within functions


def modules_in(function: object) -> list[nn.Module]:
    """Return the network that a function is, or those that it is seen to use."""
    return list({id(each): each for each in _held(function, _DEEP)}.values())


def _held(thing: object, deep: int) -> Iterator[nn.Module]:
    if isinstance(thing, nn.Module):
        yield thing
    elif deep > 0:
        for each in _parts(thing):
            yield from _held(each, deep - 1)


def _parts(thing: object) -> list[object]:
    """Return what a function has at hand; nothing for anything else."""
    match thing:
        case partial():
            return [thing.func, *thing.args, *thing.keywords.values()]
        case MethodType():
            owner = [thing.__self__]
            return [*owner, *getattr(thing.__self__, "__dict__", {}).values(), thing.__func__]
        case FunctionType():
            try:
                names = inspect.getclosurevars(thing)
            except ValueError:  # a name of the closure that has no value yet
                return []
            defaults = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
            return [*names.nonlocals.values(), *names.globals.values(), *defaults]
    return []
