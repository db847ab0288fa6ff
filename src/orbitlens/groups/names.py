"""Groups by their names, such as "C2xC3", and the direct product that "x" stands for."""

import math
import re
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

from orbitlens.errors import OrbitLensError
from orbitlens.groups._laws import LARGEST_N, LARGEST_ORDER
from orbitlens.groups.base import Group
from orbitlens.groups.octahedral import octahedral
from orbitlens.groups.permutation import symmetric
from orbitlens.groups.turns import cyclic, dihedral

_LONG = 40


class _Factor(NamedTuple):
    """A group that a name stands for, before it is built."""

    order: int
    build: Callable[[], Group]


def from_name(name: str) -> Group:
    """Return the group with a given name: "C", "D" or "S" and a number, "O" or "Oh", joined by "x".

    Args:
        name: For example "C4" (4 turns), "D4" (4 turns and their flips, 8 elements), "S3" (the
            permutations of 3), "O" (the 24 turns of a cube), "Oh" (its 48 symmetries) or "C2xC3";
            upper or lower case, with "x" or "×".

    Returns:
        The group; a name with "x" gives the direct product.

    Raises:
        OrbitLensError: If the name has another form, or the group more than 4,096 elements.

    Example:
        >>> from_name("c2xd3").order
        12
    """
    text = str(name)
    parts = text.upper().replace("×", "X").split("X")
    factors = [_factor(part.strip(), text) for part in parts]
    _check_order(math.prod(factor.order for factor in factors), text)
    return reduce(product, (factor.build() for factor in factors))


def _check_order(order: int, name: str) -> None:
    if order > LARGEST_ORDER:
        raise OrbitLensError(
            "`group`",
            expected=f"at most {LARGEST_ORDER} elements",
            received=f"{order} of {_short(name)}",
            remedy="choose a smaller group, for example C4",
        )


def as_group(group: Group | str) -> Group:
    """Return a group that is given as such or by its name.

    Raises:
        OrbitLensError: If it is neither.
    """
    if isinstance(group, Group):
        return group
    if isinstance(group, str):
        return from_name(group)
    raise OrbitLensError(
        "`group`",
        expected='a group, or its name such as "C4"',
        received=type(group).__name__,
        remedy="see orbitlens.groups",
    )


def product(left: Group | str, right: Group | str) -> Group:
    """Return the direct product, (g, h)(g', h') = (gg', hh').

    Element i |H| + j is the pair (g_i, h_j).

    Args:
        left: The first factor G, or its name.
        right: The second factor H, or its name.

    Returns:
        The group of order |G| |H|, with elements named "(g, h)".

    Raises:
        OrbitLensError: If the group has more than 4,096 elements.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> product(cyclic(2), cyclic(3)).element_names[4]
        '(r, r)'
    """
    left, right = as_group(left), as_group(right)
    m, n = left.order, right.order
    _check_order(m * n, f"{left.name}x{right.name}")
    table = left.table[:, None, :, None] * n + right.table[None, :, None, :]
    shift = len(left.generators)
    return Group(
        name=f"{left.name}x{right.name}",
        table=table.reshape(m * n, m * n),
        generators=(*(g * n for g in left.generators), *right.generators),
        words=tuple(
            word + tuple(shift + position for position in other)
            for word in left.words
            for other in right.words
        ),
        element_names=tuple(
            f"({g}, {h})" if (g, h) != ("e", "e") else "e"
            for g in left.element_names
            for h in right.element_names
        ),
    )


def _factor(factor: str, name: str) -> _Factor:
    if factor in ("O", "OH"):
        return _Factor(48 if factor == "OH" else 24, partial(octahedral, inversion=factor == "OH"))
    match = re.fullmatch(r"([CDS])([1-9][0-9]*)", factor)
    if match is None:
        raise OrbitLensError(
            "`group`",
            expected="C or D and a number from 1, S and a number to 6, O or Oh, joined by x",
            received=repr(_short(name)),
            remedy="write for example C4 (quarter turns), D4 (with flips) or C2xC2",
        )
    family, digits = match.groups()
    # Python reads no numbers of more than 4,300 digits.
    long = len(digits) > len(str(LARGEST_ORDER))
    if family == "S" and (long or int(digits) > LARGEST_N):
        raise OrbitLensError(
            "`group`",
            expected=f"S1 to S{LARGEST_N}",
            received=_short(name),
            remedy=f"choose a smaller one: S{LARGEST_N} already has {math.factorial(LARGEST_N)} "
            "elements; for larger sets see actions.set_permutation",
        )
    if long:
        raise OrbitLensError(
            "`group`",
            expected=f"at most {LARGEST_ORDER} elements",
            received=_short(name),
            remedy="choose a smaller group, for example C4",
        )
    n = int(digits)
    if family == "S":
        return _Factor(math.factorial(n), partial(symmetric, n))
    return _Factor(n, partial(cyclic, n)) if family == "C" else _Factor(2 * n, partial(dihedral, n))


def _short(name: str) -> str:
    return name if len(name) <= _LONG else f"{name[:_LONG]}..."
