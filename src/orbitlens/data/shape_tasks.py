"""The 180 binary probing tasks of Shapes: which glyph, where, turned how.

Source: Erdogan & Lucic, arXiv 2511.09432, experiment 2. In order, with s a shape, o one of its
orientations and p a quadrant of the moved image:

    S(s)        s anywhere                      8 tasks
    SO(s,o)     s in orientation o, anywhere   28
    SP(s,p)     s in quadrant p                32
    SPO(s,p,o)  s in quadrant p, turned by o  112
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from orbitlens.actions import images, places_moved
from orbitlens.data._glyphs import ORIENTATIONS, SHAPES, orientation_table
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group

_QUADRANTS = range(4)


@dataclass(frozen=True, eq=False)
class Tasks:
    """Binary questions about samples.

    Args:
        names: What each task is called, such as "SO(T,1)".
        families: The family of each task: "S", "SO", "SP" or "SPO".
        labels: The answers, shape [n, tasks].
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    labels: Bool[np.ndarray, "n task"]


def shape_tasks(
    shape_ids: Int[np.ndarray, "n quadrant"], elements: Int[np.ndarray, " n"], group: Group
) -> Tasks:
    """Answer the 180 tasks for canonical images of Shapes, each moved by one group element.

    Args:
        shape_ids: The glyph in each quadrant of the canonical images, shape [n, 4].
        elements: The element that moved each image, shape [n].
        group: C4, D4 or a subgroup of them: C1, C2, D1, D2.

    Returns:
        180 tasks; quadrants are those of the moved image, row by row, and orientations count the
        quarter turns counter-clockwise from upright.

    Raises:
        OrbitLensError: If there are not four glyphs per image, if a glyph or an element does not
            exist, or if the group does anything but quarter turns and flips.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> tasks = shape_tasks(np.array([[3, 3, 3, 2]]), np.array([1]), cyclic(4))
        >>> [name for name, yes in zip(tasks.names, tasks.labels[0]) if yes and "C" in name]
        ['S(C)', 'SO(C,1)', 'SP(C,1)', 'SPO(C,1,1)']
    """
    orientations = orientation_table(group)
    _check_range("`shape_ids`", shape_ids, len(SHAPES))
    _check_range("`elements`", elements, group.order)
    if shape_ids.shape[1] != len(_QUADRANTS):
        raise OrbitLensError(
            "`shape_ids`",
            expected="shape [n, 4], a glyph per quadrant",
            received=list(shape_ids.shape),
            remedy="pass shapes(...).shape_ids",
        )
    quadrants = places_moved(images(group).apply, group.order, 2, 2)
    shown = np.zeros((len(elements), len(SHAPES), len(_QUADRANTS), max(ORIENTATIONS)), dtype=bool)
    samples = np.arange(len(elements))[:, None]
    shown[
        samples,
        shape_ids,
        quadrants[elements],
        orientations[elements[:, None], shape_ids],
    ] = True
    return _answered(shown)


def _answered(shown: Bool[np.ndarray, "n shape quadrant orientation"]) -> Tasks:
    oriented = [(s, o) for s in range(len(SHAPES)) for o in range(ORIENTATIONS[s])]
    placed = [
        (s, p, o) for s in range(len(SHAPES)) for p in _QUADRANTS for o in range(ORIENTATIONS[s])
    ]
    answers = {
        **{f"S({s})": shown[:, i].any((1, 2)) for i, s in enumerate(SHAPES)},
        **{f"SO({SHAPES[i]},{o})": shown[:, i, :, o].any(1) for i, o in oriented},
        **{f"SP({s},{p})": shown[:, i, p].any(1) for i, s in enumerate(SHAPES) for p in _QUADRANTS},
        **{f"SPO({SHAPES[i]},{p},{o})": shown[:, i, p, o] for i, p, o in placed},
    }
    return Tasks(
        names=tuple(answers),
        families=tuple(name.partition("(")[0] for name in answers),
        labels=np.stack(list(answers.values()), axis=1),
    )


def _check_range(subject: str, indices: Int[np.ndarray, "..."], end: int) -> None:
    wrong = indices[(indices < 0) | (indices >= end)]
    if len(wrong):
        raise OrbitLensError(
            subject,
            expected=f"indices from 0 to {end - 1}",
            received=wrong[0],
            remedy="pass those that shapes(...) and the group give",
        )
