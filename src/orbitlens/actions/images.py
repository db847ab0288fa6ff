"""Turns and flips of images, exact on the pixel grid where the group allows it.

r is a counter-clockwise turn by 360/n degrees; the flip s swaps up and down. Element p of C_n is p
turns. Element p + n q of D_n is r^p s^q: first the flip, then p turns.
"""

import math
from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from orbitlens.actions._integers import of_any_integers
from orbitlens.actions.base import Action, places_moved
from orbitlens.errors import OrbitLensError
from orbitlens.groups import EXACT_TURNS, Group, as_group, turns_of_images

_FEW_CHANNELS = (1, 3, 4)


def images(group: Group | str, interpolation: str | None = None) -> Action:
    """Return the action of C_n or D_n on images [n, channels, height, width].

    Rows are counted from top to bottom, columns from left to right.

    C1, C2, C4, D1, D2 and D4 rearrange pixels exactly. All other groups need interpolation: they
    sample pixels bilinearly, with zeros outside, except at multiples of 90 degrees. `Action.error`
    measures the error of the interpolation. C4, D4 and all interpolated groups need square images.

    Args:
        group: `groups.cyclic(n)` or `groups.dihedral(n)`, recognised by the product table; or its
            name, such as "C4".
        interpolation: None, or "bilinear" for the groups that need interpolation; exact groups
            never interpolate.

    Returns:
        The action; `grid` is None if it interpolates.

    Raises:
        OrbitLensError: If the group is neither C_n nor D_n, if it needs interpolation and
            `interpolation` is None, or if the interpolation is unknown.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> flip = images(dihedral(4))
        >>> flip(torch.tensor([[[[1, 2], [3, 4]]]]), 4).tolist()
        [[[[3, 4], [1, 2]]]]
    """
    group = as_group(group)
    turns = turns_of_images(group, interpolation)
    exact = turns in EXACT_TURNS
    return Action(
        name="images",
        group=group,
        exact=exact,
        apply=partial(_move, turns),
        check=partial(_check, group, turns),
        config={"interpolation": None if exact else interpolation},
        grid=partial(_places, group, turns) if exact else None,
    )


@of_any_integers
def _move(
    turns: int, inputs: Shaped[Tensor, "n channels height width"], element: int
) -> Shaped[Tensor, "n channels height width"]:
    flip, turn = divmod(element, turns)
    flipped = inputs.flip(-2) if flip else inputs
    quarters, rest = divmod(4 * turn, turns)
    if rest == 0:
        return torch.rot90(flipped, quarters, (-2, -1))
    return _turn(flipped, 2 * math.pi * turn / turns)


def _turn(
    inputs: Shaped[Tensor, "n channels side side"], angle: float
) -> Shaped[Tensor, "n channels side side"]:
    """Turn counter-clockwise by an angle in radians: sample each pixel where it came from."""
    cosine, sine = math.cos(angle), math.sin(angle)
    origin = inputs.new_tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]])
    where = affine_grid(origin, [1, *inputs.shape[1:]], align_corners=False)
    return grid_sample(
        inputs,
        where.expand(len(inputs), -1, -1, -1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )


def _check(group: Group, turns: int, inputs: Tensor) -> None:
    if inputs.ndim != 4:
        raise OrbitLensError(
            "images",
            expected="shape [n, channels, height, width]",
            received=list(inputs.shape),
            remedy="give grey images a channel axis with images[:, None]",
        )
    _, channels, height, last = inputs.shape
    if last in _FEW_CHANNELS and channels > 4 < height:
        raise OrbitLensError(
            "images",
            expected="shape [n, channels, height, width]",
            received=f"{list(inputs.shape)}, with channels last as it seems",
            remedy="bring them first with images.permute(0, 3, 1, 2); a network that takes them "
            "last gets them back with `prepare`",
        )
    _check_square(group, turns, "images", *inputs.shape[-2:])
    if turns not in EXACT_TURNS and not inputs.is_floating_point():
        raise OrbitLensError(
            f"images under the interpolated group {group.name}",
            expected="floating point values",
            received=inputs.dtype,
            remedy="convert them with images.float()",
        )


def _places(group: Group, turns: int, height: int, width: int) -> Int[np.ndarray, "group position"]:
    _check_square(group, turns, "feature maps", height, width)
    return places_moved(partial(_move, turns), group.order, height, width)


def _check_square(group: Group, turns: int, subject: str, height: int, width: int) -> None:
    if turns not in (1, 2) and height != width:
        raise OrbitLensError(
            f"{subject} under {group.name}",
            expected="height = width",
            received=f"{height} x {width}",
            remedy="crop or resize the images to squares; C2, D1 and D2 work on any size",
        )
