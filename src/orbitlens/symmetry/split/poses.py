"""The pose of a feature map: where, and in which direction, it is largest.

Source: Xu, Kim, Rainforth & Teh 2021, arXiv 2106.05886, and their code: the argmax of smoothed
magnitudes. They draw from a softmax of temperature 1e-4 instead, so two passes may differ.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.checks import as_floats, as_number
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups import PlaneGroup
from orbitlens.symmetry.split._functions import check_functions

_ROUNDING = 1  # units of the last place, of what was summed, by which equal scores may differ


class Pose(NamedTuple):
    """The pose of each input, with a flag for those whose pose is not unique."""

    element: Int[Tensor, "n 3"]
    """(ty, tx, k): the element of the plane group at which the scores are largest."""
    tied: Bool[Tensor, " n"]
    """Whether another element has the same score up to rounding."""


@torch.no_grad()
def index_map(
    maps: Float[Tensor, "n channels side side"],
    group: PlaneGroup,
    blur: float | None = None,
    scale: Float[Tensor, " n"] | None = None,
) -> Pose:
    """Return the group element at which functions on a plane group are largest.

        s[k](u) = mean over f of | F[f, k](u) - mean of F[f] |,  blurred      pose = argmax s

    As the scores move with the map, pose(g F) = g pose(F). Where an input is constant, periodic or
    its own mirror image, several elements have the largest score: its pose is one of them, and
    `tied` says so. Scores count as equal if they differ by no more than the rounding of the maps,
    one unit in the last place of `scale`; so an image with small contrast on a bright ground may be
    tied without a symmetry. No gradient flows through the pose.

    Source: Xu et al. 2021, arXiv 2106.05886, with one Gaussian in place of a mean over 5 x 5 and a
    Gaussian of 15 x 15 places: it has their width, and is the same in every direction.

    Args:
        maps: Functions on the group, shape [n, features * |P|, side, side], P the point group.
        group: The plane group.
        blur: Standard deviation of the Gaussian in pixels; default side / 16, at least 1/2.
        scale: The sum of magnitudes that an entry of each map was rounded from, shape [n]; default
            four times its largest entry. Give it for maps that are small differences of large
            numbers, such as those of kernels with a sum of zero.

    Returns:
        The element (ty, tx, k) of each map, and whether it is tied.

    Raises:
        OrbitLensError: If the maps are no functions on the group, hold NaN or infinity or no
            numbers (device "meta"), or if `blur` is not above 0.

    Example:
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[0, 0, 2, 5] = 1
        >>> index_map(maps, PlaneGroup("p1", 8))
        Pose(element=tensor([[2, 5, 0]]), tied=tensor([False]))
    """
    maps = _checked(maps, group)
    deviation = max(group.side / 16, 0.5) if blur is None else as_number("blur", blur)
    if deviation <= 0:
        raise out_of_range("blur", "above 0", blur)
    points = group.point_group.order
    # torch.cdist, which sums |a - b| in one pass, knows no type shorter than float32.
    exact = maps.to(torch.promote_types(maps.dtype, torch.float32))
    values = rearrange(exact, "n (f k) y x -> n (k y x) f", k=points)
    sizes = torch.cdist(values, values.mean(1, keepdim=True), p=1) / values.shape[2]
    sizes = sizes.reshape(len(maps), points, group.side, group.side)
    smooth = _around_the_torus(group.side, deviation).to(sizes)
    scores = (smooth @ sizes @ smooth).flatten(1)
    top, number = scores.max(1)
    if not bool(top.isfinite().all()):
        raise OrbitLensError(
            "index map of subsampling",
            expected="finite scores",
            received=f"NaN or infinity for {int((~top.isfinite()).sum())} of {len(top)} inputs",
            remedy="look for NaN in the inputs, or in the weights after training",
        )
    if scale is None:
        scale = 4 * maps.abs().amax((1, 2, 3))
    near = top - _ROUNDING * torch.finfo(maps.dtype).eps * scale.to(top)
    k, place = number // group.side**2, number % group.side**2
    element = torch.stack([place // group.side, place % group.side, k], dim=1)
    return Pose(element, (scores >= near[:, None]).sum(1) > 1)


def _checked(maps: object, group: PlaneGroup) -> Float[Tensor, "n channels side side"]:
    floats = as_floats("maps", maps)
    check_functions(f"on {group.name}", floats, group)
    if floats.is_meta:
        raise OrbitLensError(
            "index map of subsampling",
            expected="numbers, whose largest is looked for",
            received="a tensor of device meta, without numbers",
            remedy="build the inputs on another device",
        )
    return floats


def _around_the_torus(side: int, deviation: float) -> Float[Tensor, "side side"]:
    """Return the Gaussian blur along one axis of a torus, as a symmetric matrix."""
    places = torch.arange(side, dtype=torch.float64)
    turns = torch.arange(-_TURNS, _TURNS + 1)[:, None, None]
    distance = places[:, None] - places + side * turns
    weights = torch.exp(-(distance**2) / (2 * deviation**2)).sum(0)
    return weights / weights.sum(1, keepdim=True)


_TURNS = 3  # around the torus, after which a blur of a few pixels is 0
