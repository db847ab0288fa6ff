"""The change that mends the given maps: all elements fit far better, and stay a group."""

from dataclasses import dataclass

from orbitlens.symmetry.check._controls import Move, same
from orbitlens.symmetry.check._judgement import SYMMETRIC, Errors, Judgement
from orbitlens.symmetry.check._maps import Maps
from orbitlens.symmetry.check._spaces import Array, Rollouts

_TRIED = 16  # states on which products of elements are compared


@dataclass(frozen=True)
class Mended:
    """A change of the maps.

    Args:
        name: What it changes, and under which elements if not under all but the identity.
        miss: What the worst element misses by after the change.
    """

    name: str
    miss: float


def mended(judgement: Judgement, maps: Maps, seen: Rollouts) -> Mended | None:
    """Return the change of one sign, or swap of two actions, that mends the maps best, or None.

    A change may be right for some elements only: if r should turn a sign over, so should r^3, but
    r^2 should not.
    """
    if judgement.verdict == SYMMETRIC:
        return None
    found: list[Mended] = []
    for change in judgement.wrong:
        parts = [min(pair, key=judgement.miss) for pair in zip(judgement.own, change, strict=True)]
        for errors in (change, parts):
            miss = max(map(judgement.miss, errors))
            named = all(each.move.name for each in change)
            if named and judgement.fits_better(miss) and _is_group(maps, errors, seen):
                found.append(Mended(_name(maps, errors), miss))
    return min(found, key=lambda each: each.miss, default=None)


def _is_group(maps: Maps, errors: list[Errors], seen: Rollouts) -> bool:
    """Return whether products of the changed elements are those of the group."""
    states, actions = seen.states[:_TRIED], seen.actions[:_TRIED]

    def moved(move: Move, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        return move.states(maps, pair[0]), move.actions(maps, pair[1])

    once = [(states, actions), *(moved(each.move, (states, actions)) for each in errors)]
    return all(
        same(moved(errors[g - 1].move, once[h]), once[maps.group.table[g, h]])
        for g in range(1, maps.group.order)
        for h in range(1, maps.group.order)
    )


def _name(maps: Maps, errors: list[Errors]) -> str:
    changed = [each.move for each in errors if each.move.name]
    if len(changed) == len(errors):
        return changed[0].name
    elements = [maps.group.element_names[each.element] for each in changed]
    return f"{changed[0].name} under {' and '.join(elements)}"
