"""Controls: shuffled orbits and wrong groups, to which no transport should fit well."""

import numpy as np
import torch

from orbitlens.checks import as_axes, check_kind
from orbitlens.groups import Group, cyclic, dihedral, product
from orbitlens.typing import Float, Numbers, Tensor


def shuffled(orbits: Numbers, generator: torch.Generator) -> Float[Tensor, "n position group dim"]:
    """Shuffle the elements of each orbit; all positions of an input in the same way.

    Only the invariant part survives, which the samples of an orbit share. So the R^2 of a transport
    fitted to shuffled orbits is the R^2 that is possible without the group. With two elements,
    either order is an orbit; the second sample then comes from the next input instead.

    Args:
        orbits: psi(gx) for each input, position and element, shape [n, positions, |G|, dim].
        generator: Source of randomness.

    Returns:
        The same activations in another order, same shape.

    Example:
        >>> orbit = torch.arange(3.0).reshape(1, 1, 3, 1)
        >>> shuffled(orbit, torch.Generator().manual_seed(1)).flatten().sort().values.tolist()
        [0.0, 1.0, 2.0]
    """
    check_kind("generator", generator, torch.Generator, "for example torch.Generator()")
    orbits = as_axes("orbits", orbits, "n position group dim", finite=False)
    if orbits.shape[2] == 2:
        return torch.stack([orbits[:, :, 0], orbits[:, :, 1].roll(1, dims=0)], dim=2)
    order = torch.rand(len(orbits), orbits.shape[2], generator=generator).argsort(dim=1)
    return orbits.gather(2, order[:, None, :, None].expand_as(orbits))


def another_group(group: Group) -> Group | None:
    """Return C_n, D_{n/2} or C_2 x C_{n/2}, the first that is not isomorphic to a group of order n.

    None if all are, as for prime n.
    """
    n = group.order
    candidates = [cyclic(n)]
    if n % 2 == 0:
        candidates += [dihedral(n // 2), product(cyclic(2), cyclic(n // 2))]
    own = _element_orders(group)
    # The orders of the elements distinguish these families.
    others = (other for other in candidates if not np.array_equal(_element_orders(other), own))
    return next(others, None)


def _element_orders(group: Group) -> np.ndarray:
    return np.sort([group.element_order(g) for g in range(group.order)])
