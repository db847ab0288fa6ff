"""Single numbers at the door."""

import math
import numbers
import operator
from typing import Any

import numpy as np
from torch import Tensor

from orbitlens.errors import OrbitLensError, out_of_range

_LARGEST_SEED = 2**63 - 1


def as_count(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """Return a whole number from `least` to `most` as an int; booleans and fractions are errors.

    NumPy's whole numbers are taken, and floats without a fraction such as 4.0.
    """
    span = f"at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        if isinstance(value, bool | np.bool_ | Tensor):
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
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise out_of_range(name, expected, _short(value))
    if not math.isfinite(value):
        raise out_of_range(name, expected, value)
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


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"a {type(value).__name__}"
