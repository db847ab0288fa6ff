"""What relaxed group layers share: filter banks with a weight for each group element."""

from abc import abstractmethod
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from orbitlens.checks import as_count, as_switch
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.models._biases import new_bias, repeated
from orbitlens.symmetry.relax.relaxation import Relaxed, group_penalty, relaxation_spread


class BankLayer(Relaxed):
    """A layer whose values at element g come from the filters sum_l w_l(g) psi_l.

    `shape` is that of the filters of one bank, [features out, ...]. `fan_in` is the number of
    inputs that one value is made of.
    """

    weights: Tensor
    bias: Tensor | None

    def __init__(
        self,
        group: Group,
        shape: tuple[int, ...],
        fan_in: int,
        *,
        banks: int,
        frozen: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        self.group, banks = group, as_count("banks", banks)
        # He et al. 2015: the variance survives the ReLUs. A mean of L banks has 1 / L of theirs.
        spread = (2 * banks / fan_in) ** 0.5
        self.filters = nn.Parameter(torch.randn(banks, *shape) * spread)
        even = torch.full((banks, group.order), 1 / banks)
        self.frozen = as_switch("frozen", frozen)
        if self.frozen:
            # No parameter, which requires_grad_(True) on a network would let go.
            self.register_buffer("weights", even)
        else:
            self.weights = nn.Parameter(even)
        self.register_parameter("bias", new_bias(shape[0], bias))

    @abstractmethod
    def combined(self) -> Float[Tensor, "out in *taps"]:
        """Return the weights of an ordinary layer that does what this layer does."""

    def biases(self) -> Float[Tensor, " out"] | None:
        """Return the bias of each value out; None if the layer has none."""
        return repeated(self.bias, self.group.order)

    def weight_spread(self) -> Float[Tensor, " bank"]:
        """Return max - min over the group of the weights of each bank."""
        return relaxation_spread(self.weights.detach())

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean difference of weights that are neighbours in the group."""
        return group_penalty(self.weights, self.group)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        weights = state_dict.get(f"{prefix}weights")
        if self.frozen and weights is not None:
            check_exact(self, relaxation_spread(weights), f"all elements of {self.group.name}")
        super()._load_from_state_dict(state_dict, prefix, *options)


def check_exact(layer: nn.Module, spread: Float[Tensor, "*weights"], places: str) -> None:
    """Refuse the state of a layer that has left its symmetry, for one that is to be exact."""
    if not bool((spread == 0).all()):
        raise OrbitLensError(
            f"state of an exact layer, {type(layer).__name__} with frozen=True",
            expected=f"relaxation weights that are equal for {places}",
            received=f"weights that differ by {float(spread.max()):.2g}: a relaxed layer",
            remedy="load it into the relaxed layer that it was saved from, with frozen=False",
        )


def of_element(
    index: Int[Tensor, "out_group in_group *taps"], size: int
) -> Int[Tensor, "out_group in_group *taps"]:
    """Return where each entry is found if the filters of all elements stand side by side."""
    own = size * torch.arange(len(index))
    return index + own.reshape(-1, *[1] * (index.ndim - 1))


def moved_filters(
    weights: Float[Tensor, "bank out_group"],
    filters: Float[Tensor, "bank f c *entries"],
    index: Int[Tensor, "out_group in_group *taps"],
) -> Float[Tensor, "out in *taps"]:
    """Return sum_l w_l(g) psi_l of each element g, with the entries where g moves them."""
    mixed = torch.einsum("lg,lfce->fcge", weights, filters.flatten(3)).flatten(2)
    moved = mixed.index_select(2, index.flatten()).unflatten(2, index.shape)
    return rearrange(moved, "f c out_group in_group ... -> (f out_group) (c in_group) ...")
