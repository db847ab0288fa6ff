"""Which elements of a group leave a direction alone."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.groups import Group


def stabilisers(
    group: Group, cosines: Float[Tensor, "*stack group atoms"], tolerance: float
) -> Bool[Tensor, "*stack group atoms"]:
    """Find the stabiliser of each direction.

    H = {h : hS = S} with S = {h : 1 - cos(h) <= tolerance}

    S itself is no subgroup where a direction is nearly left alone by some elements; H always is
    one, it lies in S, and it is S where that is a subgroup.

    Args:
        group: The group.
        cosines: cos(rho(h) d, d) for every element h, in an inner product that the group keeps,
            shape [|G|, atoms].
        tolerance: By how much an element may change a direction, 1 - cos.

    Returns:
        Whether each element is in the stabiliser, shape [|G|, atoms].

    Example:
        >>> from orbitlens.groups import cyclic
        >>> cosines = torch.tensor([[1.0], [0.1], [0.99], [0.1]])
        >>> stabilisers(cyclic(4), cosines, 0.05).flatten().tolist()
        [True, False, True, False]
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
    """Name the orientations of a direction, gH, by their first element.

    Args:
        group: The group.
        stabiliser: Whether each element is in H, shape [|G|, atoms].

    Returns:
        For every element g the first element of gH, shape [|G|, atoms].

    Example:
        >>> from orbitlens.groups import cyclic
        >>> half_turn = torch.tensor([[True], [False], [True], [False]])
        >>> cosets(cyclic(4), half_turn).flatten().tolist()
        [0, 1, 0, 1]
    """
    # same[g, k]: whether g^-1 k is in H, that is whether k is in gH.
    relative = torch.from_numpy(group.table[group.inverses]).to(stabiliser.device)
    same = stabiliser[..., relative, :]
    return same.to(torch.uint8).argmax(-2)
