"""Plane groups on images whose opposite sides are joined: exact shifts, turns and flips."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions._integers import of_any_integers
from orbitlens.actions.base import Action, places_moved
from orbitlens.checks import check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup


def plane(name: str, side: int) -> Action:
    """Return the action of a plane group on images [n, channels, side, side] of a torus.

        (g x)(u) = x(g^-1 u)

    Shifts are cyclic; turns and flips keep pixel (0, 0), see `groups.PlaneGroup`. The action
    rearranges pixels exactly. Element (ty, tx, k) has the number that `PlaneGroup.number` gives it.

    Args:
        name: "p1", "p2", "p4", "pm", "pmm" or "p4m".
        side: Height and width of the images, in pixels.

    Returns:
        The action, of a group with at most 4,096 elements.

    Raises:
        OrbitLensError: If the name is unknown, or the group too large.

    Example:
        >>> shift = plane("p1", 2)
        >>> shift(torch.tensor([[[[1, 2], [3, 4]]]]), 2).tolist()  # t(1,0): down by a row
        [[[[3, 4], [1, 2]]]]
    """
    group = PlaneGroup(name, side)
    move = partial(_move, group)
    return Action(
        name="plane",
        group=group.to_group(),
        apply=move,
        check=partial(_check, group),
        config={"name": group.name, "side": group.side},
        grid=partial(_grid, group),
    )


def move_on_plane(
    inputs: Shaped[Tensor, "n channels side side"],
    elements: Int[Tensor, "n 3"],
    group: PlaneGroup,
    *,
    regular: bool = False,
) -> Shaped[Tensor, "n channels side side"]:
    """Move each image, or each map of functions on the group, by an element of its own.

        (g x)(u) = x(g^-1 u)                         images
        (g F)[f, h](u) = F[f, k^-1 h](g^-1 u)        maps, with g = (t, k)

    Channel f |P| + h of a map holds [f, h], with P the point group.

    Args:
        inputs: Images or maps, shape [n, channels, side, side]. Their numbers are not checked.
        elements: (ty, tx, k) for each input, shape [n, 3].
        group: The plane group.
        regular: True for maps of functions on the group; False (the default) for images.

    Returns:
        The moved inputs: the same entries, rearranged.

    Raises:
        OrbitLensError: If the inputs have another shape, or an element is outside of the group.

    Example:
        >>> turn, image = torch.tensor([[0, 0, 1]]), torch.arange(9).reshape(1, 1, 3, 3)
        >>> move_on_plane(image, turn, PlaneGroup("p4", 3))[0, 0].tolist()
        [[0, 3, 6], [2, 5, 8], [1, 4, 7]]
    """
    points = group.point_group.order if regular else 1
    check_kind("inputs", inputs, Tensor, "convert them, for example with torch.as_tensor")
    _check(group, inputs, points)
    back = group.inverse(group.as_elements("elements", elements, len(inputs)))
    origins = group.places(back)[:, None]
    if points > 1:
        values = group.products.to(back.device)[back[:, 2]]
        origins = (values[..., None] * group.side**2 + origins).flatten(1)[:, None]
    channels = inputs.shape[1] // points
    functions = inputs.reshape(len(inputs), channels, points * group.side**2)
    index = origins.expand(-1, functions.shape[1], -1)
    return functions.gather(2, index).reshape(inputs.shape)


@of_any_integers
def _move(
    group: PlaneGroup, inputs: Shaped[Tensor, "n channels side side"], element: int
) -> Shaped[Tensor, "n channels side side"]:
    number = torch.tensor(element, device=inputs.device).expand(len(inputs))
    return move_on_plane(inputs, group.element(number), group)


def _check(group: PlaneGroup, inputs: Tensor, points: int = 1) -> None:
    of_side = inputs.ndim == 4 and inputs.shape[2:] == (group.side, group.side)
    if not of_side or inputs.shape[1] % points:
        channels = "channels" if points == 1 else f"features * {points}"
        raise OrbitLensError(
            f"images under {group.name} of side {group.side}",
            expected=f"shape [n, {channels}, {group.side}, {group.side}]",
            received=list(inputs.shape),
            remedy="crop or resize the images, or choose another side",
        )


def _grid(group: PlaneGroup, height: int, width: int) -> Int[np.ndarray, "group position"]:
    if (height, width) != (group.side, group.side):
        raise OrbitLensError(
            f"feature maps under {group.name} of side {group.side}",
            expected=f"{group.side} x {group.side} places",
            received=f"{height} x {width}",
            remedy="maps that were reduced by a fixed stride do not shift with the image",
        )
    return places_moved(partial(_move, group), group.order, height, width)
