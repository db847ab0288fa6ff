"""What an irrep is called in plain words."""

import math

from orbitlens.reps.base import Representation

_CLOSE = 1e-6


def irrep_label(irrep: Representation) -> str:
    """Say what a feature does that is in one irrep, by what the generators do to it.

    Args:
        irrep: A real irreducible representation.

    Returns:
        "unchanged"; "changes sign under r and s"; "turns with r", or "turns 2 times with r", where
        a turn of the generator turns a plane once or twice; else the dimension alone.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> from orbitlens.reps import irreps
        >>> [irrep_label(irrep) for irrep in irreps(dihedral(4))][1:4:2]
        ['changes sign under s', 'changes sign under r and s']
    """
    group = irrep.group
    names = {group.element_names[g]: g for g in group.generators}
    if irrep.dim == 1:
        flipped = [name for name, g in names.items() if irrep.character[g] < 0]
        return f"changes sign under {' and '.join(flipped)}" if flipped else "unchanged"
    if irrep.dim == 2:
        for name, g in names.items():
            order = group.element_order(g)
            turns = math.acos(max(-1.0, min(1.0, float(irrep.character[g]) / 2))) * order
            k = round(turns / (2 * math.pi))
            if 0 < 2 * k < order and abs(turns - 2 * math.pi * k) < _CLOSE * order:
                return f"turns with {name}" if k == 1 else f"turns {k} times with {name}"
    return f"{irrep.dim} dimensions that move together"
