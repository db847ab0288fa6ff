"""Shapes: one of eight glyphs in each quadrant of an image, upright in the canonical image.

Source: Erdogan & Lucic, arXiv 2511.09432, experiment 2.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from orbitlens.data._glyphs import SHAPES, glyphs
from orbitlens.data.base import Inputs
from orbitlens.errors import OrbitLensError

_QUADRANTS = 4
_COMBINATIONS = len(SHAPES) ** _QUADRANTS


@dataclass(frozen=True, eq=False)
class Shapes:
    """Canonical images and the glyphs in them.

    Args:
        inputs: The images, shape [n, 1, size, size], values 0 and 1.
        shape_ids: Which of `glyphs.SHAPES` stands in each quadrant (row by row), shape [n, 4].
    """

    inputs: Inputs
    shape_ids: Int[np.ndarray, "n quadrant"]


def shapes(n: int, *, seed: int, size: int = 64) -> Shapes:
    """Draw images with a glyph, uniform and independent among eight, in each of four quadrants.

    All glyphs are upright: the orientation of a sample is the group element that turns it. The
    8^4 = 4096 combinations are drawn without replacement, in rounds of 4096, so that up to 4096
    images are all distinct and no held-out image is also trained on; beyond that they repeat.
    Distinct images may still share an orbit, as glyphs have symmetries of their own: 12 of the
    4096 do under C4, and 632 under D4, where many are each other's mirror images.

    Args:
        n: Number of images.
        seed: The same seed gives the same images.
        size: Height and width in pixels, a multiple of 8, at least 16.

    Returns:
        The images and the index of the glyph in each quadrant.

    Raises:
        OrbitLensError: If `n` is below 1 or the size does not fit the glyphs.

    Example:
        >>> sample = shapes(100, seed=0)
        >>> sample.inputs.values.shape, sample.shape_ids.shape
        (torch.Size([100, 1, 64, 64]), (100, 4))
    """
    if n < 1:
        raise OrbitLensError("`n`", expected="at least 1", received=n, remedy="draw some images")
    if size < 16 or size % 8:
        raise OrbitLensError(
            "`size`",
            expected="a multiple of 8 pixels, at least 16",
            received=size,
            remedy="choose for example 64",
        )
    generator = np.random.default_rng(seed)
    rounds = -(-n // _COMBINATIONS)
    drawn = np.concatenate([generator.permutation(_COMBINATIONS) for _ in range(rounds)])[:n]
    shape_ids = np.stack(np.unravel_index(drawn, (len(SHAPES),) * _QUADRANTS), axis=1)
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
