"""Representations: one matrix for each group element."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.groups import Group


@dataclass(frozen=True, eq=False)
class Representation:
    """A map rho from a group to matrices with rho(gh) = rho(g) rho(h).

    Args:
        group: The group.
        matrices: rho(g) for every element g, shape [|G|, dim, dim], float64.
        name: Name of the representation, such as "regular" or "2d#1".
    """

    group: Group
    matrices: Float[Tensor, "order dim dim"]
    name: str

    @property
    def dim(self) -> int:
        """Dimension of the space that the group acts on."""
        return self.matrices.shape[-1]

    @property
    def character(self) -> Float[Tensor, " order"]:
        """chi(g) = trace rho(g), constant on conjugacy classes."""
        return self.matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


def homomorphism_errors(
    group: Group, matrices: Float[Tensor, "order dim dim"]
) -> Float[Tensor, "order order"]:
    """Measure for each pair of elements how far matrices are from a representation.

    error[g, h] = ||rho(g) rho(h) - rho(gh)||_F / ||I||_F

    Args:
        group: The group whose product table the matrices should follow.
        matrices: One matrix per element, shape [|G|, dim, dim].

    Returns:
        The relative error of each pair, shape [|G|, |G|]; zero for an exact representation.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import regular
        >>> homomorphism_errors(cyclic(3), regular(cyclic(3)).matrices).max().item()
        0.0
    """
    table = torch.from_numpy(group.table.copy()).to(matrices.device)
    scale = max(1, matrices.shape[-1]) ** 0.5
    return torch.stack(
        [
            torch.linalg.matrix_norm(matrices[g] @ matrices - matrices[table[g]]) / scale
            for g in range(group.order)
        ]
    )
