"""The eight glyphs of Shapes, drawn with integers so that their symmetries hold pixel by pixel.

Every glyph is achiral: its flipped image is one of its own turns. The rectangle and the diagonal
have two orientations, the other six have four. The up-down flip changes all glyphs except the
rectangle and the C.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from orbitlens.actions import images
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic

SHAPES = ("rectangle", "diagonal", "C", "T", "L", "triangle", "arrow", "half-disc")
ORIENTATIONS = (2, 2, 4, 4, 4, 4, 4, 4)
_SMALLEST_BOX = 6


def glyphs(box: int) -> Bool[Tensor, "shape box box"]:
    """Draw the eight upright glyphs in the order of `SHAPES`, True where there is ink.

    Each glyph fills a square with `box` pixels per side, an even number from 6 on.
    """
    if box < _SMALLEST_BOX or box % 2:
        raise OrbitLensError(
            "`box`",
            expected=f"an even number of pixels, at least {_SMALLEST_BOX}",
            received=box,
            remedy="choose a larger, even box",
        )
    row, column = np.mgrid[:box, :box]
    # Twice the distance from the centre: odd integers, so that mirror images meet exactly.
    down, right = 2 * row - (box - 1), 2 * column - (box - 1)
    half = max(1, box // 10)
    stroke = 2 * half
    stem = np.abs(right) < stroke
    top, left, bottom = row < stroke, column < stroke, row >= box - stroke
    # The half-disc's flat side lies a quarter of the box below the centre.
    above_flat_side = box // 2 - down
    drawn = {
        "rectangle": np.abs(down) < 2 * (box // 6),
        "diagonal": np.abs(row - column) < stroke,
        "C": top | left | bottom,
        "T": top | stem,
        "L": left | bottom,
        "triangle": np.abs(right) <= row + 1,
        "arrow": np.where(row < box // 2, np.abs(right) <= 2 * row + 1, stem),
        "half-disc": (above_flat_side > 0) & (right**2 + above_flat_side**2 <= box**2),
    }
    return torch.from_numpy(np.stack([drawn[name] for name in SHAPES]))


def orientation_table(group: Group) -> Int[np.ndarray, "group shape"]:
    """Return the orientation of each glyph after each group element has moved it.

        g glyph = r^o glyph,   o = table[g, shape] < ORIENTATIONS[shape]

    Orientations are quarter turns counter-clockwise from upright.
    """
    action = images(group, interpolation="bilinear")
    if not action.exact:
        raise OrbitLensError(
            "`group`",
            expected="C1, C2, C4, D1, D2 or D4, under which glyphs stay glyphs",
            received=group.name,
            remedy="choose one of these",
        )
    upright = glyphs(_SMALLEST_BOX)[:, None]
    moved = action.orbit(upright)
    turned = images(cyclic(4)).orbit(upright)
    matches = (moved[:, :, None] == turned[:, None]).flatten(3).all(-1)
    # argmax takes the first of equal turns, so a glyph with two orientations shows 0 or 1.
    return matches.int().argmax(-1).T.numpy()
