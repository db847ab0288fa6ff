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
from orbitlens.reps.exactify import irreducible_copies
from orbitlens.reps.irreps import irreps

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
    error = homomorphism_errors(rep.group, matrices).max().item()
    if not error < _EXACT * rep.group.order:
        raise OrbitLensError(
            f"representation {rep.name}",
            expected=f"matrices that multiply as {rep.group.name} does",
            received=f"a relation error of {error:.3g}",
            remedy="make them exact with `exactify`",
        )
    metric = torch.einsum("gki,gkj->ij", matrices, matrices) / rep.group.order
    values, vectors = torch.linalg.eigh(metric)
    root = vectors * values.sqrt() @ vectors.T
    inverse_root = vectors / values.sqrt() @ vectors.T
    columns, kinds = irreducible_copies(rep.group, root @ matrices @ inverse_root)
    found = tuple(kinds.count(index) for index in range(len(irreps(rep.group))))
    U = columns[:, _by_irrep(rep.group, kinds)]
    return IsotypicBasis(rep.group, found, U.T @ root, inverse_root @ U)


def _by_irrep(group: Group, kinds: list[int]) -> list[int]:
    """Order columns that come copy by copy as [irrep, component, copy]."""
    dims = [irreps(group)[kind].dim for kind in kinds]
    starts = list(accumulate(dims, initial=0))
    return [
        starts[copy] + component
        for index, irrep in enumerate(irreps(group))
        for component in range(irrep.dim)
        for copy, kind in enumerate(kinds)
        if kind == index
    ]
