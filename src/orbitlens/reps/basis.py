"""The basis in which a representation is block-diagonal: one block for each copy of an irrep."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps.base import Representation, homomorphism_errors
from orbitlens.reps.exactify import polar
from orbitlens.reps.irreps import character_norm, irreps

_EXACT = 1e-6


@dataclass(frozen=True, eq=False)
class IsotypicBasis:
    """Coordinates y = T^-1 x in which rho(g) is block-diagonal and orthogonal.

    Coordinates come irrep by irrep, in the order of `irreps(group)`; those of irrep i with its m_i
    copies as [component a, copy j], copies fastest, so that

        (rho(g) x)  has  y'[a, j] = sum_b irrep_i(g)[a, b] y[b, j]

    Args:
        group: The group.
        multiplicities: m_i, how often each of `irreps(group)` occurs.
        T_inverse: T^-1, shape [dim, dim], float64.
        T: T, shape [dim, dim], float64.
    """

    group: Group
    multiplicities: tuple[int, ...]
    T_inverse: Float[Tensor, "dim dim"]
    T: Float[Tensor, "dim dim"]

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where the coordinates of each irrep are."""
        sizes = [
            irrep.dim * m for irrep, m in zip(irreps(self.group), self.multiplicities, strict=True)
        ]
        return tuple(slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0)))


def isotypic_basis(rep: Representation) -> IsotypicBasis:
    """Find the basis in which a representation is made of irreps.

    A representation need not be orthogonal. It is so for the invariant inner product
    B = mean_g rho(g)^T rho(g), so with A = B^(1/2) every Q(g) = A rho(g) A^-1 is orthogonal. With
    the orthonormal columns U of the copies of irreps in Q, T = A^-1 U. Where rho is orthogonal, T
    is as well.

    Source: Serre, *Linear Representations of Finite Groups*, sections 1.3 and 2.7.

    Args:
        rep: The representation, float64.

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
    matrices = rep.matrices.double()
    _check(rep)
    metric = torch.einsum("gki,gkj->ij", matrices, matrices) / rep.group.order
    values, vectors = torch.linalg.eigh(metric)
    root = vectors * values.sqrt() @ vectors.T
    inverse_root = vectors / values.sqrt() @ vectors.T
    orthogonal = root @ matrices @ inverse_root
    columns = [_copies(irrep, orthogonal) for irrep in irreps(rep.group)]
    U = polar(torch.cat([own.flatten(1) for own in columns], dim=1))
    found = tuple(own.shape[-1] for own in columns)
    return IsotypicBasis(rep.group, found, U.T @ root, inverse_root @ U)


def _check(rep: Representation) -> None:
    """Check that the matrices multiply as the group does, up to the rounding of their size."""
    error = homomorphism_errors(rep.group, rep.matrices.double()).max().item()
    size = torch.linalg.matrix_norm(rep.matrices.double()).max().item() / max(1, rep.dim) ** 0.5
    # Products of float32 matrices of norm s have errors of some 1e-7 s^2.
    if not error < _EXACT * rep.group.order * max(1.0, size) ** 2:
        raise OrbitLensError(
            f"representation {rep.name}",
            expected=f"matrices that multiply as {rep.group.name} does",
            received=f"a relation error of {error:.3g}",
            remedy="make them exact with `exactify`",
        )


def _copies(
    irrep: Representation, matrices: Float[Tensor, "group dim dim"]
) -> Float[Tensor, "dim component copy"]:
    """Orthonormal vectors on which an orthogonal representation acts as copies of an irrep.

    p_ab = dim / |G| sum_g irrep_ab(g) Q(g); the range of p_11 has one dimension for each copy and
    each dimension of the algebra (real, complex or quaternionic) that commutes with the irrep.
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
        # What is left of the range once this copy, with all its multiples, is taken out.
        left = torch.linalg.svd(first.T @ copy, full_matrices=True).U[:, algebra:]
        first = first @ left
    return torch.cat(found, dim=-1)
