"""From any 3 x 3 matrix to a rotation or a reflection that turns with it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from orbitlens.symmetry.symmetrize._rounding import rounding


def gram_schmidt(matrices: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Return matrices with orthonormal columns: each loses its parts along those before it.

        e_j = r_j / |r_j|      r_j = m_j - sum_{i < j} <e_i, m_j> e_i

    So k(R M) = R k(M) for all orthogonal R. No cross product is taken: the determinant keeps the
    sign of det M, which a reflection of M changes.
    """
    return _reduced(matrices)[0]


def _reduced(
    matrices: Float[Tensor, "*batch d d"],
) -> tuple[Float[Tensor, "*batch d d"], Float[Tensor, "*batch d"]]:
    """Return the orthonormal columns e_j and the lengths |r_j|."""
    lengths: list[Tensor] = []
    done: list[Tensor] = []
    for column in matrices.unbind(-1):
        # Twice: a short remainder of the first time is orthogonal to rounding of the long column.
        for _ in range(2):
            for earlier in done:
                column = column - (earlier * column).sum(-1, keepdim=True) * earlier
        lengths.append(torch.linalg.vector_norm(column, dim=-1, keepdim=True))
        done.append(column / lengths[-1])
    return torch.stack(done, dim=-1), torch.cat(lengths, dim=-1)


def proper(k: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return rotations: the first column times the determinant, which is 1 or -1."""
    first, second, third = k.detach().unbind(-1)
    sign = (torch.linalg.cross(first, second) * third).sum(-1).sign()[..., None, None]
    return torch.cat([k[..., :1] * sign, k[..., 1:]], dim=-1)


def lacks_rank(matrices: Float[Tensor, "*batch d d"]) -> Bool[Tensor, "*batch"]:
    """Return whether the columns span less than space, up to rounding of numbers around 1."""
    lengths = _reduced(matrices)[1]
    # What follows a column 0 is NaN, which is above nothing.
    return ~(lengths > rounding(matrices.dtype)).all(-1)


def first_independent(
    candidates: Float[Tensor, "batch 3 many"], *, special: bool
) -> tuple[Float[Tensor, "batch 3 3"], Int[Tensor, "batch picked"]]:
    """Return orthonormal columns of the first vectors that are independent up to rounding.

    So they turn with the candidates. `special` takes the cross product of two as the third.

    Args:
        candidates: Vectors whose rounding is that of numbers around 1; they span space.
        special: Whether reflections need not be followed.

    Returns:
        The columns, and which candidates they were made of.
    """
    basis, picked = candidates[..., :0], []
    for _ in range(2 if special else 3):
        left = candidates
        for _ in range(2):  # as in `gram_schmidt`
            left = left - basis @ (basis.mT @ left)
        far = torch.linalg.vector_norm(left.detach(), dim=1) > rounding(candidates.dtype)
        first = far.int().argmax(1)
        column = left.gather(2, first[:, None, None].expand(-1, 3, 1))
        basis = torch.cat([basis, normalize(column, dim=1)], 2)
        picked.append(first)
    if special:
        third = torch.linalg.cross(basis[..., 0], basis[..., 1])
        basis = torch.cat([basis, third[..., None]], 2)
    return basis, torch.stack(picked, 1)
