"""Numbers as they are read: three significant digits, and an honest word for what is none."""

import math
from typing import Any

_ABSENT = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def finite(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else.

    Example:
        >>> finite(3), finite(float("nan")), finite(None)
        (3.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def figure(value: Any) -> str:
    """Write a number with three significant digits; counts in full.

    Example:
        >>> figure(98304), figure(0.02234), figure(2.0e-07), figure(None), figure(float("nan"))
        ('98,304', '0.0223', '2.0e−7', '–', 'not finite')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _ABSENT
    if not math.isfinite(value):
        return "not finite"
    if isinstance(value, int):
        return f"{value:,}".replace("-", _MINUS)
    size = abs(value)
    if size == 0:
        return "0"
    if not 1e-4 <= size < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", _MINUS)
    decimals = max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{decimals}f}".replace("-", _MINUS)


def score(value: Any) -> str:
    """Write a score that is at best 1 (R^2, F1, an accuracy) with three decimals.

    Example:
        >>> score(0.99647), score(-0.2), score(None)
        ('0.996', '−0.200', '–')
    """
    number = finite(value)
    if number is None or abs(number) >= 100:
        return figure(value)
    return f"{number:.3f}".replace("-", _MINUS)


def percent(value: Any) -> str:
    """Write a share as a percentage.

    Example:
        >>> percent(0.998), percent(1.0), percent(0.0004), percent(0)
        ('99.8%', '100%', '<0.1%', '0%')
    """
    number = finite(value)
    if number is None:
        return figure(value)
    if 0 < number < 5e-4:
        return "<0.1%"
    if number in (0.0, 1.0):
        return f"{100 * number:.0f}%"
    return f"{100 * number:.1f}%".replace("-", _MINUS)


def duration(seconds: Any) -> str:
    """Write a time that a person can compare.

    Example:
        >>> duration(0.31), duration(80.0), duration(200.0), duration(7260.0)
        ('0.3 s', '80.0 s', '3 min 20 s', '2 h 1 min')
    """
    number = finite(seconds)
    if number is None:
        return figure(seconds)
    if number < 120:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
