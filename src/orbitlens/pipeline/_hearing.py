"""The verbs hear the warnings of the library from their start to their end."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from orbitlens.pipeline.console import Console

_P = ParamSpec("_P")
_R = TypeVar("_R")


def hears_warnings(verb: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let the `console` of a verb, a keyword, hear its warnings."""

    @wraps(verb)
    def heard(*arguments: _P.args, **named: _P.kwargs) -> _R:
        console = named["console"]
        if not isinstance(console, Console):
            raise TypeError(f"a console was expected, not {console!r}")
        with console.hearing():
            return verb(*arguments, **named)

    return heard
