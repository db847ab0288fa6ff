"""Groups by their names, for configuration files and commands."""

import math
import re
from functools import reduce

from orbitlens.errors import OrbitLensError
from orbitlens.groups._laws import LARGEST_ORDER
from orbitlens.groups.base import Group
from orbitlens.groups.octahedral import octahedral
from orbitlens.groups.permutation import symmetric
from orbitlens.groups.product import product
from orbitlens.groups.turns import cyclic, dihedral

_FAMILIES = {"C": cyclic, "D": dihedral, "S": symmetric}


def from_name(name: str) -> Group:
    """Return the group with a given name: "C", "D" or "S" and a number, "O" or "Oh", joined by "x".

    Args:
        name: For example "C4", "D4", "S3", "O" or "C2xC3"; upper or lower case.

    Returns:
        The group; a name with "x" gives the direct product.

    Raises:
        OrbitLensError: If the name has another form, or the group more than 4,096 elements.

    Example:
        >>> from_name("c2xd3").order
        12
    """
    factors = [_factor(factor.strip(), name) for factor in name.upper().split("X")]
    order = math.prod(factor.order for factor in factors)
    if order > LARGEST_ORDER:
        raise OrbitLensError(
            "`group`",
            expected=f"at most {LARGEST_ORDER} elements",
            received=f"{order} of {name}",
            remedy="choose a smaller group",
        )
    return reduce(product, factors)


def _factor(factor: str, name: str) -> Group:
    if factor in ("O", "OH"):
        return octahedral(inversion=factor == "OH")
    match = re.fullmatch(r"([CDS])([1-9]\d{0,3})", factor)
    if match is None:
        raise OrbitLensError(
            "`group`",
            expected="C or D and a number from 1, S and a number to 6, O or Oh, joined by x",
            received=repr(name),
            remedy="write for example C4 (quarter turns), D4 (with flips) or C2xC2",
        )
    return _FAMILIES[match[1]](int(match[2]))
