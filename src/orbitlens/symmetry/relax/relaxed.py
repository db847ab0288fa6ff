"""Relaxed layers on vectors: they start exactly equivariant, and learn how far to leave it.

    RelaxedLiftingLinear   vectors of a representation -> functions on the group
    RelaxedGroupLinear     functions on the group -> functions on the group

The exact layers of `orbitlens.models` have one filter, which each element moves. These have L of
them, psi_1 .. psi_L, and mix them for each element anew, by relaxation weights w_l(g). Where each
w_l is constant over the group, the layer is exactly equivariant. It starts so, with all weights at
1 / L. With L = |G| it can be any linear map.

Frozen weights make the exact layer that a relaxed one is compared with: same code, same start.

Source: Park, Bhatt, Zeng, Wong, Koppel, Ganesh & Walters 2025, arXiv 2411.04225, *Approximate
Equivariance in Reinforcement Learning*; layers after Wang, Walters & Yu 2022, arXiv 2201.11969.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from orbitlens.checks import as_count, check_kind
from orbitlens.groups import Group, as_group
from orbitlens.models import keeps_settings
from orbitlens.models._last_axis import check_last_axis
from orbitlens.reps import Representation, check_multiplies
from orbitlens.symmetry.relax._banks import BankLayer, moved_filters, of_element
from orbitlens.symmetry.relax._fixed import KeepsNumbers


@final
@keeps_settings
class RelaxedLiftingLinear(KeepsNumbers, BankLayer):
    """Lifts vectors of a representation rho to functions on its group.

        F[f, g] = b_f + sum_l w_l(g) psi_l[f] . rho(g)^-1 x

    Where w is constant, rho(k) x has the functions (k F)[f, g] = F[f, k^-1 g]. A critic lifts state
    and action together, with direct_sum(rho_S, rho_A).

    Source: Wang et al. 2022, arXiv 2201.11969, lifting layer, for vectors.

    Args:
        representation: rho, of any finite group.
        features: Features f; the output has features * |G| values.
        banks: L, the number of filter banks; default 2.
        frozen: True for weights w that stay as they are: the exact layer, which refuses the state
            of a layer whose weights vary over the group. Default False.
        bias: Whether there is a bias for each feature, at first zero; default True.

    Raises:
        OrbitLensError: If the matrices are no representation, or a number is below 1.

    Example:
        >>> from orbitlens.reps import regular
        >>> layer = RelaxedLiftingLinear(regular("D3"), 2)
        >>> layer(torch.rand(5, 6)).shape
        torch.Size([5, 12])
        >>> layer.symmetry_use()
        SymmetryUse(kind='spread', parts={'bank 1': 0.0, 'bank 2': 0.0})
    """

    back: Tensor

    def __init__(
        self,
        representation: Representation,
        features: int,
        *,
        banks: int = 2,
        frozen: bool = False,
        bias: bool = True,
    ) -> None:
        check_kind("representation", representation, Representation, "see orbitlens.reps")
        check_multiplies(representation)
        group, dim = representation.group, representation.dim
        shape = (as_count("features", features), dim)
        super().__init__(group, shape, dim, banks=banks, frozen=frozen, bias=bias)
        back = representation.matrices[torch.from_numpy(group.inverses.copy())]
        self.keep("back", back)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch out"]:
        """Return the functions of the vectors, [..., features * |G|]."""
        check_last_axis(x, self.filters.shape[-1], "relaxed")
        return linear(x, self.combined(), self.biases())

    def combined(self) -> Float[Tensor, "out dim"]:
        """Return the matrix of the layer: row (f, g) is sum_l w_l(g) psi_l[f] rho(g)^-1."""
        mixed = torch.einsum("lg,lfi->fgi", self.weights, self.filters)
        return torch.einsum("fgi,gij->fgj", mixed, self.back.to(mixed.dtype)).flatten(0, 1)


@final
@keeps_settings
class RelaxedGroupLinear(BankLayer):
    """Takes functions on a finite group to functions on it.

        F'[f, g] = b_f + sum_l w_l(g) sum_{f', h} psi_l[f, f', g^-1 h] F[f', h]

    Source: Wang et al. 2022, arXiv 2201.11969, group layer, without places.

    Args:
        group: Any finite group, or its name.
        in_features: Features f' of the input, which has in_features * |G| values.
        out_features: Features f of the output.
        banks: L, the number of filter banks; default 2.
        frozen: True for weights w that stay as they are: the exact layer, which refuses the state
            of a layer whose weights vary over the group. Default False.
        bias: Whether there is a bias for each feature, at first zero; default True.

    Raises:
        OrbitLensError: If a number is below 1.

    Example:
        >>> RelaxedGroupLinear("S3", 2, 4, banks=3)(torch.rand(5, 12)).shape
        torch.Size([5, 24])
    """

    index: Tensor

    def __init__(
        self,
        group: Group | str,
        in_features: int,
        out_features: int,
        *,
        banks: int = 2,
        frozen: bool = False,
        bias: bool = True,
    ) -> None:
        group = as_group(group)
        inputs = as_count("in_features", in_features)
        shape = (as_count("out_features", out_features), inputs, group.order)
        fan_in = inputs * group.order
        super().__init__(group, shape, fan_in, banks=banks, frozen=frozen, bias=bias)
        planes = torch.from_numpy(group.table[group.inverses])
        self.register_buffer("index", of_element(planes, group.order), persistent=False)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return functions on the group, [..., out_features * |G|]."""
        check_last_axis(x, self.filters.shape[2] * self.group.order, "relaxed")
        return linear(x, self.combined(), self.biases())

    def combined(self) -> Float[Tensor, "out in"]:
        """Return the matrix of the layer."""
        return moved_filters(self.weights, self.filters, self.index)
