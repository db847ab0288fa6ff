"""The parts of a representation: how often it holds each irrep, and where.

Source: Serre, *Linear Representations of Finite Groups*, sections 2.3, 2.6 and 13.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.groups import Group
from orbitlens.reps.base import Representation
from orbitlens.reps.irreps import character_norm, irreps


def multiplicities(rep: Representation) -> tuple[int, ...]:
    """Count how often a representation holds each irrep, m_i = <chi, chi_i> / <chi_i, chi_i>.

    Args:
        rep: A representation of any finite group.

    Returns:
        One number for each of `irreps(rep.group)`.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> from orbitlens.reps import regular
        >>> multiplicities(regular(dihedral(4)))
        (1, 1, 1, 1, 2)
    """
    return tuple(
        round((rep.character * irrep.character).mean().item() / character_norm(irrep))
        for irrep in irreps(rep.group)
    )


def isotypic_projections(
    group: Group, matrices: Float[Tensor, "order dim dim"]
) -> Float[Tensor, "irreps dim dim"]:
    """Return the projection onto the copies of each irrep.

        P_i = dim_i / (<chi_i, chi_i> |G|) sum_g chi_i(g) rho(g)

    The first is the projection onto what the group leaves alone. For an orthogonal representation
    they are orthogonal projections; their sum is the identity and they annul each other.

    Args:
        group: The group.
        matrices: A representation, or a family that is near to one, shape [|G|, dim, dim].

    Returns:
        One matrix for each of `irreps(group)`, shape [irreps, dim, dim].

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import regular
        >>> group = cyclic(4)
        >>> parts = isotypic_projections(group, regular(group).matrices)
        >>> parts.diagonal(dim1=1, dim2=2).sum(1).round().tolist()  # the dimension of each part
        [1.0, 1.0, 2.0]
    """
    parts = []
    for irrep in irreps(group):
        weight = irrep.dim / (character_norm(irrep) * group.order) * irrep.character
        parts.append(torch.einsum("g,gij->ij", weight.to(matrices), matrices))
    return torch.stack(parts)
