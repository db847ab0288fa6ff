"""Turns and flips of images, exact on the pixel grid where the group allows it.

The flip s is up-down; r is a counter-clockwise turn by 360/n degrees. Element p + n q of D_n is
r^p s^q: first the flip, then p turns. Elements p of C_n are the turns alone.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from orbitlens.actions.base import Action, Grid, Move, family, places_moved
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups import Group

_EXACT_TURNS = (1, 2, 4)
_EXACT_NAMES = "C1, C2, C4, D1, D2, D4"


def images(group: Group, interpolation: str | None = None) -> Action:
    """Return the action of C_n or D_n on images [n, channels, height, width].

    C1, C2, C4, D1, D2 and D4 rearrange pixels exactly. Every other group needs interpolation:
    pixels are sampled bilinearly (zeros outside), except where the angle is a multiple of 90
    degrees; `Action.error` measures what that costs. Quarter turns, and every interpolated group,
    need square images.

    Args:
        group: `groups.cyclic(n)` or `groups.dihedral(n)`, recognised by the product table.
        interpolation: None, or "bilinear" for groups that cannot be done exactly; exact groups
            are never interpolated.

    Returns:
        The action; `grid` is None if it interpolates.

    Raises:
        OrbitLensError: If the group is of neither family, if it cannot be done exactly and no
            interpolation is named, or if the interpolation is unknown.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> flip = images(dihedral(4))
        >>> flip(torch.tensor([[[[1, 2], [3, 4]]]]), 4).tolist()
        [[[[3, 4], [1, 2]]]]
    """
    known = family(group)
    if known is None:
        raise OrbitLensError(
            "`group` of images",
            expected="C_n or D_n with its elements in the order of groups.cyclic, groups.dihedral",
            received=group.name,
            remedy="choose one of these, such as C4 or D4",
        )
    turns, _ = known
    exact = turns in _EXACT_TURNS
    _check_interpolation(group, interpolation, exact)
    move = _mover(turns)
    return Action(
        name="images",
        group=group,
        exact=exact,
        apply=move,
        check=_checker(group, square=turns not in (1, 2), interpolated=not exact),
        config={"interpolation": None if exact else interpolation},
        grid=_places(group, move, square=turns == 4) if exact else None,
    )


def _check_interpolation(group: Group, interpolation: str | None, exact: bool) -> None:
    if interpolation not in (None, "bilinear"):
        raise unknown_name("`interpolation`", str(interpolation), ["bilinear"])
    if interpolation is None and not exact:
        raise OrbitLensError(
            f"group {group.name} cannot move pixels exactly: `group` of images",
            expected=f"one of {_EXACT_NAMES}",
            received=group.name,
            remedy='choose one of these, or pass interpolation="bilinear" '
            "(command line: --interpolation bilinear)",
        )


def _mover(turns: int) -> Move:
    def move(
        inputs: Shaped[Tensor, "n channels height width"], element: int
    ) -> Shaped[Tensor, "n channels height width"]:
        flip, turn = divmod(element, turns)
        flipped = inputs.flip(-2) if flip else inputs
        quarters, rest = divmod(4 * turn, turns)
        if rest == 0:
            return torch.rot90(flipped, quarters, (-2, -1))
        return _turned(flipped, 2 * math.pi * turn / turns)

    return move


def _turned(
    inputs: Shaped[Tensor, "n channels side side"], angle: float
) -> Shaped[Tensor, "n channels side side"]:
    """Turn counter-clockwise by an angle in radians: each pixel looks up where it came from."""
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


def _checker(group: Group, *, square: bool, interpolated: bool) -> Callable[[Tensor], None]:
    def check(inputs: Tensor) -> None:
        if inputs.ndim != 4:
            raise OrbitLensError(
                "images",
                expected="shape [n, channels, height, width]",
                received=list(inputs.shape),
                remedy="give grey images a channel axis with images[:, None]",
            )
        if square and inputs.shape[-2] != inputs.shape[-1]:
            raise _not_square(group, "images", *inputs.shape[-2:])
        if interpolated and not inputs.is_floating_point():
            raise OrbitLensError(
                f"images under the interpolated group {group.name}",
                expected="floating point values",
                received=inputs.dtype,
                remedy="convert them with images.float()",
            )

    return check


def _places(group: Group, move: Move, *, square: bool) -> Grid:
    def places(height: int, width: int) -> Int[np.ndarray, "group position"]:
        if square and height != width:
            raise _not_square(group, "feature maps", height, width)
        return places_moved(move, group.order, height, width)

    return places


def _not_square(group: Group, what: str, height: int, width: int) -> OrbitLensError:
    return OrbitLensError(
        f"{what} under {group.name}",
        expected="height = width",
        received=f"{height} x {width}",
        remedy="crop or resize the images to squares; C2, D1 and D2 work on any size",
    )
