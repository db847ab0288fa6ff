"""A permutation representation: the group moves points, and with them their coordinates."""

from collections.abc import Sequence

import torch

from orbitlens.groups import Group, permutations
from orbitlens.reps.base import Representation


def permutation(group: Group, generators: Sequence[Sequence[int]]) -> Representation:
    """Return rho(g) e_i = e_g(i), where the group moves the points i.

    Args:
        group: Any finite group.
        generators: For each of its generators a permutation; `generator[i]` is where i goes.

    Returns:
        Permutation matrices, shape [|G|, points, points]. The trace counts the points that stay.

    Raises:
        OrbitLensError: If these permutations do not follow the product table.

    Example:
        >>> from orbitlens.groups import symmetric
        >>> permutation(symmetric(3), [(1, 2, 0), (1, 0, 2)]).character[:3].tolist()
        [3.0, 0.0, 1.0]
    """
    moved = torch.from_numpy(permutations(group, generators))
    order, points = moved.shape
    matrices = torch.zeros(order, points, points, dtype=torch.float64)
    elements, origins = torch.arange(order)[:, None], torch.arange(points)[None]
    matrices[elements, moved, origins] = 1.0
    return Representation(group, matrices, "permutation")
