"""What is read from a trained encoder: invariant features, and how much of it is not trivial."""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.groups import Group, as_group
from orbitlens.models import group_pool
from orbitlens.symmetry.pretext._functions import functions_on, near_one


def frozen_features(z: Float[Tensor, "n dim"], group: Group | str) -> Float[Tensor, "n features"]:
    """Return what stays of functions on a group: the maximum and the mean of each.

        [max_g z[f, g], mean_g z[f, g]]

    Args:
        z: Functions on the group, such as an encoder's output, shape [n, f * |G|].
        group: Any finite group, or its name.

    Returns:
        Invariant features, shape [n, 2 f]; standardise them before a linear probe.

    Raises:
        OrbitLensError: If the last axis is no multiple of |G|.

    Example:
        >>> frozen_features(torch.tensor([[1.0, 3.0, 0.0, 4.0]]), "C2")
        tensor([[3., 4., 2., 2.]])
    """
    group = as_group(group)
    rows = functions_on("z", z, group).flatten(1)
    return torch.cat([group_pool(rows, group, "max"), group_pool(rows, group, "mean")], dim=1)


def nontrivial_energy(z: Float[Tensor, "n dim"], group: Group | str) -> Float[Tensor, " n"]:
    """Return the share of the squared norm that is not in the trivial representation.

        |z - mean_g z|^2 / |z|^2

    0 means that the functions are constant: what an equivariant network has over an invariant one
    is lost.

    Args:
        z: Functions on the group, shape [n, f * |G|].
        group: Any finite group, or its name.

    Returns:
        One share for each row, 0 to 1.

    Raises:
        OrbitLensError: If the last axis is no multiple of |G|, or a row is zero or not finite.

    Example:
        >>> nontrivial_energy(torch.tensor([[1.0, -1.0], [2.0, 2.0], [1.0, 0.0]]), "C2")
        tensor([1.0000, 0.0000, 0.5000])
    """
    functions = near_one("z", functions_on("z", z, as_group(group)))
    moving = functions - functions.mean(-1, keepdim=True)
    return moving.square().sum((1, 2)) / functions.square().sum((1, 2))
