"""What a group does to a direction, as one short sentence."""

import math
from collections.abc import Sequence
from functools import lru_cache

from orbitlens.groups import Group, cyclic, dihedral
from orbitlens.reps import irrep_label, irreps

_MOST, _ALL = 2 / 3, 0.99
_LONGEST = 3
_NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    "twelve",
)
_TURNS = {2: "a half turn", 3: "a third of a turn", 4: "a quarter turn"}


def symmetry_sentence(group: Group, stabiliser: Sequence[int], shares: Sequence[float]) -> str:
    """Say which elements leave a direction alone, and how most of it moves under the others.

    A direction is called oriented if no turn leaves it alone; in a group that is neither cyclic nor
    dihedral, if no element does.

    Args:
        group: The group.
        stabiliser: The elements that leave the direction alone, a subgroup, in rising order.
        shares: Share of the direction in each of `irreps(group)`. An irrep is named if it holds
            two thirds, and without "mostly" from 99% on.

    Returns:
        The sentence, without a capital or a full stop.

    Example:
        >>> symmetry_sentence(dihedral(4), [0, 4], [0.05, 0.0, 0.0, 0.0, 0.95])
        'oriented, four-fold; unchanged by the flip s; mostly turns with r'
        >>> symmetry_sentence(cyclic(4), [0, 2], [0.5, 0.5, 0.0])
        'two-fold: unchanged by a half turn'
    """
    if len(stabiliser) == group.order:
        return "invariant: the same in every orientation"
    fold = _fold(group.order // len(stabiliser))
    turns = _turns(group) or group.order
    if shares[0] >= _MOST:
        head = f"mostly invariant, {fold}"
    elif not any(0 < h < turns for h in stabiliser):
        head = f"oriented, {fold}"
    else:
        head = fold
    tail = "; ".join(filter(None, (_unchanged(group, stabiliser), _moves(group, shares))))
    return f"{head}{';' if ',' in head else ':'} {tail}" if tail else head


def element_phrase(group: Group, g: int) -> str:
    """Call an element by what it does in groups of turns and flips, elsewhere by its name.

    Args:
        group: The group.
        g: Index of the element.

    Example:
        >>> [element_phrase(dihedral(4), g) for g in (0, 1, 3, 6)]
        ['e', 'a quarter turn', '3/4 of a turn', 'the flip r^2 s']
    """
    name, turns = group.element_names[g], _turns(group)
    if g == 0:
        return name
    if turns is None:
        return f"({name})" if " " in name and not name.startswith("(") else name
    if g >= turns:
        return f"the flip {name}"
    part, whole = g // math.gcd(g, turns), turns // math.gcd(g, turns)
    return _TURNS[whole] if part == 1 and whole in _TURNS else f"{part}/{whole} of a turn"


@lru_cache(maxsize=64)
def _turns(group: Group) -> int | None:
    """How many of the elements, the first ones, are turns; None unless the group is C_n or D_n."""
    if group == cyclic(group.order):
        return group.order
    half = group.order // 2
    return half if half and group == dihedral(half) else None


def _fold(size: int) -> str:
    return f"{_NUMBERS[size - 1] if size <= len(_NUMBERS) else size}-fold"


def _unchanged(group: Group, stabiliser: Sequence[int]) -> str:
    """Name elements that generate the stabiliser, or their number where they are many."""
    chosen = _generators(group, stabiliser)
    if not chosen:
        return ""
    if len(chosen) > _LONGEST:
        return f"unchanged by {len(stabiliser)} of the {group.order} elements"
    *others, last = [element_phrase(group, g) for g in chosen]
    return f"unchanged by {', '.join(others) + ' and ' if others else ''}{last}"


def _generators(group: Group, subgroup: Sequence[int]) -> list[int]:
    """Choose elements, first come first, that none of those before them make."""
    chosen: list[int] = []
    made = {0}
    for h in subgroup:
        if h in made:
            continue
        chosen.append(h)
        fresh = made
        while fresh:
            products = {group.multiply(a, b) for a in fresh for b in chosen}
            fresh = products - made
            made = made | fresh
    return chosen


def _moves(group: Group, shares: Sequence[float]) -> str:
    """Say what most of the direction does, where that is to move in one way."""
    for irrep, share in zip(irreps(group)[1:], shares[1:], strict=True):
        if share >= _MOST:
            label = irrep_label(irrep)
            what = f"in {label}" if label[0].isdigit() else label
            return what if share >= _ALL else f"mostly {what}"
    return ""
