"""How far a network has left its symmetry, in one number."""

from torch import nn

from orbitlens.symmetry.relax.use import symmetry_uses


def largest_spread(network: nn.Module) -> float:
    """Return the largest spread of the relaxation weights of all layers.

        max over layers and banks l of (max over g of w_l(g) - min over g of w_l(g))

    Args:
        network: Any network.

    Returns:
        One number; 0 for a network that is exactly symmetric, or has no such layers.

    Example:
        >>> from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear
        >>> largest_spread(nn.Sequential(RelaxedGroupLinear("C4", 1, 1), nn.ReLU()))
        0.0
    """
    uses = symmetry_uses(network).values()
    return max((max(use.parts.values()) for use in uses), default=0.0)
