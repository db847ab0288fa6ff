"""The type checker that jaxtyping applies to every function of the package in tests."""

from collections.abc import Callable
from typing import Any

import beartype

_CHECKED: dict[Any, Callable[..., Any]] = {}


def check_calls(stub: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks the arguments of its calls, by beartype.

    Jaxtyping hands stubs to its type checker: they have the signature of a function, and no body.
    It does so whenever a `def` runs, so also each time that a function defines another. One check
    serves all of them that have the same signature; making them anew was half of all the time of
    the tests.

    Args:
        stub: The function with the signature to check.
    """
    code = stub.__code__
    signature = (
        *(stub.__module__, stub.__qualname__),
        *(code.co_varnames, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        *(code.co_flags, code.co_code, code.co_consts),
        *(len(stub.__defaults__ or ()), tuple(stub.__kwdefaults__ or ())),
        tuple(stub.__annotations__.items()),
    )
    try:
        return _CHECKED[signature]
    except KeyError:
        checked = _CHECKED[signature] = beartype.beartype(stub)
        return checked
    except TypeError:  # an annotation that cannot be hashed
        return beartype.beartype(stub)
