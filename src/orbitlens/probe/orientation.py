"""Orientation without an oracle: the group element that best explains a sample.

The true element of a sample is half of the answer to any question about its orientation. This
estimate uses only the activation and its reconstruction.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from orbitlens.checks import as_axes
from orbitlens.errors import OrbitLensError
from orbitlens.typing import Numbers


def infer_orientation(
    x: Numbers,
    x_hat: Numbers,
    matrices: Numbers,
) -> Int[Tensor, " n"]:
    """Return the element that moves each reconstruction nearest to its activation.

    g_hat[i] = argmin_g ||x_i - rho(g) x_hat_i||

    Args:
        x: Activations, shape [n, dim].
        x_hat: Reconstructions before transport, D(E(x)), shape [n, dim].
        matrices: rho(g) for every g, shape [group, dim, dim].

    Returns:
        One element per sample, shape [n]; the lowest of equally near ones.

    Raises:
        OrbitLensError: If `x` and `x_hat` differ in shape.

    Example:
        >>> turn = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> infer_orientation(torch.tensor([[0.1, 2.0]]), torch.tensor([[2.0, 0.0]]), turn).tolist()
        [1]
    """
    x = as_axes("x", x, "n dim")
    x_hat = as_axes("x_hat", x_hat, "n dim").to(x)
    if x.shape != x_hat.shape:
        raise OrbitLensError(
            "`x_hat`",
            expected=f"the shape of `x`, {tuple(x.shape)}",
            received=tuple(x_hat.shape),
            remedy="reconstruct every sample before transport",
        )
    dim = {"dim": x.shape[1]}
    matrices = as_axes("matrices", matrices, "group dim dim", sizes=dim, least=1)
    distances = torch.stack([(x - x_hat @ rho.T).square().sum(dim=-1) for rho in matrices.to(x)])
    return distances.argmin(dim=0)
