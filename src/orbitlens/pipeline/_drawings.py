"""How the inputs of each action are drawn: moved inputs in, pictures out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Shaped

from orbitlens.actions import Action
from orbitlens.data import Rows
from orbitlens.pipeline._plain_drawings import (
    Pictures,
    draw_curves,
    draw_graphs,
    draw_letters,
    draw_points,
    draw_sets,
    draw_slices,
)
from orbitlens.typing import Float, Int, Tensor

_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class MovedImages:
    """Some of the inputs, `images[samples]`, moved by an action of `DRAWINGS`, and their pictures.

    `images_of(indices, element)` draws `samples[indices]` moved by an element.
    """

    images: Rows
    samples: Int[np.ndarray, " shown"]
    action: Action

    def moved(self, indices: Int[Tensor, " k"], element: int) -> Shaped[Tensor, "k *axes"]:
        """Return `samples[indices]` moved by an element, as the network gets them."""
        return self.action.moved(self.images[self.samples[indices.numpy()]], element)

    def __call__(
        self, indices: Int[Tensor, " k"], element: int
    ) -> Float[Tensor, "k channels height width"]:
        return DRAWINGS[self.action.name](self.moved(indices, element), self.action)


def _as_pictures(
    images: Shaped[Tensor, "k channels height width"], action: Action
) -> Float[Tensor, "k channels height width"]:
    """Return images with values in [0, 1]; others, such as normalised ones, each over its range."""
    del action
    pictures = images.float()
    if images.dtype == torch.uint8:
        return pictures / 255
    low, high = (
        end(pictures.flatten(1), 1)[:, None, None, None] for end in (torch.amin, torch.amax)
    )
    inside = (low >= -_ROUNDING) & (high <= 1 + _ROUNDING)
    return torch.where(inside, pictures, (pictures - low) / (high - low).clamp_min(1e-12))


Draw = Callable[[Shaped[Tensor, "k *axes"], Action], Pictures]
DRAWINGS: dict[str, Draw] = {
    "images": _as_pictures,
    "reverse_complement": draw_letters,
    "points": draw_points,
    "volumes": draw_slices,
    "set_permutation": draw_sets,
    "graphs": draw_graphs,
    "cyclic_shift": draw_curves,
}
"""The pictures [k, channels, height, width], values in [0, 1], of the moved inputs of an action.

Inputs of an action without an entry are shown by their names alone.
"""

HOW_DRAWN = {
    "reverse_complement": "Sequences are drawn in rows from the 5' end. A is green, C blue, G "
    "orange and T red.",
    "points": "Point clouds are drawn from above, x to the right and y up. In space a view from "
    "the front stands beside it, x to the right and z up, and nearer points are darker.",
    "volumes": "Volumes are drawn as three slices through the middle: across z (x to the right, "
    "y up), across y (x, z) and across x (y, z).",
    "set_permutation": "Each row of a drawing is an element of the set; large numbers are long "
    "bars or dark cells.",
    "graphs": "Each row of a drawing is a node: its edges, then its features; large numbers are "
    "dark.",
    "cyclic_shift": "Each curve of a drawing is a channel along the positions.",
}
"""What a reader of these pictures should know; images speak for themselves."""
