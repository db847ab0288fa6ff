"""Turns and mirror images of volumes: the symmetries of a cube rearrange the voxels.

The axes are those of `groups.signed_axes`, and the origin is the centre of the volume: x grows with
the index of the width, y falls with the index of the height, z grows with the index of the depth.
So y points upwards in a drawn image. The quarter turn about z sends x to y and y to -x; it turns
every slice counter-clockwise, as r of C4 turns images.
"""

import numpy as np
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions._integers import of_any_integers
from orbitlens.actions.base import Action, places_moved
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group, octahedral, signed_axes

# Depth, height, width are z, -y, x.
_TO_INDICES = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]])


def volumes(group: Group | str) -> Action:
    """Return the action of the octahedral group on volumes [n, channels, depth, height, width].

    (gx)[M_g p] = x[p]   for every place p = (x, y, z) relative to the centre, M = signed_axes

    Slices of a volume are counted by depth; each is an image with its rows from top to bottom and
    its columns from left to right.

    Args:
        group: `groups.octahedral()` or `groups.octahedral(inversion=True)`, recognised by the
            product table; or its name, "O" or "Oh".

    Returns:
        The exact action on cubes. Its `grid` takes depth, height and width.

    Raises:
        OrbitLensError: If the group is another one.

    Example:
        >>> import torch
        >>> from orbitlens.groups import octahedral
        >>> about_z, _ = octahedral().generators
        >>> volumes(octahedral())(torch.arange(8).reshape(1, 1, 2, 2, 2), about_z).tolist()
        [[[[[1, 3], [0, 2]], [[5, 7], [4, 6]]]]]
    """
    group = as_group(group)
    matrices = _matrices(group)
    origins = np.abs(matrices).argmax(axis=2)
    permutations = [(0, 1, *axes) for axes in (2 + origins).tolist()]
    flips = [(2 + np.flatnonzero(signs < 0)).tolist() for signs in matrices.sum(axis=2)]

    @of_any_integers
    def move(
        inputs: Shaped[Tensor, "n channels side side side"], element: int
    ) -> Shaped[Tensor, "n channels side side side"]:
        return inputs.permute(permutations[element]).flip(flips[element])

    def places(depth: int, height: int, width: int) -> Int[np.ndarray, "group position"]:
        if not depth == height == width:
            raise _no_cube("feature maps", depth, height, width)
        return places_moved(move, group.order, depth, height, width)

    return Action("volumes", group, apply=move, check=_check, grid=places)


def _matrices(group: Group) -> Int[np.ndarray, "order 3 3"]:
    """Return M in the axes of a tensor: row i holds the source of axis i and its sign."""
    for inversion in (False, True):
        if np.array_equal(group.table, octahedral(inversion=inversion).table):
            return _TO_INDICES @ signed_axes(inversion=inversion) @ _TO_INDICES.T
    raise OrbitLensError(
        "`group` of volumes",
        expected="octahedral() or octahedral(inversion=True), with the elements in their order",
        received=group.name,
        remedy='choose one of these, by name "O" or "Oh"',
    )


def _check(inputs: Tensor) -> None:
    if inputs.ndim != 5:
        raise OrbitLensError(
            "volumes",
            expected="shape [n, channels, depth, height, width]",
            received=list(inputs.shape),
            remedy="give plain volumes a channel axis with volumes[:, None]",
        )
    channels, (depth, height, width) = inputs.shape[1], inputs.shape[2:]
    if width in (1, 3, 4) and channels == depth == height > 4:
        raise OrbitLensError(
            "volumes",
            expected="shape [n, channels, depth, height, width]",
            received=f"{list(inputs.shape)}, with channels last as it seems",
            remedy="bring them first with volumes.permute(0, 4, 1, 2, 3); a network that takes "
            "them last gets them back with `prepare`",
        )
    if not depth == height == width:
        raise _no_cube("volumes", depth, height, width)


def _no_cube(subject: str, depth: int, height: int, width: int) -> OrbitLensError:
    return OrbitLensError(
        f"{subject} under the octahedral group",
        expected="depth = height = width",
        received=f"{depth} x {height} x {width}",
        remedy="crop or resize the volumes to cubes",
    )
