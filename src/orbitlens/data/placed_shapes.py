"""Images of one thing each, at a known place on a torus: poses apart from what is shown.

Source of the split of poses: Xu et al. 2021, arXiv 2106.05886, *Group Equivariant Subsampling*; its
code trains on one quarter of the positions and of the angles. The drawings are our own.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from orbitlens.actions import move_on_plane
from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.data.base import Inputs
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.groups import PlaneGroup

_KINDS = ("ellipse", "rectangle", "triangle")
_POSES = ("any", "quadrant")
# A shape reaches 5 sqrt(2) pixels from its centre and must not overlap itself across the border.
_SMALLEST = 16
_SOFTNESS = 0.5  # pixels over which the logarithmic odds of an edge change by one


@dataclass(frozen=True, eq=False)
class Placed:
    """Images on a torus, and the pose of each.

    Args:
        inputs: The images, shape [n, channels, side, side], with the labels of what they show.
        poses: The element (ty, tx, k) of the plane group that moved each image from pixel (0, 0),
            shape [n, 3]; (ty, tx) is the place of its centre.
    """

    inputs: Inputs
    poses: Int[Tensor, "n 3"]


def placed_shapes(
    n: int, *, side: int = 32, group: str = "p1", poses: str = "any", seed: int = 0
) -> Placed:
    """Draw an ellipse, a rectangle or a triangle with soft edges and put it on a torus.

        x = pose (colour * sigmoid(-d / 0.5))

    with d the signed distance from the edge in pixels; that of the ellipse is to first order, and
    corners are sharp. The longer half-axis is uniform in 2.5 to 5 pixels, the shorter one 0.4 to
    0.9 of it, the angle 0 to 90 degrees and each colour 0.5 to 1. The triangle is equilateral
    before the half-axes stretch it. Shapes depend on `n`, `side` and the seed alone, not on the
    group and the poses. Ellipses and rectangles are their own half turns, up to rounding.

    Source: Xu et al. 2021, arXiv 2106.05886, for the split of poses; the drawings are our own.

    Args:
        n: Number of images; the numbers of two kinds differ by at most one.
        side: Height and width of the torus in pixels, at least 16.
        group: "p1", "p4" or "p4m"; its elements are the poses.
        poses: "any": uniform on the group. "quadrant": (ty, tx, 0) with both below half the side,
            and no turn, whatever the group.
        seed: The same seed gives the same bits.

    Returns:
        Images of shape [n, 3, side, side], float32 in [0, 1], with labels 0 to 2: ellipse,
        rectangle, triangle; and their poses.

    Raises:
        OrbitLensError: If `n` is below 1, the side below 16, or the group or `poses` unknown.

    Example:
        >>> drawn = placed_shapes(10, poses="quadrant")
        >>> drawn.inputs.values.shape, bool((drawn.poses[:, :2] < 16).all())
        (torch.Size([10, 3, 32, 32]), True)
    """
    n, side, seed = as_count("n", n), as_count("side", side, least=0), as_seed(seed)
    if side < _SMALLEST:
        raise out_of_range("side", f"at least {_SMALLEST} pixels", side)
    subject = f"{n} images of {side} x {side} pixels"
    check_memory(subject, 48 * n * side**2, "choose fewer or smaller images")
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(n)[torch.randperm(n, generator=generator)] % len(_KINDS)
    drawn = _draw(kinds, side, generator)
    inputs = Inputs("placed shapes", drawn, kinds.numpy().astype(np.int64), _KINDS)
    # The same numbers must not choose both the shape and its pose.
    pose_seed = int(torch.randint(2**31, (), generator=generator))
    return placed(inputs, side=side, group=group, poses=poses, seed=pose_seed)


def placed(
    inputs: Inputs, *, side: int, group: str = "p1", poses: str = "any", seed: int = 0
) -> Placed:
    """Put images on a torus of zeros, each in a random pose.

    The canvas around an image is zero, and the middle of the image, pixel (height // 2, width //
    2), lies at pixel (0, 0) before the pose moves it.

    Args:
        inputs: Images of shape [n, channels, height, width].
        side: Height and width of the torus in pixels, at least those of the images.
        group: "p1", "p4" or "p4m"; its elements are the poses.
        poses: "any" or "quadrant", as for `placed_shapes`.
        seed: The same seed gives the same poses.

    Returns:
        The same set with images of shape [n, channels, side, side], and their poses.

    Raises:
        OrbitLensError: If the inputs are no images, if they are larger than the torus, or
            if the group or `poses` is unknown.

    Example:
        >>> one = Inputs("dot", torch.ones(1, 1, 1, 1))
        >>> found = placed(one, side=4, seed=0)
        >>> found.inputs.values[0, 0].nonzero().tolist() == found.poses[:, :2].tolist()
        True
    """
    images, side = inputs.values[:], as_count("side", side)
    if images.ndim != 4:
        raise OrbitLensError(
            "`inputs` of placed",
            expected="images, shape [n, channels, height, width]",
            received=f"shape {tuple(images.shape)}",
            remedy="give images, with an axis for their channels",
        )
    height, width = images.shape[2:]
    if side < max(height, width):
        raise out_of_range("side", f"at least {max(height, width)} pixels, as the images", side)
    if poses not in _POSES:
        raise unknown_name("`poses`", poses, _POSES)
    plane, generator = PlaneGroup(group, side), torch.Generator().manual_seed(as_seed(seed))
    if poses == "any":
        elements = plane.random(len(images), generator)
    else:
        places = torch.randint((side + 1) // 2, (len(images), 2), generator=generator)
        elements = pad(places, (0, 1))
    canvas = pad(images, (0, side - width, 0, side - height))
    centred = canvas.roll((-(height // 2), -(width // 2)), dims=(-2, -1))
    moved = move_on_plane(centred, elements, plane)
    return Placed(replace(inputs, values=moved), elements)


def _draw(
    kinds: Int[Tensor, " n"], side: int, generator: torch.Generator
) -> Float[Tensor, "n 3 side side"]:
    """Draw shapes about pixel (side // 2, side // 2)."""
    size, ratio, turn, *colour = torch.rand(6, len(kinds), generator=generator, dtype=torch.float64)
    along = 2.5 + 2.5 * size
    axes = torch.stack([along, along * (0.4 + 0.5 * ratio)])
    places = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = torch.meshgrid(-places, places, indexing="ij")
    angle = (math.pi / 2 * turn)[:, None, None]
    point = torch.stack([angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x])
    distances = torch.stack([draw(point, axes[..., None, None]) for draw in _DISTANCES])
    distance = distances[kinds, torch.arange(len(kinds))]
    cover = torch.sigmoid(-distance / _SOFTNESS)
    colours = 0.5 + torch.stack(colour, dim=1) / 2
    return (colours[:, :, None, None] * cover[:, None]).float()


_Points = Float[Tensor, "2 n side side"]
_Axes = Float[Tensor, "2 n 1 1"]
_Distances = Float[Tensor, "n side side"]


def _ellipse(point: _Points, axes: _Axes) -> _Distances:
    """Return (f - 1) / |grad f| with f = |point / axes|, which is 1 on the edge."""
    f = (point / axes).norm(dim=0)
    slope = (point / axes**2).norm(dim=0)
    # At the centre both are zero; there the distance is the shorter half-axis.
    return (f - 1) * torch.where(f > 0, f / slope, axes[1])


def _rectangle(point: _Points, axes: _Axes) -> _Distances:
    return (point.abs() - axes).amax(0)


def _triangle(point: _Points, axes: _Axes) -> _Distances:
    """Return the largest distance from the three sides, whose corners lie on the ellipse."""
    u, v = point / axes
    # The sides of the equilateral triangle are at 1/2 from its centre.
    sides = [(-u - 0.5) * axes[0]]
    root = math.sqrt(3)
    steepness = (1 / axes[0] ** 2 + 3 / axes[1] ** 2).sqrt()
    sides += [(u + sign * root * v - 1) / steepness for sign in (-1, 1)]
    return torch.stack(sides).amax(0)


_DISTANCES = (_ellipse, _rectangle, _triangle)
