"""The action of a group on a direction, as one short sentence."""

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


def symmetry_sentence(
    group: Group, stabiliser: Sequence[int], shares: Sequence[float], words: Sequence[str] = ()
) -> str:
    """Say which elements leave a direction unchanged, and how most of it moves under the others.

    A direction is oriented if no turn leaves it unchanged; in a group that is neither cyclic nor
    dihedral, if no element does. An irrep is named if it holds two thirds of the direction, and
    without "mostly" from 99% on. `words` say what each element does to an input.
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
    tail = "; ".join(filter(None, (_unchanged(group, stabiliser, words), _moves(group, shares))))
    return f"{head}{';' if ',' in head else ':'} {tail}" if tail else head


def element_phrase(group: Group, g: int, words: Sequence[str] = ()) -> str:
    """Give the name of an element and, in brackets, what it does, where that is known."""
    name, told = group.element_names[g], words[g] if words else ""
    if told and told != name:
        return f"{name} {told}" if told.startswith("(") else f"{name} ({told})"
    return f"({name})" if " " in name and not name.startswith("(") else name


@lru_cache(maxsize=64)
def _turns(group: Group) -> int | None:
    """Return the number of turns, which come first; None unless the group is C_n or D_n."""
    if group == cyclic(group.order):
        return group.order
    half = group.order // 2
    return half if half and group == dihedral(half) else None


def _fold(size: int) -> str:
    return f"{_NUMBERS[size - 1] if size <= len(_NUMBERS) else size}-fold"


def _unchanged(group: Group, stabiliser: Sequence[int], words: Sequence[str]) -> str:
    """Name the generators of the stabiliser, or count its elements if there are many."""
    chosen = _generators(group, stabiliser)
    if not chosen:
        return ""
    if len(chosen) > _LONGEST:
        return f"unchanged by {len(stabiliser)} of the {group.order} elements"
    *others, last = [element_phrase(group, g, words) for g in chosen]
    return f"unchanged by {', '.join(others) + ' and ' if others else ''}{last}"


def _generators(group: Group, subgroup: Sequence[int]) -> list[int]:
    """Choose generators in order: elements that the earlier ones do not generate."""
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
    """Name the one way in which most of the direction moves, if there is one."""
    for irrep, share in zip(irreps(group)[1:], shares[1:], strict=True):
        if share >= _MOST:
            label = irrep_label(irrep)
            what = f"in {label}" if label[0].isdigit() else label
            return what if share >= _ALL else f"mostly {what}"
    return ""
