"""The pose of a feature map: where, and in which direction, it is largest.

Source: Xu, Kim, Rainforth & Teh 2021, arXiv 2106.05886, and their code: the argmax of smoothed
magnitudes. They draw from a softmax of temperature 1e-4 instead, so two passes may differ.
"""

from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup

_ROUNDING = 100  # units of the last place by which equal scores may differ


class Pose(NamedTuple):
    """The pose of each input, with a flag for those whose pose is not unique."""

    element: Int[Tensor, "n 3"]
    """(ty, tx, k): the element of the plane group at which the scores are largest."""
    tied: Bool[Tensor, " n"]
    """Whether another element has the same score up to rounding."""


@torch.no_grad()
def index_map(
    maps: Float[Tensor, "n channels side side"], group: PlaneGroup, blur: float | None = None
) -> Pose:
    """Return the group element at which functions on a plane group are largest.

        s[k](u) = mean over f of | F[f, k](u) - mean of F[f] |,  blurred      pose = argmax s

    As the scores move with the map, pose(g F) = g pose(F). Where an input is constant, periodic or
    its own mirror image, several elements have the largest score: its pose is one of them, and
    `tied` says so. No gradient flows through the pose.

    Source: Xu et al. 2021, arXiv 2106.05886, with one Gaussian in place of a mean over 5 x 5 and a
    Gaussian of 15 x 15 places: it has their width, and is the same in every direction.

    Args:
        maps: Functions on the group, shape [n, features * |P|, side, side], P the point group.
        group: The plane group.
        blur: Standard deviation of the Gaussian in pixels; default side / 16, at least 1/2.

    Returns:
        The element (ty, tx, k) of each map, and whether it is tied.

    Raises:
        OrbitLensError: If a map holds NaN or infinity.

    Example:
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[0, 0, 2, 5] = 1
        >>> index_map(maps, PlaneGroup("p1", 8))
        Pose(element=tensor([[2, 5, 0]]), tied=tensor([False]))
    """
    points = group.point_group.order
    functions = maps.unflatten(1, (-1, points))
    sizes = (functions - functions.mean((2, 3, 4), keepdim=True)).abs_().mean(1)
    smooth = _around_the_torus(group.side, blur or max(group.side / 16, 0.5)).to(sizes)
    scores = (smooth @ sizes @ smooth).flatten(1)
    top, number = scores.max(1)
    if not bool(top.isfinite().all()):
        raise OrbitLensError(
            "index map of subsampling",
            expected="finite scores",
            received=f"NaN or infinity for {int((~top.isfinite()).sum())} of {len(top)} inputs",
            remedy="look for NaN in the inputs, or in the weights after training",
        )
    near = top - _ROUNDING * torch.finfo(scores.dtype).eps * top
    k, place = number // group.side**2, number % group.side**2
    element = torch.stack([place // group.side, place % group.side, k], dim=1)
    return Pose(element, (scores >= near[:, None]).sum(1) > 1)


@cache
def _around_the_torus(side: int, deviation: float) -> Float[Tensor, "side side"]:
    """Return the Gaussian blur along one axis of a torus, as a symmetric matrix."""
    places = torch.arange(side, dtype=torch.float64)
    turns = torch.arange(-_TURNS, _TURNS + 1)[:, None, None]
    distance = places[:, None] - places + side * turns
    weights = torch.exp(-(distance**2) / (2 * deviation**2)).sum(0)
    return weights / weights.sum(1, keepdim=True)


_TURNS = 3  # around the torus, after which a blur of a few pixels is 0
