"""From any 3 x 3 matrix to a rotation or a reflection that turns with it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from orbitlens.symmetry.symmetrize._ranking import ROUNDINGS


def gram_schmidt(matrices: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Return matrices with orthonormal columns: each loses its parts along those before it.

        e_j = r_j / |r_j|      r_j = m_j - sum_{i < j} <e_i, m_j> e_i

    So k(R M) = R k(M) for all orthogonal R. No cross product is taken: the determinant keeps the
    sign of det M, which a reflection of M changes.
    """
    done: list[Tensor] = []
    for column in matrices.unbind(-1):
        # Twice: a short remainder of the first time is orthogonal to rounding of the long column.
        for _ in range(2):
            for earlier in done:
                column = column - (earlier * column).sum(-1, keepdim=True) * earlier
        done.append(column / torch.linalg.vector_norm(column, dim=-1, keepdim=True))
    return torch.stack(done, dim=-1)


def proper(k: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Return rotations: the first column times the determinant, which is 1 or -1."""
    sign = torch.linalg.det(k.detach()).sign()[..., None, None]
    return torch.cat([k[..., :1] * sign, k[..., 1:]], dim=-1)


def lacks_rank(matrices: Float[Tensor, "*batch d d"]) -> Bool[Tensor, "*batch"]:
    """Return whether the columns span less than space, up to rounding.

    The volume that they span is compared with that of a box with edges of their lengths.
    """
    box = torch.linalg.vector_norm(matrices, dim=-2).prod(-1)
    allowed = ROUNDINGS * torch.finfo(matrices.dtype).eps
    return torch.linalg.det(matrices).abs() <= allowed * box
