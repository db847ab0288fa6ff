"""Plain words for what each element of a group does to inputs, to stand beside its symbol."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from orbitlens.actions.sequences_and_sets import set_permutation
from orbitlens.groups import (
    Group,
    as_group,
    cycles,
    cyclic,
    octahedral,
    signed_axes,
    turns_and_flips,
)

_STILL = "as it is"
_QUARTERS = {90.0: "quarter turn left", 180.0: "half turn", 270.0: "quarter turn right"}
_AXES_OF_FLIPS = {
    0.0: "flipped top to bottom",
    45.0: "flipped across the rising diagonal",
    90.0: "flipped left to right",
    135.0: "flipped across the falling diagonal",
}
_TURNS_OF_CUBES = {1: "quarter turn", -1: "half turn", 0: "third of a turn"}
_LONGEST = 32


def describe_elements(
    group: Group | str, action: str, settings: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Say in plain words what each element does to an input.

    A turn to the left is counter-clockwise. What is flipped across a line at an angle is mirrored
    in the line through its centre that rises by this angle from the horizontal. Turns in space
    follow the right hand about their axis; what is mirrored "along" an axis is mirrored in the
    plane across it.

    Args:
        group: The group, or its name.
        action: The name of the action, as in `Action.name`.
        settings: The settings of the action, as in `Action.config`; None (the default) for none.

    Returns:
        One phrase for each element, in the order of the group; nothing if the action has no words
        for this group.

    Raises:
        OrbitLensError: If the group does not exist, or the settings do not fit it.

    Example:
        >>> describe_elements("C4", "images")
        ('as it is', 'quarter turn left', 'half turn', 'quarter turn right')
        >>> describe_elements("D4", "images")[4:6]
        ('flipped top to bottom', 'flipped across the rising diagonal')
    """
    words = _WORDS.get(action)
    return () if words is None else words(as_group(group), settings or {})


def _of_images(group: Group, settings: Mapping[str, Any]) -> tuple[str, ...]:
    del settings  # an image that is interpolated is turned by the same angle
    known = turns_and_flips(group)
    if known is None:
        return ()
    turns, flips = known
    angles = [360 * p / turns for p in range(turns)]
    # r^p s: up and down change places, then p turns; the line that stays has half their angle.
    return (*map(_turned, angles), *([_flipped(angle / 2) for angle in angles] if flips else []))


def _turned(angle: float) -> str:
    if angle in _QUARTERS:
        return _QUARTERS[angle]
    if angle == 0:
        return _STILL
    side, size = ("left", angle) if angle < 180 else ("right", 360 - angle)
    return f"turned {side} by {_degrees(size)}"


def _flipped(angle: float) -> str:
    return _AXES_OF_FLIPS.get(angle, f"flipped across the line at {_degrees(angle)}")


def _degrees(angle: float) -> str:
    return f"{round(angle, 2):g}°"


def _of_volumes(group: Group, settings: Mapping[str, Any]) -> tuple[str, ...]:
    del settings
    for inversion in (False, True):
        if np.array_equal(group.table, octahedral(inversion=inversion).table):
            return tuple(map(_of_cube, signed_axes(inversion=inversion)))
    return ()


def _of_cube(matrix: Int[np.ndarray, "3 3"]) -> str:
    """Describe a symmetry of the cube: a turn, a mirror image, or a turn and the point mirror."""
    mirrored = round(np.linalg.det(matrix)) < 0
    turn = -matrix if mirrored else matrix
    if np.trace(turn) == 3:
        return "mirrored through the centre" if mirrored else _STILL
    words = f"{_TURNS_OF_CUBES[np.trace(turn)]} about {(axis := _axis(turn))}"
    if not mirrored:
        return words
    # A half turn and the point mirror together change the direction of the axis alone.
    half = np.trace(turn) == -1
    return f"mirrored along {axis}" if half else f"{words}, mirrored through the centre"


def _axis(turn: Int[np.ndarray, "3 3"]) -> str:
    """Spell the axis of a turn, such as "z", "-x" or "x+y-z"."""
    axis = np.sign([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    if not axis.any():  # a half turn is its own inverse, and R + I = 2 a a^T
        fixed = turn + np.eye(3, dtype=np.int64)
        axis = fixed[np.flatnonzero(fixed.any(axis=1))[0]]
    return _spelled(axis)


def _spelled(axis: Shaped[np.ndarray, "3"]) -> str:
    signed = [
        ("-" if part < 0 else "+") + name for part, name in zip(axis, "xyz", strict=True) if part
    ]
    return "".join(signed).removeprefix("+")


def _of_points(group: Group, settings: Mapping[str, Any]) -> tuple[str, ...]:
    if "matrices" in settings:
        return ()
    if "axis" not in settings:
        return _of_volumes(group, settings) or _of_images(group, settings)
    axis = np.asarray(settings["axis"])
    about = _spelled(axis) if np.abs(axis).max() == 1 else "its axis"
    angles = [f"{_degrees(360 * p / group.order)} about {about}" for p in range(1, group.order)]
    return (_STILL, *(f"turned by {angle}" for angle in angles))


def _of_strands(group: Group, settings: Mapping[str, Any]) -> tuple[str, ...]:
    del settings
    return (_STILL, "other strand") if group.order == 2 else ()


def _of_shifts(group: Group, settings: Mapping[str, Any]) -> tuple[str, ...]:
    del settings
    if group != cyclic(group.order):
        return ()
    return (_STILL, *(f"shifted by {p} of {group.order}" for p in range(1, group.order)))


def _of_sets(group: Group, settings: Mapping[str, Any]) -> tuple[str, ...]:
    known = set_permutation(group, settings.get("permutations"))
    return tuple(map(_of_permutation, np.array(known.config["permutations"])))


def _of_permutation(images: Int[np.ndarray, " element"]) -> str:
    """Spell a permutation by its cycles; count the places that it moves where there are many."""
    words = cycles(images.tolist()) or _STILL
    if len(words) <= _LONGEST:
        return words
    return f"moves {(images != np.arange(len(images))).sum()} of {len(images)} places"


_WORDS: dict[str, Callable[[Group, Mapping[str, Any]], tuple[str, ...]]] = {
    "images": _of_images,
    "volumes": _of_volumes,
    "points": _of_points,
    "reverse_complement": _of_strands,
    "cyclic_shift": _of_shifts,
    "set_permutation": _of_sets,
    "graphs": _of_sets,
}
