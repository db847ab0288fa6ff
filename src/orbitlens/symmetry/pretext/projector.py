"""Two equivariant layers on functions on a group: projectors and predictors."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.checks import as_count, as_switch, check_weights
from orbitlens.groups import Group, as_group
from orbitlens.models import GroupLinear, keeps_settings
from orbitlens.symmetry.pretext._batch_norm import GroupBatchNorm
from orbitlens.symmetry.pretext._functions import rows_for


@final
@keeps_settings
class GroupMLP(nn.Module):
    """Takes functions on a group to functions on it, in two layers.

        F' = linear_2(relu(norm(linear_1 F)))        (g F)' = g F'

    with linear layers that are group convolutions, see `models.GroupLinear`.

    Args:
        group: Any finite group, or its name.
        in_features: Functions of the input, which has in_features * |G| values.
        hidden: Functions of the hidden layer.
        out_features: Functions of the output.
        norm: Whether the hidden layer has a batch norm, with one mean and one variance for each
            function; default False.

    Raises:
        OrbitLensError: If a number is below 1, if `norm` is no boolean, or if the weights need more
            memory than the machine has.

    Example:
        >>> import torch
        >>> GroupMLP("D3", 2, 8, 3)(torch.rand(5, 12)).shape
        torch.Size([5, 18])
    """

    def __init__(
        self,
        group: Group | str,
        in_features: int,
        hidden: int,
        out_features: int,
        *,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.group = as_group(group)
        self.in_features = as_count("in_features", in_features)
        self.out_features = as_count("out_features", out_features)
        hidden, normed = as_count("hidden", hidden), as_switch("norm", norm)
        check_weights(hidden, self.in_features + self.out_features, self.group.order)
        self.hidden = GroupLinear(self.group, self.in_features, hidden)
        self.norm = GroupBatchNorm(self.group, hidden) if normed else nn.Identity()
        self.output = GroupLinear(self.group, hidden, self.out_features)

    def forward(self, x: Float[Tensor, "n in"]) -> Float[Tensor, "n out"]:
        """Return the functions, [n, out_features * |G|]."""
        rows = rows_for("x", x, self.group, self.in_features, self.hidden.tied)
        functions: Tensor = self.output(self.norm(self.hidden(rows)).relu())
        return functions
