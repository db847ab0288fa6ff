"""Batch norm of functions on a group: the statistics are shared over the elements."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.groups import Group


@final
class GroupBatchNorm(nn.BatchNorm1d):
    """Batch norm with one mean, variance, gain and bias for each function on the group.

    So it is equivariant in training as well, even if every input is moved by another element.
    """

    def __init__(self, group: Group, features: int) -> None:
        super().__init__(features)
        self.order = group.order

    def forward(
        self, x: Float[Tensor, "n channels *places"]
    ) -> Float[Tensor, "n channels *places"]:
        """Return the normalised functions."""
        # Elements and places are samples, as the inputs are.
        functions = super().forward(x.unflatten(1, (-1, self.order)).flatten(2))
        return functions.reshape(x.shape)
