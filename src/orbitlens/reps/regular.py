"""The regular representation: the group permutes its own elements."""

import torch

from orbitlens.groups import Group
from orbitlens.reps.base import Representation


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
    n = group.order
    matrices = torch.zeros(n, n, n, dtype=torch.float64)
    table = torch.from_numpy(group.table.copy())
    elements = torch.arange(n)
    matrices[elements[:, None], table, elements[None, :]] = 1.0
    return Representation(group=group, matrices=matrices, name="regular")
