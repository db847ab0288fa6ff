"""Words for how much of the variance is predicted, and the only place where they are defined.

The word of an R^2 that is above 0 is the first whose bound it reaches:

    exactly   R^2 >= 0.9999
    nearly    R^2 >= 0.9
    mostly    R^2 >= 0.5
    partly    R^2 >= 0.2
    weakly    R^2 > 0
"""

BANDS = {"exactly": 0.9999, "nearly": 0.9, "mostly": 0.5, "partly": 0.2, "weakly": 0.0}
"""Each word and the lowest R^2 of its band, from the best band to the worst."""


def bands_of(low: float, high: float) -> str:
    """Return the word for an R^2 that lies from `low` to `high`; two words if it crosses a bound.

    Args:
        low: Lower end of the interval of R^2.
        high: Upper end of the interval of R^2.

    Returns:
        One word of `BANDS`, or the words of both ends, the lower one first.

    Example:
        >>> bands_of(0.93, 0.95), bands_of(0.88, 0.91), bands_of(0.1, 0.6)
        ('nearly', 'mostly to nearly', 'weakly to mostly')
    """
    return " to ".join(dict.fromkeys((_band(low), _band(high))))


def _band(r2: float) -> str:
    return next((word for word, least in BANDS.items() if r2 >= least), "weakly")
