"""Single numbers at the door."""

import math
import numbers
import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitlens.errors import OrbitLensError, out_of_range

_LARGEST_SEED = 2**63 - 1


def as_count(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """Return a whole number from `least` to `most` as an int; booleans and fractions are errors.

    NumPy's whole numbers are taken, and floats without a fraction such as 4.0.
    """
    span = f"at least {least}" if most is None else f"from {least} to {most}"
    value = _plain(value)
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        if isinstance(value, bool | np.bool_) or _is_tensor(value):
            raise TypeError
        count = operator.index(whole)  # type: ignore[arg-type]
    except TypeError:
        raise out_of_range(name, f"a whole number, {span}", _short(value)) from None
    if count < least or (most is not None and count > most):
        raise out_of_range(name, span, count)
    return count


def as_number(name: str, value: object, expected: str = "a finite number") -> float | int:
    """Return a finite number as a float or an int; booleans, text and arrays are errors.

    `expected` is for the error message; the caller checks the range that it names.
    """
    value = _plain(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise out_of_range(name, expected, _short(value))
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        finite = False
    if not finite:
        raise out_of_range(name, expected, _short(value))
    number: Any = value
    return number if type(number) in (int, float) else float(number)


def as_seed(value: object, name: str = "seed", *, most: int = _LARGEST_SEED) -> int:
    """Return a seed as an int, 0 or more; None is an error, since nothing could be made again."""
    try:
        return as_count(name, value, least=0, most=most)
    except OrbitLensError:
        span = f"a whole number from 0 to 2^{most.bit_length()} - 1"
        remedy = "give a seed, so that the result can be made again"
        raise out_of_range(name, span, _short(value), remedy) from None


def as_switch(name: str, value: object) -> bool:
    """Return True or False, given as a boolean of Python or NumPy; truth of other kinds is none."""
    if not isinstance(value, bool | np.bool_):
        raise out_of_range(name, "True or False", _short(value), "give one of the two")
    return bool(value)


def as_text(name: str, value: object) -> str:
    """Return a text; names of other kinds are errors."""
    if not isinstance(value, str):
        raise out_of_range(name, "a text", _short(value), "write it as a string")
    return str(value)


def as_texts(name: str, value: object) -> tuple[str, ...]:
    """Return a list of texts as a tuple; a text alone is an error, not a list of its letters."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise out_of_range(name, "a list of texts", _short(value), "put them into a list")
    return tuple(as_text(name, each) for each in value)


def _plain(value: Any) -> object:
    """Return the number in an array or tensor without axes; anything else as it is."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.item()
    if _is_tensor(value) and value.ndim == 0 and not value.is_meta:
        return value.item()
    return value


def _is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of torch, without loading torch for values that are none.

    Wrong words on the command line are told before torch has loaded.
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"a {type(value).__name__}"
