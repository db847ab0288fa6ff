"""Whether a learned U has lost directions."""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import warn

LOST = 1e-4
"""Singular values, and norms of columns, below this share of the largest count as zero."""


def warn_of_collapse(name: str, u: Float[Tensor, "weights k"]) -> tuple[float, ...]:
    """Return the singular values of U, and warn of empty columns and of lost directions."""
    u = u.detach().double().cpu()
    values, norms = torch.linalg.svdvals(u), u.norm(dim=0)
    empty = int((norms <= LOST * norms.max()).sum())
    rank = int((values > LOST * values[0]).sum())
    if empty or rank < min(u.shape):
        shown = ", ".join(f"{value:.2g}" for value in values.tolist())
        warn(
            f"U of {name}, shape {list(u.shape)}",
            found=f"{empty} of its columns are near zero, and its rank is {rank}; singular values "
            f"{shown}",
            remedy="begin with another seed, or choose a smaller k",
        )
    return tuple(values.tolist())
