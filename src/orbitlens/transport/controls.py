"""Controls: what a transport comes to when the group that it is fitted to is the wrong one."""

import numpy as np
import torch

from orbitlens.groups import Group, cyclic, dihedral, product
from orbitlens.typing import Float, Tensor


def shuffled(
    orbits: Float[Tensor, "n position group dim"], generator: torch.Generator
) -> Float[Tensor, "n position group dim"]:
    """Shuffle the elements of each orbit by itself, all positions of an input alike.

    What is left is what an orbit has in common, the invariant part: a transport fitted to shuffled
    orbits says what R^2 comes without the group. Two elements in either order are an orbit still;
    there the second comes from the next input instead.

    Args:
        orbits: psi(gx) for each input, position and element, shape [n, positions, |G|, dim].
        generator: The source of randomness.

    Returns:
        The same activations in another order, of the same shape.

    Example:
        >>> orbit = torch.arange(3.0).reshape(1, 1, 3, 1)
        >>> shuffled(orbit, torch.Generator().manual_seed(1)).flatten().sort().values.tolist()
        [0.0, 1.0, 2.0]
    """
    if orbits.shape[2] == 2:
        return torch.stack([orbits[:, :, 0], orbits[:, :, 1].roll(1, dims=0)], dim=2)
    order = torch.rand(len(orbits), orbits.shape[2], generator=generator).argsort(dim=1)
    return orbits.gather(2, order[:, None, :, None].expand_as(orbits))


def read_as_another_group(group: Group) -> Group | None:
    """Return a group of the same order with another structure, as a group that does not act.

    Args:
        group: The group that acts.

    Returns:
        C_n, D_{n/2} or C_2 x C_{n/2}, the first that is not this group with its elements in
        another order; None where there is no other, as for prime orders.

    Example:
        >>> from orbitlens.groups import cyclic, dihedral
        >>> read_as_another_group(dihedral(4)), read_as_another_group(cyclic(4))
        (Group(C8, order=8), Group(D2, order=4))
    """
    n = group.order
    candidates = [cyclic(n)]
    if n % 2 == 0:
        candidates += [dihedral(n // 2), product(cyclic(2), cyclic(n // 2))]
    own = _element_orders(group)
    # The orders of the elements tell these families apart.
    others = (other for other in candidates if not np.array_equal(_element_orders(other), own))
    return next(others, None)


def _element_orders(group: Group) -> np.ndarray:
    return np.sort([group.element_order(g) for g in range(group.order)])
