"""Shapes: one of eight glyphs in each quadrant of an image, and 180 tasks about these images.

Source: Erdogan & Lucic, arXiv 2511.09432, experiment 2. Glyphs are upright in the canonical image.
The binary tasks are, in order, with s a shape, o one of its orientations and p a quadrant of the
moved image:

    S(s)        s anywhere                      8 tasks
    SO(s,o)     s in orientation o, anywhere   28
    SP(s,p)     s in quadrant p                32
    SPO(s,p,o)  s in quadrant p, turned by o  112
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from orbitlens.actions import images, places_moved
from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.data._glyphs import ORIENTATIONS, SHAPES, glyphs, orientation_table
from orbitlens.data.base import Inputs
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups import Group

_QUADRANTS = range(4)
_COMBINATIONS = len(SHAPES) ** len(_QUADRANTS)


@dataclass(frozen=True, eq=False)
class Shapes:
    """Canonical images and the glyphs in them.

    Args:
        inputs: The images, shape [n, 1, size, size], values 0 and 1.
        shape_ids: The glyph in each quadrant (row by row), shape [n, 4]: 0 rectangle, 1 diagonal,
            2 C, 3 T, 4 L, 5 triangle, 6 arrow, 7 half-disc.
    """

    inputs: Inputs
    shape_ids: Int[np.ndarray, "n quadrant"]


def shapes(n: int, *, seed: int, size: int = 64) -> Shapes:
    """Draw images with one of eight glyphs, uniform and independent, in each of four quadrants.

    All glyphs are upright: the orientation of a sample is the group element that turns it. The
    8^4 = 4096 combinations are drawn without replacement, in rounds of 4096. So up to 4096 images
    are all distinct, and no held-out image is also a training image; beyond that they repeat.
    Distinct images may still share an orbit, because glyphs have symmetries of their own: 12 of the
    4096 do under C4, and 632 under D4, where many are mirror images of each other.

    Args:
        n: Number of images.
        seed: The same seed gives the same images.
        size: Height and width in pixels, a multiple of 8, at least 16.

    Returns:
        The images and the index of the glyph in each quadrant.

    Raises:
        OrbitLensError: If `n` is below 1 or the glyphs do not fit the size.

    Example:
        >>> sample = shapes(100, seed=0)
        >>> sample.inputs.values.shape, sample.shape_ids.shape
        (torch.Size([100, 1, 64, 64]), (100, 4))
    """
    n, size = as_count("n", n), as_count("size", size, least=0)
    if size < 16 or size % 8:
        raise out_of_range("size", "a multiple of 8 pixels, at least 16, such as 64", size)
    subject = f"{n} images of {size} x {size} pixels"
    # Each is drawn as booleans, and then converted.
    check_memory(subject, 5 * n * size**2, "choose fewer or smaller images")
    generator = np.random.default_rng(as_seed(seed))
    rounds = -(-n // _COMBINATIONS)
    drawn = np.concatenate([generator.permutation(_COMBINATIONS) for _ in range(rounds)])[:n]
    shape_ids = np.stack(np.unravel_index(drawn, (len(SHAPES),) * len(_QUADRANTS)), axis=1)
    values = rearrange(
        _framed_glyphs(size // 2)[torch.from_numpy(shape_ids)],
        "n (row column) height width -> n 1 (row height) (column width)",
        row=2,
    )
    return Shapes(Inputs("shapes", values.float()), shape_ids)


def _framed_glyphs(quadrant: int) -> Bool[Tensor, "shape quadrant quadrant"]:
    """Centre each glyph in its quadrant, with 3/16 of the quadrant free on every side."""
    margin = quadrant * 3 // 16
    return torch.nn.functional.pad(glyphs(quadrant - 2 * margin), (margin,) * 4)


@dataclass(frozen=True, eq=False)
class Tasks:
    """Binary questions about samples.

    Args:
        names: Name of each task, such as "SO(T,1)".
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
        180 tasks. Quadrants are those of the moved image, row by row. Orientations count quarter
        turns counter-clockwise from upright.

    Raises:
        OrbitLensError: If there are not four glyphs per image, a glyph or an element does not
            exist, or the group has other elements than quarter turns and flips.

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
    turned = orientations[elements[:, None], shape_ids]
    shown[samples, shape_ids, quadrants[elements], turned] = True
    return _answer(shown)


def _answer(shown: Bool[np.ndarray, "n shape quadrant orientation"]) -> Tasks:
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
            remedy="pass the glyphs of shapes(...) and elements of the group",
        )
