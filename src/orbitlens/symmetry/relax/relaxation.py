"""How far relaxed layers have left their symmetry, and penalties that keep them near to it.

Source: Wang, Walters & Yu 2022, arXiv 2201.11969, *Approximately Equivariant Networks for
Imperfectly Symmetric Dynamics*, whose relaxed steerable convolution has such a penalty for taps
side by side. The penalty for neighbours in a group is ours, after it.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.checks import check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.symmetry.relax.use import SymmetryUse


class Relaxed(nn.Module, ABC):
    """A layer with relaxation weights, which is equivariant where they are constant.

    Constant are weights that are equal for all group elements, or at all taps.
    """

    @abstractmethod
    def weight_spread(self) -> Float[Tensor, " bank"]:
        """Return max - min of the relaxation weights of each filter bank; 0 is symmetric."""

    @abstractmethod
    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean difference of neighbouring relaxation weights; 0 is symmetric."""

    def symmetry_use(self) -> SymmetryUse:
        """Return the spread of the relaxation weights of each filter bank."""
        spread = self.weight_spread().tolist()
        return SymmetryUse("spread", {f"bank {n}": each for n, each in enumerate(spread, start=1)})


def relaxation_spread(weights: Float[Tensor, "bank group"]) -> Float[Tensor, " bank"]:
    """Return how far the weights of each filter bank are from constant.

        spread_l = max over g of w_l(g) - min over g of w_l(g)

    Args:
        weights: w_l(g), shape [banks, |G|].

    Returns:
        One value for each bank, 0 or more. If all are 0, the layer is exactly equivariant.

    Example:
        >>> relaxation_spread(torch.tensor([[0.5, 0.5], [0.25, 0.75]])).tolist()
        [0.0, 0.5]
    """
    return weights.amax(-1) - weights.amin(-1)


def group_penalty(weights: Float[Tensor, "bank group"], group: Group | str) -> Float[Tensor, ""]:
    """Return the mean difference of weights that are neighbours in the group.

        mean over l, g and generators s of |w_l(g) - w_l(gs)|

    It is 0 where each bank has one weight for all elements, and nowhere else.

    Args:
        weights: w_l(g), shape [banks, |G|].
        group: The group, or its name.

    Returns:
        One number; 0 for the group of one element.

    Raises:
        OrbitLensError: If there is not one weight for each element.

    Example:
        >>> group_penalty(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), "C4").item()
        0.5
    """
    group = as_group(group)
    if weights.shape[-1] != group.order:
        raise OrbitLensError(
            "`weights`",
            expected=f"one for each of the {group.order} elements of {group.name} in each bank",
            received=f"shape {list(weights.shape)}",
            remedy="give the weights of a layer of this group",
        )
    if not group.generators:
        return weights.new_zeros(())
    neighbours = torch.from_numpy(group.table[:, list(group.generators)]).to(weights.device)
    return (weights[:, :, None] - weights[:, neighbours]).abs().mean()


def tap_penalty(weights: Float[Tensor, "*pairs height width"]) -> Float[Tensor, ""]:
    """Return the mean difference of weights at adjacent taps of a kernel.

        mean over taps x, x' side by side, or one above the other, of |w(x) - w(x')|

    Args:
        weights: w(x), shape [..., height, width].

    Returns:
        One number; 0 for kernels of one tap.

    Example:
        >>> tap_penalty(torch.tensor([[0.0, 1.0], [0.0, 1.0]])).item()
        0.5
    """
    steps = torch.cat([weights.diff(dim=axis).flatten() for axis in (-2, -1)])
    return steps.abs().sum() / max(1, steps.numel())


def relaxation_penalty(network: nn.Module) -> Float[Tensor, ""]:
    """Return the sum of the penalties of all relaxed layers, to be added to a loss.

        sum over layers of their `group_penalty` or `tap_penalty`

    The source weighs it by 1e-6 to 1e-4, on steerable layers alone.

    Args:
        network: Any network; 0 if it has no relaxed layer.

    Returns:
        One number, with gradients.

    Example:
        >>> from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear
        >>> relaxation_penalty(RelaxedGroupLinear("C4", 1, 1)).item()
        0.0
    """
    check_kind("network", network, nn.Module, "give the network that is trained")
    found = [each.penalty() for each in network.modules() if isinstance(each, Relaxed)]
    return torch.stack(found).sum() if found else torch.zeros(())
