"""Names of groups as users write them."""

import math
import re
from functools import reduce

from orbitlens.errors import OrbitLensError
from orbitlens.groups.base import Group
from orbitlens.groups.cyclic import cyclic
from orbitlens.groups.dihedral import dihedral
from orbitlens.groups.octahedral import octahedral
from orbitlens.groups.permutation import symmetric
from orbitlens.groups.product import product

_LARGEST = 4096
_FAMILIES = {"C": cyclic, "D": dihedral, "S": symmetric}


def from_name(name: str) -> Group:
    """Return the group called `name`: "C", "D" or "S" with a number, "O" or "Oh", joined by "x".

    Args:
        name: Such as "C4", "D4", "S3", "O" or "C2xC3"; case does not matter.

    Raises:
        OrbitLensError: If the name is not of this form.

    Example:
        >>> from_name("c2xd3").order
        12
    """
    factors = [_factor(factor.strip(), name) for factor in name.upper().split("X")]
    order = math.prod(factor.order for factor in factors)
    if order > _LARGEST:
        raise OrbitLensError(
            "`group`",
            expected=f"at most {_LARGEST} elements",
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
