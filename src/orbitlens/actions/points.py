"""Turns and mirror images of point clouds: one matrix acts on the coordinates of every point.

In the plane r is a counter-clockwise turn by 360/n degrees and s a mirror image that changes the
sign of y, as for images whose y points upwards. In space a turn about an axis follows the right
hand: about z it sends x to y.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from orbitlens.actions._haar import haar_rotations
from orbitlens.actions.base import Action
from orbitlens.checks import as_axes, as_count, as_seed, as_switch
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group, octahedral, signed_axes, turns_and_flips
from orbitlens.reps import homomorphism_errors
from orbitlens.typing import Numbers

_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
_ROUNDING = 1e-6  # of given matrices
_EXACT = 1e-12  # from a whole number
_MANY = 32  # columns of a point that look like points
_WIDE = (torch.float32, torch.float64)
_UNSIGNED = (torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64)


def points(
    group: Group | str,
    *,
    axis: str | Sequence[float | int] | None = None,
    centred: bool = False,
    matrices: Numbers | None = None,
) -> Action:
    """Return the action of a group on point clouds [n, points, columns] by matrices.

    (gx)[i] = c + M(g) (x[i] - c)   for every point i, with c = 0 or the centroid of the cloud

    Axis 1 counts the points of a cloud. Axis 2 holds the coordinates x, y and, in space, z of each
    point, and then whatever else is known of it, such as a colour; these other columns stay. Clouds
    that are padded to one number of points turn about the origin, because padding would shift c.

    Args:
        group: C_n or D_n, which turn x and y; `groups.octahedral()` with or without `inversion`,
            which turns x, y and z; C_n with `axis`; or any group with `matrices`. Names such as
            "C4", "O" or "Oh" serve too.
        axis: The axis in space about which C_n turns: "x", "y", "z", or a direction (x, y, z) of
            any length. None (the default) for the plane, which is the same as "z".
        centred: Whether each cloud turns about its own centroid; False (the default) for turns
            about the origin.
        matrices: M(g) for every element, shape [|G|, d, d], for the first d columns; None (the
            default) for the usual ones. Rotation groups such as the icosahedral one are given so.

    Returns:
        The action. Matrices with entries 0, 1 and -1 move coordinates without any rounding, and
        whole numbers too; others are exact up to the rounding of floats. Points keep their places,
        so `grid` moves none.

    Raises:
        OrbitLensError: If the group has no usual matrices, if the axis has no direction, or if
            `matrices` do not multiply as the group does.

    Example:
        >>> turn = points("C4")
        >>> turn(torch.tensor([[[1, 0], [2, 1]]]), 1).tolist()  # counter-clockwise
        [[[0, 1], [-1, 2]]]
        >>> points("D3", centred=True)
        Action(points, D3)
    """
    group, centred = as_group(group), as_switch("centred", centred)
    if matrices is not None:
        if axis is not None:
            raise OrbitLensError(
                "`axis` of points",
                expected="None beside `matrices`",
                received=repr(axis),
                remedy="give one of the two",
            )
        found = _given(group, matrices)
        config: dict[str, Any] = {"matrices": found.tolist()}
    else:
        direction = None if axis is None else _direction(axis)
        found = _usual(group, direction)
        config = {} if direction is None else {"axis": direction.tolist()}
    return Action(
        name="points",
        group=group,
        apply=partial(_move, found, centred),
        check=partial(_check, found, centred),
        config={**config, "centred": centred},
        grid=partial(_stay, group.order),
    )


def random_rotations(n: int, seed: int = 0) -> Float[Tensor, "n 3 3"]:
    """Return rotations of space that are drawn uniformly, by the Haar measure of SO(3).

    A quaternion of four normal numbers, divided by its length, is uniform on the sphere [1].

    SO(3) has no finite list of elements, so it is not the group of an action. These samples test
    what holds of all rotations, see `transport.so3_r2`.

    [1] Shoemake, Uniform random rotations, Graphics Gems III, 1992.

    Args:
        n: Number of rotations.
        seed: Seed of the draw, default 0.

    Returns:
        Matrices of determinant 1, shape [n, 3, 3], float64.

    Example:
        >>> random_rotations(5).shape
        torch.Size([5, 3, 3])
    """
    n, generator = as_count("n", n, least=0), torch.Generator().manual_seed(as_seed(seed))
    return haar_rotations(n, generator)


def rotate_points(
    clouds: Float[Tensor, "n points columns"],
    rotations: Numbers,
    *,
    centred: bool = False,
) -> Float[Tensor, "n points columns"]:
    """Move each point cloud by its own matrix, c + R_i (x_i - c).

    Args:
        clouds: Point clouds as `points` takes them, shape [n, points, columns], float32 or float64.
        rotations: R_i, such as those of `random_rotations`, shape [n, d, d].
        centred: Whether c is the centroid of each cloud; False (the default) for the origin.

    Returns:
        The moved clouds, same shape.

    Raises:
        OrbitLensError: If there is not one matrix for each cloud, or the clouds have fewer columns.

    Example:
        >>> turned = rotate_points(torch.eye(3)[None], random_rotations(1))
        >>> bool((turned[0].norm(dim=1) - 1).abs().max() < 1e-6)
        True
    """
    found = as_axes("rotations", rotations, "n d d", dtype=torch.float64)
    centred = as_switch("centred", centred)
    _check(found / 2, centred, clouds)  # halves: as for matrices that calculate
    if len(found) != len(clouds):
        raise OrbitLensError(
            "`rotations`",
            expected=f"one for each of the {len(clouds)} clouds",
            received=len(found),
            remedy="draw as many as there are clouds",
        )
    return _turned(clouds, found.to(clouds), centred)


def _usual(group: Group, axis: Float[Tensor, " 3"] | None) -> Float[Tensor, "group d d"]:
    if axis is None:
        for inversion in (False, True):
            if np.array_equal(group.table, octahedral(inversion=inversion).table):
                return torch.from_numpy(signed_axes(inversion=inversion)).double()
    known = turns_and_flips(group)
    if known is None or (axis is not None and known[1]):
        raise OrbitLensError(
            "`group` of points",
            expected="C_n for turns about an axis"
            if axis is not None
            else "C_n, D_n, octahedral() or octahedral(inversion=True), with the elements in their "
            "order",
            received=group.name,
            remedy="choose one of these, or give `matrices`, one for each element",
        )
    n, _ = known
    found = [_turn(2 * math.pi * (g % n) / n, axis) for g in range(group.order)]
    mirror = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    return torch.stack([turn if g < n else turn @ mirror for g, turn in enumerate(found)])


def _turn(angle: float, axis: Float[Tensor, " 3"] | None) -> Float[Tensor, "d d"]:
    cosine, sine = math.cos(angle), math.sin(angle)
    if axis is None:
        turn = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    else:
        # The formula of Rodrigues.
        x, y, z = axis.tolist()
        cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        eye = torch.eye(3, dtype=torch.float64)
        turn = cosine * eye + sine * cross + (1 - cosine) * torch.outer(axis, axis)
    whole = turn.round()
    return torch.where((turn - whole).abs() < _EXACT, whole, turn)


def _direction(axis: str | Sequence[float | int]) -> Float[Tensor, " 3"]:
    """Return a vector of length 1."""
    if isinstance(axis, str):
        axis = _AXES.get(axis.lower(), axis)
    if not isinstance(axis, str):
        found = as_axes("axis", axis, "xyz", dtype=torch.float64)
        length = torch.linalg.vector_norm(found)
        if len(found) == 3 and length > 0:
            return found / length
    raise OrbitLensError(
        "`axis` of points",
        expected='"x", "y", "z" or a direction of three numbers that are not all zero',
        received=repr(axis),
        remedy='give for example axis="z"',
    )


def _given(group: Group, matrices: Numbers) -> Float[Tensor, "group d d"]:
    found = as_axes("matrices", matrices, "group d d", dtype=torch.float64, least=1)
    if len(found) != group.order or found.shape[1] == 0:
        raise OrbitLensError(
            "`matrices`",
            expected=f"one for each of the {group.order} elements of {group.name}",
            received=f"shape {list(found.shape)}",
            remedy="give an array of shape [|G|, d, d]",
        )
    errors = homomorphism_errors(group, found)
    errors[0, 0] = torch.maximum(errors[0, 0], (found[0] - torch.eye(len(found[0]))).norm())
    if errors.max() > _ROUNDING:
        g, h = divmod(int(errors.argmax()), group.order)
        name, other = group.element_names[g], group.element_names[h]
        raise OrbitLensError(
            "`matrices`",
            expected=f"a representation of {group.name}: M(g) M(h) = M(gh), M(e) = I",
            received=f"matrices that fail for g = {name} ({g}), h = {other} ({h})",
            remedy="correct them, or bring them into the order of the group's elements",
        )
    return found


def _move(
    matrices: Float[Tensor, "group d d"],
    centred: bool,
    inputs: Shaped[Tensor, "n points columns"],
    element: int,
) -> Shaped[Tensor, "n points columns"]:
    if element == 0:
        return inputs.clone()
    matrix = matrices[element]
    if not centred and _is_signed(matrices):
        d, origins = len(matrix), matrix.abs().argmax(1)
        signs = matrix.sum(1).to(inputs.device, inputs.dtype)
        near = inputs[..., origins.to(inputs.device)] * signs
        return torch.cat([near, inputs[..., d:]], dim=-1)
    return _turned(inputs, matrix.to(inputs), centred)


def _turned(
    inputs: Float[Tensor, "n points columns"], matrices: Float[Tensor, "*n d d"], centred: bool
) -> Float[Tensor, "n points columns"]:
    d = matrices.shape[-1]
    near, others = inputs[..., :d], inputs[..., d:]
    centre = near.mean(dim=1, keepdim=True) if centred else torch.zeros_like(near[:, :1])
    return torch.cat([centre + (near - centre) @ matrices.mT, others], dim=-1)


def _is_signed(matrices: Float[Tensor, "group d d"]) -> bool:
    """Return whether all matrices are permutations of the axes with signs."""
    size = matrices.abs()
    rows = ((size == 0) | (size == 1)).all() and (size.sum(1) == 1).all()
    return bool(rows and (size.sum(2) == 1).all())


def _check(matrices: Float[Tensor, "group d d"], centred: bool, inputs: Tensor) -> None:
    d = matrices.shape[-1]
    shape = f"[n, points, columns], the first {d} columns of a point its coordinates"
    if inputs.ndim != 3 or inputs.shape[2] < d:
        alone = inputs.ndim == 2 and inputs.shape[1] >= d
        first = inputs.ndim == 3 and inputs.shape[1] >= d
        raise OrbitLensError(
            "point clouds",
            expected=f"shape {shape}",
            received=list(inputs.shape),
            remedy="give single points an axis with points[:, None]"
            if alone
            else "move the coordinates to the last axis with points.transpose(1, 2)"
            if first
            else "bring the axes into this order",
        )
    if inputs.shape[1] == d and inputs.shape[2] > _MANY:
        raise OrbitLensError(
            "point clouds",
            expected=f"shape {shape}",
            received=f"{list(inputs.shape)}, with the coordinates on axis 1 as it seems",
            remedy="bring them last with points.transpose(1, 2); a network that takes them first "
            "gets them back with `prepare`",
        )
    calculates = centred or not _is_signed(matrices)
    if (calculates and inputs.dtype not in _WIDE) or inputs.dtype in _UNSIGNED:
        raise OrbitLensError(
            "point clouds",
            expected="coordinates in torch.float32 or torch.float64"
            if calculates
            else "coordinates of a type with signs",
            received=inputs.dtype,
            remedy="convert them with points.float()",
        )


def _stay(order: int, height: int, width: int) -> Int[np.ndarray, "group position"]:
    return np.tile(np.arange(height * width), (order, 1))
