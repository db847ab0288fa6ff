"""From matrices that are nearly a representation to one that is."""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps.base import Representation, homomorphism_errors

_ROUNDS = 100
_AT_REST, _EXACT = 1e-13, 1e-10


def exactify(group: Group, matrices: Float[Tensor, "order dim dim"]) -> Representation:
    """Return an orthogonal representation near a family of matrices.

        Q(g) <- polar( mean_h Q(gh) Q(h)^T )    until ||Q(gh) - Q(g) Q(h)|| is rounding

    begun at the polar factors of the matrices. A family that is nearly a representation is near a
    true one (Kazhdan 1982, *On epsilon-representations*), and the averaging converges to one
    quadratically; a representation comes back as it is.

    Args:
        group: Any finite group.
        matrices: One invertible matrix per element, shape [|G|, dim, dim].

    Returns:
        An orthogonal representation, in float64 on the CPU.

    Raises:
        OrbitLensError: If there is not one matrix per element, or if the family is so far from any
            representation that the averaging does not lead to one.

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
    table = torch.from_numpy(group.table.copy())
    Q = polar(matrices.detach().cpu().double())
    for _ in range(_ROUNDS):
        average = torch.stack([(Q[table[g]] @ Q.mT).mean(0) for g in range(group.order)])
        Q, before = polar(average), Q
        if (Q - before).abs().max() < _AT_REST:
            break
    # Far from every representation the averaging may rest at a family that is none, or never.
    defect = homomorphism_errors(group, Q).max().item()
    if defect > _EXACT:
        raise OrbitLensError(
            "`matrices`",
            expected=f"a family near a representation of {group.name}",
            received=f"one whose averages miss the product table by {defect:.2g}",
            remedy="the group does not act in this way; check the order of its elements",
        )
    return Representation(group, Q, "exact")


def polar(matrices: Float[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch dim dim"]:
    """Return the nearest orthogonal matrix, U V^T of the singular value decomposition U S V^T.

    Args:
        matrices: Square matrices, shape [..., dim, dim].

    Returns:
        Orthogonal matrices of the same shape.

    Example:
        >>> polar(torch.tensor([[3.0, 0.0], [0.0, -0.5]])).tolist()
        [[1.0, 0.0], [0.0, -1.0]]
    """
    U, _, Vh = torch.linalg.svd(matrices)
    return U @ Vh


def _check_family(group: Group, matrices: Tensor) -> None:
    if (
        matrices.ndim != 3
        or matrices.shape[0] != group.order
        or matrices.shape[1] != matrices.shape[2]
    ):
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
