"""Single numbers at the door."""

from orbitlens.checks import as_number
from orbitlens.errors import out_of_range


def as_discount(gamma: object) -> float:
    """Return a discount, from 0 to less than 1."""
    number = as_number("gamma", gamma)
    if not 0 <= number < 1:
        raise out_of_range("gamma", "0 <= gamma < 1", number)
    return float(number)


def as_size(name: str, value: object) -> float:
    """Return a number that is not negative."""
    number = as_number(name, value)
    if number < 0:
        raise out_of_range(name, "at least 0", number)
    return float(number)
