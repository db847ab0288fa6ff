"""Exact representations from matrices that are close to one."""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_tensor
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.reps.base import Representation
from orbitlens.reps.irreps import irreps
from orbitlens.typing import Numbers

_Family = Float[Tensor, "order dim dim"]

_ROUNDS = 100
_AT_REST = 1e-4
_INDEPENDENT = 0.5
_UNCLEAR = 0.5


def exactify(group: Group | str, matrices: Numbers) -> Representation:
    """Return an orthogonal representation near a family of matrices.

    Step 1 finds the irreps and their places. Each irrep has matrix units in the family,

        p_ab = dim / |G| sum_g irrep_ab(g) M(g)

    If the family is a representation, p_11 projects onto the first basis vectors of all copies of
    the irrep, and p_a1 maps each of them to the a-th basis vector of its copy. Copies of all irreps
    are added by falling eigenvalue of p_11 until the space is full. The result Q is a
    representation for any family. Step 2 rotates Q towards the family, U Q U^T with

        U <- polar( sum_g M(g) U Q(g)^T )    until it converges

    This minimises sum_g ||M(g) - U Q(g) U^T||^2 locally, to four digits. A family that is nearly a
    representation is near an exact one (Kazhdan 1982, *On epsilon-representations*); for the matrix
    units see Serre, *Linear Representations of Finite Groups*, section 2.7.

    Args:
        group: Any finite group, or its name.
        matrices: One matrix per element, shape [|G|, dim, dim].

    Returns:
        An orthogonal representation, in float64 on the CPU.

    Raises:
        OrbitLensError: If there is not one matrix of finite numbers per element.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> from orbitlens.reps import homomorphism_errors, regular
        >>> rho = regular(dihedral(4))
        >>> near = rho.matrices + 0.02 * torch.randn(8, 8, 8, dtype=torch.float64)
        >>> found = exactify(rho.group, near)
        >>> homomorphism_errors(rho.group, found.matrices).max().item() < 1e-12
        True
    """
    group = as_group(group)
    matrices = as_tensor("matrices", matrices, dtype=None, finite=False)
    _check_family(group, matrices)
    family = matrices.detach().cpu().double()
    # Orthogonal representations obey M(g^-1) = M(g)^T; averaging the two removes half of the noise.
    family = (family + family[torch.from_numpy(group.inverses.copy())].mT) / 2
    Q = _copies(group, family)
    U = torch.eye(Q.shape[-1], dtype=Q.dtype)
    agreement = torch.full((), -torch.inf, dtype=Q.dtype)
    for _ in range(_ROUNDS):
        target = (family @ U @ Q.mT).sum(0)
        before, agreement = agreement, (target * U).sum()
        # Without the structure of the group, the last digits would take most of the time.
        if agreement - before <= _AT_REST * agreement.abs():
            break
        U = polar(target)
    return Representation(group, U @ Q @ U.T, "exact")


def polar(matrices: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch rows columns"]:
    """Return the nearest matrix with orthonormal columns, U V^T of U S V^T, if rows >= columns."""
    U, _, Vh = torch.linalg.svd(matrices, full_matrices=False)
    return U @ Vh


def _irreducible_copies(
    group: Group, family: _Family
) -> tuple[Float[Tensor, "dim filled"], list[int]]:
    """Find orthonormal columns of irreps in a family, the clearest first, and the irrep of each.

    The columns come copy after copy; those of an exact representation fill the space.
    """
    dim = family.shape[-1]
    basis, kinds = torch.zeros(dim, 0, dtype=family.dtype), []
    units = [_matrix_units(irrep, family) for irrep in irreps(group)]
    filled = -1
    # If an irrep is not of real type, one pass over its candidates may miss some of its copies.
    while filled < basis.shape[1] < dim:
        filled = basis.shape[1]
        candidates = _candidates(group, units, basis)
        for clarity, index, first in candidates:
            # Search the remaining space again before unclear candidates fill it.
            if clarity < candidates[0][0] - _UNCLEAR and basis.shape[1] > filled:
                break
            first = first - basis @ (basis.T @ first)
            if basis.shape[1] + len(units[index]) > dim or first.square().sum() < _INDEPENDENT:
                continue
            copy = (units[index] @ (first / first.norm())).T
            copy = copy - basis @ (basis.T @ copy)
            if torch.linalg.svdvals(copy)[-1] > _INDEPENDENT * copy.norm() / copy.shape[1] ** 0.5:
                basis = torch.cat([basis, polar(copy)], dim=1)
                kinds.append(index)
    return basis, kinds


def _matrix_units(irrep: Representation, family: _Family) -> Float[Tensor, "component dim dim"]:
    """Return p_11, p_21, ... of an irrep in the family."""
    units = torch.einsum("ga,gij->aij", irrep.matrices[:, :, 0], family)
    return units * irrep.dim / len(family)


def _candidates(
    group: Group,
    units: list[Float[Tensor, "_ dim dim"]],
    basis: Float[Tensor, "dim filled"],
) -> list[tuple[float, int, Float[Tensor, " dim"]]]:
    """Return first vectors of copies outside a subspace, clearest first: (clarity, irrep, v)."""
    free = torch.linalg.qr(basis, mode="complete").Q[:, basis.shape[1] :]
    found = []
    for index, own in enumerate(units):
        # M(e) = I alone gives every eigenvalue dim / |G|, which is no evidence for this irrep.
        chance = len(own) / group.order if group.order > 1 else 0.0
        values, vectors = torch.linalg.eigh(free.T @ own[0] @ free)
        clarity = ((values - chance) / (1 - chance)).tolist()
        found += [(c, index, v) for c, v in zip(clarity, (free @ vectors).T, strict=True)]
    return sorted(found, key=lambda candidate: -candidate[0])


def _copies(group: Group, family: _Family) -> _Family:
    """Fill the space with copies of irreps, the clearest in the family first."""
    basis, kinds = _irreducible_copies(group, family)
    # The identity acts on the rest of the space, where no irrep is clear.
    moved = torch.zeros(group.order, basis.shape[1], basis.shape[1], dtype=family.dtype)
    start = 0
    for kind in kinds:
        block = irreps(group)[kind].matrices
        end = start + block.shape[-1]
        moved[:, start:end, start:end] = block
        start = end
    still = torch.eye(len(basis), dtype=family.dtype) - basis @ basis.T
    return basis @ moved @ basis.T + still


def _check_family(group: Group, matrices: Tensor) -> None:
    dim = matrices.shape[-1] if matrices.ndim else 0
    if matrices.shape != (group.order, dim, dim):
        raise OrbitLensError(
            "`matrices`",
            expected=f"one square matrix for each of the {group.order} elements of {group.name}",
            received=f"shape {list(matrices.shape)}",
            remedy="stack them in the order of group.element_names",
        )
    if not matrices.isfinite().all():
        raise OrbitLensError(
            "`matrices`",
            expected="finite numbers",
            received="NaN or infinity",
            remedy="check the data they were fitted to",
        )
