"""Which groups act on images: told by names alone, before anything heavy loads."""

from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups.base import Group
from orbitlens.groups.turns import turns_and_flips

EXACT_TURNS = (1, 2, 4)
_EXACT_NAMES = "C1, C2, C4, D1, D2, D4"


def turns_of_images(group: Group, interpolation: str | None) -> int:
    """Return how many turns a group makes of an image; refuse one that cannot turn images.

    Example:
        >>> from orbitlens.groups.turns import dihedral
        >>> turns_of_images(dihedral(4), None)
        4
    """
    known = turns_and_flips(group)
    if known is None:
        raise OrbitLensError(
            "`group` of images",
            expected="C_n or D_n with its elements in the order of groups.cyclic, groups.dihedral",
            received=group.name,
            remedy="choose one of these, such as C4 or D4",
        )
    if interpolation not in (None, "bilinear"):
        raise unknown_name("`interpolation`", str(interpolation), ["bilinear"])
    if interpolation is None and known[0] not in EXACT_TURNS:
        raise OrbitLensError(
            f"group {group.name} cannot move pixels exactly: `group` of images",
            expected=f"one of {_EXACT_NAMES}",
            received=group.name,
            remedy='choose one of these, or pass interpolation="bilinear" '
            "(command line: --interpolation bilinear)",
        )
    return known[0]
