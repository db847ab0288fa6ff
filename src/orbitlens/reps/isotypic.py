"""The isotypic parts of a representation: how often it holds each irrep, and where.

Source: Serre, *Linear Representations of Finite Groups*, sections 1.3, 2.3, 2.6, 2.7 and 13.2.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_axes
from orbitlens.groups import Group, as_group
from orbitlens.reps._door import as_representation, check_multiplies
from orbitlens.reps.base import Representation
from orbitlens.reps.exactify import polar
from orbitlens.reps.irreps import character_norm, irreps
from orbitlens.typing import Numbers

_EXACT = 1e-6


def multiplicities(rep: Representation) -> tuple[int, ...]:
    """Count the copies of each irrep in a representation, m_i = <chi, chi_i> / <chi_i, chi_i>.

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
    group = as_representation(rep).group
    return tuple(
        round((rep.character * irrep.character).mean().item() / character_norm(irrep))
        for irrep in irreps(group)
    )


def isotypic_projections(group: Group | str, matrices: Numbers) -> Float[Tensor, "irreps dim dim"]:
    """Return the projection onto the copies of each irrep.

        P_i = dim_i / (<chi_i, chi_i> |G|) sum_g chi_i(g) rho(g)

    P_0 projects onto the vectors that every element leaves unchanged. For an orthogonal
    representation all P_i are orthogonal projections, P_i P_j = 0 for i != j, and they add up to I.

    Args:
        group: The group, or its name.
        matrices: A representation, or matrices close to one, shape [|G|, dim, dim].

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
    group = as_group(group)
    matrices = as_axes("matrices", matrices, "order dim dim", sizes={"order": group.order})
    parts = []
    for irrep in irreps(group):
        weight = irrep.dim / (character_norm(irrep) * group.order) * irrep.character
        parts.append(torch.einsum("g,gij->ij", weight.to(matrices), matrices))
    return torch.stack(parts)


@dataclass(frozen=True, eq=False)
class IsotypicBasis:
    """Coordinates y = T^-1 x in which rho(g) is block-diagonal and orthogonal.

    Coordinates come irrep by irrep, in the order of `irreps(group)`. The coordinates of irrep i
    are [component a, copy j] with its m_i copies, copies fastest, and rho(g) x has coordinates

        y'[a, j] = sum_b irrep_i(g)[a, b] y[b, j]

    Args:
        group: The group.
        multiplicities: m_i, the number of copies of each of `irreps(group)`.
        T_inverse: T^-1, shape [dim, dim], float64.
        T: T, shape [dim, dim], float64.
    """

    group: Group
    multiplicities: tuple[int, ...]
    T_inverse: Float[Tensor, "dim dim"]
    T: Float[Tensor, "dim dim"]

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The range of coordinates of each irrep."""
        sizes = [
            irrep.dim * m for irrep, m in zip(irreps(self.group), self.multiplicities, strict=True)
        ]
        return tuple(slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0)))


def isotypic_basis(rep: Representation) -> IsotypicBasis:
    """Find the basis in which a representation is block-diagonal, one block per copy of an irrep.

    Any representation is orthogonal in the invariant inner product B = mean_g rho(g)^T rho(g): with
    A = B^(1/2), every Q(g) = A rho(g) A^-1 is orthogonal. The orthonormal columns U of the copies
    of irreps in Q then give T = A^-1 U. If rho is orthogonal, so is T.

    Args:
        rep: The representation, float64; it need not be orthogonal.

    Returns:
        The basis.

    Raises:
        OrbitLensError: If the matrices do not multiply as the group does.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> from orbitlens.reps import regular
        >>> basis = isotypic_basis(regular(dihedral(4)))
        >>> basis.multiplicities, torch.allclose(basis.T, basis.T_inverse.mT)
        ((1, 1, 1, 1, 2), True)
    """
    matrices = as_representation(rep).matrices.double()
    check_multiplies(rep, rounding=_EXACT * rep.group.order)
    metric = torch.einsum("gki,gkj->ij", matrices, matrices) / rep.group.order
    values, vectors = torch.linalg.eigh(metric)
    root = vectors * values.sqrt() @ vectors.T
    inverse_root = vectors / values.sqrt() @ vectors.T
    orthogonal = root @ matrices @ inverse_root
    columns = [_copies(irrep, orthogonal) for irrep in irreps(rep.group)]
    U = polar(torch.cat([own.flatten(1) for own in columns], dim=1))
    found = tuple(own.shape[-1] for own in columns)
    return IsotypicBasis(rep.group, found, U.T @ root, inverse_root @ U)


def _copies(
    irrep: Representation, matrices: Float[Tensor, "group dim dim"]
) -> Float[Tensor, "dim component copy"]:
    """Return orthonormal vectors on which an orthogonal representation acts as copies of an irrep.

    With p_ab = dim / |G| sum_g irrep_ab(g) Q(g), the rank of p_11 is the number of copies times the
    dimension (1, 2 or 4) of the algebra that commutes with the irrep.
    """
    units = torch.einsum("ga,gij->aij", irrep.matrices[:, :, 0], matrices)
    units = units * irrep.dim / len(matrices)
    algebra = character_norm(irrep)
    copies = round(units[0].trace().item() / algebra)
    symmetric = (units[0] + units[0].T) / 2
    first = torch.linalg.eigh(symmetric).eigenvectors[:, len(symmetric) - copies * algebra :]
    if algebra == 1:
        return torch.einsum("aij,jm->iam", units, first)
    found = [torch.zeros(len(symmetric), irrep.dim, 0, dtype=matrices.dtype)]
    for _ in range(copies):
        copy = polar((units @ first[:, 0]).T)
        found.append(copy.unsqueeze(-1))
        # Remove the share of this copy in the range: one direction per dimension of the algebra.
        left = torch.linalg.svd(first.T @ copy, full_matrices=True).U[:, algebra:]
        first = first @ left
    return torch.cat(found, dim=-1)
