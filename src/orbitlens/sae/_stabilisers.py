"""The elements of a group that leave a direction unchanged."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.groups import Group

TOLERANCE = 0.1
"""The default for how much an element may change a direction that it leaves unchanged, 1 - cos."""


def stabilisers(
    group: Group, cosines: Float[Tensor, "*stack group atoms"], tolerance: float
) -> Bool[Tensor, "*stack group atoms"]:
    """Return whether each element is in the stabiliser of each direction, shape [|G|, atoms].

        H = {h : hS = S} with S = {h : 1 - cos(h) <= tolerance}

    `cosines` are cos(rho(h) d, d) in an inner product that the group keeps. H is always a subgroup
    and part of S; it is S where S is a subgroup.
    """
    near = 1 - cosines <= tolerance
    near[..., 0, :] = True
    # left[h, g] = h^-1 g: then hS holds g where S holds h^-1 g.
    left = torch.from_numpy(group.table[group.inverses]).to(cosines.device)
    moved = near[..., left, :]
    return (moved == near.unsqueeze(-3)).all(-2)


def cosets(
    group: Group, stabiliser: Bool[Tensor, "*stack group atoms"]
) -> Int[Tensor, "*stack group atoms"]:
    """Return the first element of gH for every element g, shape [|G|, atoms]."""
    # same[g, k]: whether g^-1 k is in H, that is whether k is in gH.
    relative = torch.from_numpy(group.table[group.inverses]).to(stabiliser.device)
    same = stabiliser[..., relative, :]
    return same.to(torch.uint8).argmax(-2)
