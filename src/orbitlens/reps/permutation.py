"""Permutation representations: the group moves points, or its own elements."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from orbitlens.groups import Group, permutations
from orbitlens.reps.base import Representation


def permutation(group: Group, generators: Sequence[Sequence[int]]) -> Representation:
    """Return the representation that moves points, rho(g) e_i = e_g(i).

    Args:
        group: Any finite group.
        generators: One permutation for each generator; `generator[i]` is the image of point i.

    Returns:
        Permutation matrices, shape [|G|, points, points]. The trace counts the fixed points.

    Raises:
        OrbitLensError: If the permutations do not multiply as the product table says.

    Example:
        >>> from orbitlens.groups import symmetric
        >>> permutation(symmetric(3), [(1, 2, 0), (1, 0, 2)]).character[:3].tolist()
        [3.0, 0.0, 1.0]
    """
    images = torch.from_numpy(permutations(group, generators))
    return Representation(group, _matrices(images), "permutation")


def regular(group: Group) -> Representation:
    """Return the left regular representation, rho(g) e_h = e_gh.

    Args:
        group: Any finite group.

    Returns:
        Permutation matrices of shape [|G|, |G|, |G|].

    Example:
        >>> from orbitlens.groups import cyclic
        >>> regular(cyclic(3)).matrices[1].int().tolist()
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    """
    return Representation(group, _matrices(torch.from_numpy(group.table.copy())), "regular")


def _matrices(images: Int[Tensor, "order points"]) -> Tensor:
    """Return one permutation matrix per element, from the image of each point."""
    order, points = images.shape
    matrices = torch.zeros(order, points, points, dtype=torch.float64)
    matrices[torch.arange(order)[:, None], images, torch.arange(points)] = 1.0
    return matrices
