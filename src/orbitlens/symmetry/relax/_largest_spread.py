"""How far a network has left its symmetry, in one number."""

import numpy as np
from torch import nn

from orbitlens.symmetry.relax.use import symmetry_uses


def largest_spread(network: nn.Module) -> float:
    """Return the largest spread of the relaxation weights of all layers.

        max over layers and banks l of (max over g of w_l(g) - min over g of w_l(g))

    Args:
        network: Any network.

    Returns:
        One number; 0 for a network that is exactly symmetric, or has no such layers, and NaN where
        a weight is NaN.

    Example:
        >>> from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear
        >>> largest_spread(nn.Sequential(RelaxedGroupLinear("C4", 1, 1), nn.ReLU()))
        0.0
    """
    uses = [each for each in symmetry_uses(network).values() if each.kind == "spread"]
    spreads = [spread for use in uses for spread in use.parts.values()]
    # The `max` of Python passes over NaN.
    return float(np.max(spreads, initial=0.0))
