"""The widths that give a network a wanted number of parameters."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from orbitlens.checks import as_count
from orbitlens.errors import out_of_range

_SHARE = 0.05  # networks that are compared differ by no more of their budget


def learned_numbers(
    dim: int, widths: Sequence[int], outputs: int, *, order: int, banks: int, frozen: bool
) -> int:
    """Return how many numbers a trunk and its head learn; a plain network has order and banks 1."""
    sizes = [dim, *widths, outputs]
    # A lifting layer has no sum over the group.
    sums = [1, *[order] * len(widths)]
    filters = sum(banks * a * b * n for (a, b), n in zip(pairwise(sizes), sums, strict=True))
    weights = 0 if frozen else banks * order * len(sums)
    return filters + sum(sizes[1:]) + weights


def fitted_widths(
    count: Callable[[tuple[int, ...]], int], parameters: int, layers: int
) -> tuple[int, ...]:
    """Return the widths, equal up to 1, whose count is nearest to a budget."""
    wanted, depth = as_count("parameters", parameters), as_count("layers", layers)

    def widths(total: int) -> tuple[int, ...]:
        wide, more = divmod(total, depth)
        return (wide + 1,) * more + (wide,) * (depth - more)

    low, high = depth, 2 * depth
    while count(widths(high)) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(widths(middle)) < wanted else (low, middle)
    nearest = min((low, high), key=lambda total: abs(count(widths(total)) - wanted))
    found = count(widths(nearest))
    if abs(found - wanted) > _SHARE * wanted:
        raise out_of_range(
            "parameters",
            f"a budget that networks of this kind meet within {_SHARE:.0%}",
            wanted,
            f"the nearest one learns {found} numbers; give a larger budget or fewer layers",
        )
    return widths(nearest)
