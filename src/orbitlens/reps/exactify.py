"""From matrices that are nearly a representation to one that is."""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps.base import Representation
from orbitlens.reps.irreps import irreps

_ROUNDS = 100
_AT_REST = 1e-4
_INDEPENDENT = 0.5
_UNCLEAR = 0.5


def exactify(group: Group, matrices: Float[Tensor, "order dim dim"]) -> Representation:
    """Return an orthogonal representation near a family of matrices.

    First it is decided which irreps there are, and where. The family's own versions of the matrix
    units of every irrep,

        p_ab = dim / |G| sum_g irrep_ab(g) M(g)

    are those of a representation if it is one: p_11 then projects onto the first basis vectors of
    all copies, and p_a1 takes each to the a-th of its copy. Copies are taken by falling eigenvalue
    of p_11, over all irreps, until the space is full. The result Q is a representation whatever
    the family is. Then it is turned to where the family is, U Q U^T with

        U <- polar( sum_g M(g) U Q(g)^T )    until it rests

    which brings sum_g ||M(g) - U Q(g) U^T||^2 to a local minimum, to four digits. A family that is
    nearly a representation is near a true one (Kazhdan 1982, *On epsilon-representations*); the
    matrix units are those of Serre, *Linear Representations of Finite Groups*, section 2.7.

    Args:
        group: Any finite group.
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
    _check_family(group, matrices)
    family = matrices.detach().cpu().double()
    # M(g^-1) = M(g)^T holds for every orthogonal representation, so half of the noise goes here.
    family = (family + family[torch.from_numpy(group.inverses.copy())].mT) / 2
    Q = _copies(group, family)
    U = torch.eye(Q.shape[-1], dtype=Q.dtype)
    agreement = torch.full((), -torch.inf, dtype=Q.dtype)
    for _ in range(_ROUNDS):
        target = (family @ U @ Q.mT).sum(0)
        before, agreement = agreement, (target * U).sum()
        # Of a family without the group's structure the last digits take most of the time.
        if agreement - before <= _AT_REST * agreement.abs():
            break
        U = polar(target)
    return Representation(group, U @ Q @ U.T, "exact")


def polar(matrices: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch rows columns"]:
    """Return the nearest matrix with orthonormal columns, U V^T of U S V^T.

    Args:
        matrices: Matrices with at least as many rows as columns, shape [..., rows, columns].

    Returns:
        Matrices of the same shape.

    Example:
        >>> polar(torch.tensor([[3.0, 0.0], [0.0, -0.5]])).tolist()
        [[1.0, 0.0], [0.0, -1.0]]
    """
    U, _, Vh = torch.linalg.svd(matrices, full_matrices=False)
    return U @ Vh


def irreducible_copies(
    group: Group, family: Float[Tensor, "order dim dim"]
) -> tuple[Float[Tensor, "dim filled"], list[int]]:
    """Find copies of irreps in a family of matrices, those first that it shows most clearly.

    Args:
        group: Any finite group.
        family: A representation by orthogonal matrices, or a family that is near to one, float64,
            shape [|G|, dim, dim].

    Returns:
        Orthonormal columns, copy after copy, in each of which the family acts as the irrep does;
        and which of `irreps(group)` each copy is. A true representation fills the space.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import regular
        >>> columns, kinds = irreducible_copies(cyclic(4), regular(cyclic(4)).matrices)
        >>> columns.shape, sorted(kinds)
        (torch.Size([4, 4]), [0, 1, 2])
    """
    dim = family.shape[-1]
    basis, kinds = torch.zeros(dim, 0, dtype=family.dtype), []
    units = [_matrix_units(irrep, family) for irrep in irreps(group)]
    filled = -1
    # Where an irrep is not of real type, one pass over its candidates may leave copies over.
    while filled < basis.shape[1] < dim:
        filled = basis.shape[1]
        candidates = _candidates(group, units, basis)
        for clarity, index, first in candidates:
            # Before unclear candidates fill it, what is left is looked at again.
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


def _matrix_units(
    irrep: Representation, family: Float[Tensor, "order dim dim"]
) -> Float[Tensor, "component dim dim"]:
    """The family's own p_11, p_21, ... of an irrep."""
    units = torch.einsum("ga,gij->aij", irrep.matrices[:, :, 0], family)
    return units * irrep.dim / len(family)


def _candidates(
    group: Group,
    units: list[Float[Tensor, "_ dim dim"]],
    basis: Float[Tensor, "dim filled"],
) -> list[tuple[float, int, Float[Tensor, " dim"]]]:
    """First vectors of copies outside of a subspace, the clearest first: (clarity, irrep, v)."""
    free = torch.linalg.qr(basis, mode="complete").Q[:, basis.shape[1] :]
    found = []
    for index, own in enumerate(units):
        # From M(e) = I alone come eigenvalues dim / |G|, no sign of this irrep.
        chance = len(own) / group.order if group.order > 1 else 0.0
        values, vectors = torch.linalg.eigh(free.T @ own[0] @ free)
        clarity = ((values - chance) / (1 - chance)).tolist()
        found += [(c, index, v) for c, v in zip(clarity, (free @ vectors).T, strict=True)]
    return sorted(found, key=lambda candidate: -candidate[0])


def _copies(group: Group, family: Float[Tensor, "order dim dim"]) -> Float[Tensor, "order dim dim"]:
    """Fill the space with copies of irreps, those first that the family shows most clearly."""
    basis, kinds = irreducible_copies(group, family)
    # What is left over, where nothing is clear, stays where it is.
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
            remedy="check what they were fitted on",
        )
