"""Whether codes tell their inputs apart."""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_axes


@torch.no_grad()
def code_spread(codes: Float[Tensor, "n dim"]) -> float:
    """Return how far the codes of a batch differ, relative to their size.

        sqrt(sum_i |z_i - mean z|^2 / sum_i |z_i|^2)

    1 is the most, for codes about 0. It is 0 where all inputs have one code: the code then says
    nothing of them. This happens if all units of a layer die in training, mostly in its first
    steps; a learning rate that rises over these, or a lower one, helps. Loss alone does not show
    it, as the pose still says where the object is.

    Args:
        codes: One code for each input, shape [n, dim], such as `Split.invariant`. The inputs must
            differ otherwise than by their poses.

    Returns:
        The spread, from 0 to 1; 0 for codes that are all 0.

    Raises:
        OrbitLensError: If these are not finite numbers [n, dim] of at least two inputs.

    Example:
        >>> code_spread(torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
        0.0
        >>> code_spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        1.0
    """
    # In double precision equal codes differ from their mean by nothing.
    z = as_axes("codes", codes, "n dim", dtype=torch.float64, least=2)
    size = z.square().sum()
    return float(((z - z.mean(0)).square().sum() / size).sqrt()) if size else 0.0
