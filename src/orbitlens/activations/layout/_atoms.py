"""The axes of a tensor by their meaning, and how they split and merge when it is reshaped.

An axis is a product of atoms, outer ones first: the tokens of 8 x 8 patches are (rows, columns). An
axis of size 1 has no atoms, and None stands for an axis about which nothing is known.
"""

import math
from dataclasses import dataclass, replace
from typing import final

BATCH, CHANNEL, PLACE, TOKENS, LOST, UNCLEAR = "batch", "channel", "place", "tokens", "lost", "?"


@final
@dataclass(frozen=True)
class Atom:
    """A factor of an axis.

    Args:
        kind: BATCH, CHANNEL or PLACE; TOKENS for places after others that are no places; LOST for
            positions in an order that nobody knows; UNCLEAR where two readings contradict.
        size: The number of its indices.
        name: Of a place, the number of the axis of the inputs along which it lies.
        piece: Parent and index in it, for a factor of another atom; index 0 is the outer factor.
        first: Of tokens, how many of them are no places.
        places: Of tokens, the atoms of their places; empty if these are not a whole grid.
        flipped: Whether places run backwards.
    """

    kind: str
    size: int
    name: int = 0
    piece: tuple["Atom", int] | None = None
    first: int = 0
    places: tuple["Atom", ...] = ()
    flipped: bool = False

    @property
    def inner(self) -> bool:
        """Whether the atom lies within the windows or patches of an axis."""
        return self.piece is not None and (self.piece[1] == 1 or self.piece[0].inner)


Axis = tuple[Atom, ...] | None


@final
class Axes:
    """The axes of a tensor; tensors that differ entry by entry share the record.

    So an axis that a later layer explains is explained for all of them.
    """

    def __init__(self, axes: list[Axis]) -> None:
        self.axes = axes


def of_kind(kind: str, size: int, name: int = 0) -> Axis:
    """Return an axis of one atom; an axis of size 1 has none."""
    return () if size == 1 else (Atom(kind, size, name),)


def kind_of_axis(axis: Axis) -> str:
    """Return the kind that all atoms of an axis share; "" for none, "mixed" for several."""
    if not axis:
        return ""
    kinds = {atom.kind for atom in axis}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def resized(axis: Axis, size: int) -> Axis:
    """Return the axis after its size has changed, as by a stride."""
    if axis is None or _size(axis) == size:
        return axis
    kind = kind_of_axis(axis)
    if kind == "":
        return None
    if kind in (TOKENS, "mixed") or (kind == PLACE and len(axis) > 1):
        kind = LOST
    changed = of_kind(kind, size, axis[0].name)
    return tuple(replace(atom, flipped=axis[0].flipped) for atom in changed or ())


def joined(axes: list[Axis], size: int) -> Axis:
    """Return the axis of a result whose operands have these axes."""
    told = [axis for axis in axes if axis and _size(axis) == size]
    if not told:
        return () if size == 1 else None
    clear = [axis for axis in told if kind_of_axis(axis) != UNCLEAR]
    if not clear:
        return told[0]
    first = clear[0]
    return first if all(_alike(first, axis) for axis in clear[1:]) else of_kind(UNCLEAR, size)


def reshaped(axes: list[Axis], shape: tuple[int, ...], new: tuple[int, ...]) -> list[Axis]:
    """Return the axes after a reshape; UNCLEAR ones if sizes do not fit into each other."""
    left: list[Atom] = []
    for axis, size in zip(axes, shape, strict=True):
        left += [Atom("", size)] if axis is None else axis
    found: list[Axis] = []
    for size in new:
        atoms: list[Atom] = []
        missing = size
        while missing > 1:
            if not left:
                return unclear(new)
            atom = left.pop(0)
            if missing % atom.size == 0:
                atoms.append(atom)
                missing //= atom.size
            elif atom.size % missing == 0:
                outer, inner = _split(atom, missing)
                atoms.append(outer)
                left.insert(0, inner)
                missing = 1
            else:
                return unclear(new)
        found.append(_merged(atoms))
    return found


def unclear(shape: tuple[int, ...]) -> list[Axis]:
    """Return axes of which nothing can be said."""
    return [of_kind(UNCLEAR, size) for size in shape]


def _split(atom: Atom, outer: int) -> tuple[Atom, Atom]:
    kind = UNCLEAR if atom.kind in (TOKENS, LOST) else atom.kind
    sizes = (outer, atom.size // outer)
    first, second = (Atom(kind, size, atom.name, (atom, index)) for index, size in enumerate(sizes))
    return first, second


def _merged(atoms: list[Atom]) -> Axis:
    """Put factors that lie beside each other together again."""
    found: list[Atom] = []
    for atom in atoms:
        found.append(atom)
        while len(found) > 1 and (whole := _whole(found[-2], found[-1])) is not None:
            found[-2:] = [whole]
    told = {atom.kind for atom in found}
    if told == {""}:
        return None
    if "" in told:  # channels of which there are several kinds, or else anything
        size = math.prod(atom.size for atom in found)
        return of_kind(CHANNEL if told == {"", CHANNEL} else UNCLEAR, size)
    return tuple(found)


def _whole(one: Atom, other: Atom) -> Atom | None:
    """Return the atom of which these are the outer and the inner factor."""
    if one.piece is None or other.piece is None or one.piece[0] != other.piece[0]:
        return None
    return one.piece[0] if (one.piece[1], other.piece[1]) == (0, 1) else None


def _alike(one: Axis, other: Axis) -> bool:
    """Return whether two axes may be added: both of channels, or both of the same places."""
    kinds = kind_of_axis(one), kind_of_axis(other)
    if CHANNEL in kinds or "mixed" in kinds or kinds[0] != kinds[1]:
        return kinds[0] == kinds[1]
    names = [
        [(atom.name, atom.first, atom.size, atom.flipped) for atom in axis or ()]
        for axis in (one, other)
    ]
    return names[0] == names[1]


def _size(axis: Axis) -> int:
    return math.prod(atom.size for atom in axis or ())
