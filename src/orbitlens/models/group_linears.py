"""Layers on vectors that are equivariant by construction, for any finite group.

    LiftingLinear     vectors of a representation -> functions on the group
    GroupLinear       functions on the group -> functions on the group

Value f |G| + g holds [f, g], the value of function f at element g, as the channels of
`group_layers` do. Element k acts by (k F)[f, g] = F[f, k^-1 g].

Source: Cohen & Welling 2016, arXiv 1602.07576, *Group Equivariant Convolutional Networks*:
G-correlations, on functions on the group.
"""

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from orbitlens.checks import as_count, check_kind
from orbitlens.groups import Group, as_group
from orbitlens.models._biases import new_bias, repeated
from orbitlens.models._last_axis import check_last_axis
from orbitlens.models._settings import keeps_settings
from orbitlens.reps import Representation


@final
@keeps_settings
class LiftingLinear(nn.Module):
    """Lifts vectors of a representation rho to functions on its group.

        F[f, g] = b_f + w_f . rho(g)^-1 x

    so that rho(k) x has the functions (k F)[f, g] = F[f, k^-1 g].

    Args:
        representation: rho, of any finite group.
        features: Features f; the output has features * |G| values.
        bias: Whether there is a bias for each feature, at first zero; default True.

    Raises:
        OrbitLensError: If it is no representation, or `features` is below 1.

    Example:
        >>> from orbitlens.reps import regular
        >>> LiftingLinear(regular("D3"), 2)(torch.rand(5, 6)).shape
        torch.Size([5, 12])
    """

    back: Tensor
    bias: Tensor | None

    def __init__(self, representation: Representation, features: int, *, bias: bool = True) -> None:
        super().__init__()
        check_kind("representation", representation, Representation, "see orbitlens.reps")
        features = as_count("features", features)
        self.group = representation.group
        back = representation.matrices[torch.from_numpy(self.group.inverses.copy())]
        self.register_buffer("back", back.clone(), persistent=False)
        spread = (2 / representation.dim) ** 0.5
        self.tied = nn.Parameter(torch.randn(features, representation.dim) * spread)
        self.register_parameter("bias", new_bias(features, bias))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch out"]:
        """Return the functions of the vectors, [..., features * |G|]."""
        check_last_axis(x, self.tied.shape[1], "linear")
        back = self.back.to(self.tied.dtype)
        weights = torch.einsum("fi,gij->fgj", self.tied, back).flatten(0, 1)
        return linear(x, weights, repeated(self.bias, self.group.order))


@final
@keeps_settings
class GroupLinear(nn.Module):
    """Takes functions on a finite group to functions on it.

        F'[f, g] = b_f + sum_{f', h} W[f, f', g^-1 h] F[f', h]

    Args:
        group: Any finite group, or its name.
        in_features: Features f' of the input, which has in_features * |G| values.
        out_features: Features f of the output.
        bias: Whether there is a bias for each feature, at first zero; default True.

    Raises:
        OrbitLensError: If a number of features is below 1.

    Example:
        >>> GroupLinear("S3", 2, 4)(torch.rand(5, 12)).shape
        torch.Size([5, 24])
    """

    planes: Tensor
    bias: Tensor | None

    def __init__(
        self, group: Group | str, in_features: int, out_features: int, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.group = as_group(group)
        inputs = as_count("in_features", in_features)
        outputs = as_count("out_features", out_features)
        planes = torch.from_numpy(self.group.table[self.group.inverses])
        self.register_buffer("planes", planes, persistent=False)
        spread = (2 / (inputs * self.group.order)) ** 0.5
        self.tied = nn.Parameter(torch.randn(outputs, inputs, self.group.order) * spread)
        self.register_parameter("bias", new_bias(outputs, bias))

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return functions on the group, [..., out_features * |G|]."""
        check_last_axis(x, self.tied.shape[1] * self.group.order, "linear")
        weights = rearrange(self.tied[:, :, self.planes], "f c g h -> (f g) (c h)")
        return linear(x, weights, repeated(self.bias, self.group.order))
