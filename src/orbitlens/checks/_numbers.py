"""Single numbers at the door."""

import operator

from orbitlens.errors import out_of_range


def as_count(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """Return a whole number from `least` to `most` as an int; booleans and fractions are errors.

    NumPy's whole numbers are taken, and floats without a fraction such as 4.0.
    """
    span = f"at least {least}" if most is None else f"from {least} to {most}"
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(whole)  # type: ignore[arg-type]
    except TypeError:
        raise out_of_range(name, f"a whole number, {span}", repr(value)) from None
    if count < least or (most is not None and count > most):
        raise out_of_range(name, span, count)
    return count
