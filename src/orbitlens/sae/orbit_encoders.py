"""Orbit encoders: an encoder applied to the activation turned back by every element of a group.

    a[g, c] = E_c(rho(g)^-1 y)

Turned inputs give turned pre-activations for every E: a(rho(h) y)[hg, c] = a(y)[g, c].
"""

from typing import final

import torch
from torch import nn

from orbitlens.checks import as_count, as_seed, check_kind, usual_torch
from orbitlens.sae._linear import affine, uniform
from orbitlens.sae.encoders import Encoder, LinearEncoder, MLPEncoder
from orbitlens.sae.tied import Tied
from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor


@final
class OrbitLinearEncoder(Encoder):
    """One vector per atom, a[g, c] = <e_c, rho(g)^-1 y> + b_c.

    Args:
        n_atoms: Number of atoms; d_sae is |G| times as many.
        tied: The group with its irreps, which fix the isotypic coordinates y.
        seed: Seed of the weights, default 0.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> OrbitLinearEncoder(3, Tied(cyclic(4), (1, 1, 1)))(torch.zeros(2, 4)).shape
        torch.Size([2, 12])
    """

    @usual_torch()
    def __init__(self, n_atoms: int, tied: Tied, *, seed: int = 0) -> None:
        super().__init__()
        n_atoms = as_count("n_atoms", n_atoms)
        check_kind("tied", tied, Tied, "for example that of an orbit dictionary, `.tied`")
        self.tied, self.d_in, self.d_sae = tied, tied.dim, n_atoms * tied.group.order
        generator = torch.Generator().manual_seed(as_seed(seed))
        self.W_enc = nn.Parameter(uniform(self.d_in, n_atoms, generator).T.contiguous())
        self.b_enc = nn.Parameter(torch.zeros(n_atoms))

    def answers(self, features: StackedActivations) -> StackedCodes:
        """Return pre-activations, element after element, shape [batch, d_sae]."""
        return _from_every_side(self.tied, features, self.W_enc, self.b_enc).flatten(-2)

    @property
    def vectors(self) -> Float[Tensor, "*stack latents width"]:
        """The vectors in every orientation, rho(g) e_c, shape [d_sae, d_in]."""
        return self.tied.orbits(self.W_enc).flatten(-3, -2)

    @property
    def biases(self) -> Float[Tensor, "*stack latents"]:
        """The bias of each atom for every element, shape [d_sae]."""
        order = self.tied.group.order
        return self.b_enc.unsqueeze(-2).expand(*self.b_enc.shape[:-1], order, -1).flatten(-2)

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale the bias, so that E_new(factor x) = factor E_old(x)."""
        self.b_enc.mul_(factor)

    @torch.no_grad()
    def dense(self, T_inverse: Float[Tensor, "dim dim"]) -> LinearEncoder:
        """Return the linear encoder of activations with one column for each pair."""
        linear = LinearEncoder(self.d_in, self.d_sae)
        linear.W_enc.copy_(_columns(self.tied, self.W_enc, T_inverse))
        linear.b_enc.copy_(self.biases)
        return linear


@final
class OrbitMLPEncoder(Encoder):
    """The paper's two-layer encoder, applied once for every element.

    a[g] = relu(rho(g)^-1 y W_hidden + b_hidden) W_enc + b_enc

    Source of the encoder: Erdogan & Lucic, arXiv 2511.09432.

    Args:
        n_atoms: Number of atoms; d_sae is |G| times as many.
        hidden: Width of the hidden layer for each element.
        tied: The group with its irreps, which fix the isotypic coordinates y.
        seed: Seed of the weights, default 0.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> OrbitMLPEncoder(3, 8, Tied(cyclic(4), (1, 1, 1)))(torch.zeros(2, 4)).shape
        torch.Size([2, 12])
    """

    hidden: int

    @usual_torch()
    def __init__(self, n_atoms: int, hidden: int, tied: Tied, *, seed: int = 0) -> None:
        super().__init__()
        n_atoms = as_count("n_atoms", n_atoms)
        check_kind("tied", tied, Tied, "for example that of an orbit dictionary, `.tied`")
        self.tied, self.d_in, self.d_sae = tied, tied.dim, n_atoms * tied.group.order
        hidden = self.hidden = as_count("hidden", hidden)
        generator = torch.Generator().manual_seed(as_seed(seed))
        self.W_hidden = nn.Parameter(uniform(self.d_in, hidden, generator).T.contiguous())
        self.b_hidden = nn.Parameter(torch.zeros(hidden))
        self.W_enc = nn.Parameter(uniform(hidden, n_atoms, generator))
        self.b_enc = nn.Parameter(torch.zeros(n_atoms))

    def features(self, x: StackedActivations) -> Float[Tensor, "*stack batch group hidden"]:
        """Return the hidden layer for every element, shape [batch, |G|, hidden]."""
        return _from_every_side(self.tied, x, self.W_hidden, self.b_hidden).relu()

    def answers(self, features: Float[Tensor, "*stack batch group hidden"]) -> StackedCodes:
        """Return pre-activations, element after element, shape [batch, d_sae]."""
        # All elements as rows of one product: broadcasting would copy the weights for each sample.
        pre = affine(features.flatten(-3, -2), self.W_enc, self.b_enc)
        return pre.unflatten(-2, features.shape[-3:-1]).flatten(-2)

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale both biases, so that E_new(factor x) = factor E_old(x)."""
        self.b_hidden.mul_(factor)
        self.b_enc.mul_(factor)

    @torch.no_grad()
    def dense(self, T_inverse: Float[Tensor, "dim dim"]) -> MLPEncoder:
        """Return the two-layer encoder of activations with hidden units for each element."""
        order = self.tied.group.order
        layers = MLPEncoder(self.d_in, self.hidden * order, self.d_sae)
        layers.W_hidden.copy_(_columns(self.tied, self.W_hidden, T_inverse))
        layers.b_hidden.copy_(self.b_hidden.repeat(order))
        layers.W_enc.copy_(torch.block_diag(*[self.W_enc] * order))
        layers.b_enc.copy_(self.b_enc.repeat(order))
        return layers


def _columns(
    tied: Tied, weights: Float[Tensor, "to dim"], T_inverse: Float[Tensor, "dim dim"]
) -> Float[Tensor, "dim oriented"]:
    """Return the columns w with <w, x> = <rho'(g) e, T^-1 x>, element after element."""
    return T_inverse.mT @ tied.orbits(weights).flatten(0, 1).mT


def _from_every_side(
    tied: Tied,
    y: StackedActivations,
    weights: Float[Tensor, "*stack to dim"],
    bias: Float[Tensor, "*stack to"],
) -> Float[Tensor, "*stack batch group to"]:
    """Apply a linear layer to rho(g)^-1 y for every g."""
    products = tied.products(y, weights).unflatten(-1, (tied.group.order, weights.shape[-2]))
    return products + bias[..., None, None, :]
