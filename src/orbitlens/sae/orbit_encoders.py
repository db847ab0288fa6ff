"""Orbit encoders: any encoder, applied to the activation as seen from every element of a group.

    a[g, c] = E_c(rho(g)^-1 y)

so a turned input gives turned pre-activations, a(rho(h) y)[hg, c] = a(y)[g, c], whatever E is.
"""

from typing import final

import torch
from torch import nn

from orbitlens.sae.encoders import Encoder, affine, uniform
from orbitlens.sae.tied import Tied
from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor


@final
class OrbitLinearEncoder(Encoder):
    """One vector per atom, a[g, c] = <e_c, rho(g)^-1 y> + b_c.

    Args:
        n_atoms: Number of atoms; d_sae is |G| times as many.
        tied: The group and its irreps, in whose isotypic coordinates y is.
        seed: Seed of the weights, default 0.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> OrbitLinearEncoder(3, Tied(cyclic(4), (1, 1, 1)))(torch.zeros(2, 4)).shape
        torch.Size([2, 12])
    """

    def __init__(self, n_atoms: int, tied: Tied, *, seed: int = 0) -> None:
        super().__init__()
        self.tied, self.d_in, self.d_sae = tied, tied.dim, n_atoms * tied.group.order
        generator = torch.Generator().manual_seed(seed)
        self.W_enc = nn.Parameter(uniform(self.d_in, n_atoms, generator).T.contiguous())
        self.b_enc = nn.Parameter(torch.zeros(n_atoms))

    def answers(self, features: StackedActivations) -> StackedCodes:
        """Return pre-activations, element after element, shape [batch, d_sae]."""
        return _seen(self.tied, features, self.W_enc, self.b_enc).flatten(-2)

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


@final
class OrbitMLPEncoder(Encoder):
    """The paper's two-layer encoder from every side.

    a[g] = relu(rho(g)^-1 y W_hidden + b_hidden) W_enc + b_enc

    Source of the encoder: Erdogan & Lucic, arXiv 2511.09432.

    Args:
        n_atoms: Number of atoms; d_sae is |G| times as many.
        hidden: Width of the layer between, for each element.
        tied: The group and its irreps, in whose isotypic coordinates y is.
        seed: Seed of the weights, default 0.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> OrbitMLPEncoder(3, 8, Tied(cyclic(4), (1, 1, 1)))(torch.zeros(2, 4)).shape
        torch.Size([2, 12])
    """

    def __init__(self, n_atoms: int, hidden: int, tied: Tied, *, seed: int = 0) -> None:
        super().__init__()
        self.tied, self.d_in, self.d_sae = tied, tied.dim, n_atoms * tied.group.order
        self.hidden = hidden
        generator = torch.Generator().manual_seed(seed)
        self.W_hidden = nn.Parameter(uniform(self.d_in, hidden, generator).T.contiguous())
        self.b_hidden = nn.Parameter(torch.zeros(hidden))
        self.W_enc = nn.Parameter(uniform(hidden, n_atoms, generator))
        self.b_enc = nn.Parameter(torch.zeros(n_atoms))

    def features(self, x: StackedActivations) -> Float[Tensor, "*stack batch group hidden"]:
        """Return the hidden layer as seen from every element, shape [batch, |G|, hidden]."""
        return _seen(self.tied, x, self.W_hidden, self.b_hidden).relu()

    def answers(self, features: Float[Tensor, "*stack batch group hidden"]) -> StackedCodes:
        """Return pre-activations, element after element, shape [batch, d_sae]."""
        # All elements as rows of one product: broadcasting would copy the weights for each sample.
        pre = affine(features.flatten(-3, -2), self.W_enc, self.b_enc)
        return pre.unflatten(-2, features.shape[-3:-1]).flatten(-2)

    @property
    def vectors(self) -> Float[Tensor, "*stack latents width"]:
        """The columns of W_enc, shape [n_atoms, hidden]."""
        return self.W_enc.mT

    @property
    def biases(self) -> Float[Tensor, "*stack latents"]:
        """One bias per atom, shape [n_atoms]."""
        return self.b_enc

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale both biases, so that E_new(factor x) = factor E_old(x)."""
        self.b_hidden.mul_(factor)
        self.b_enc.mul_(factor)


def _seen(
    tied: Tied,
    y: StackedActivations,
    weights: Float[Tensor, "*stack to dim"],
    bias: Float[Tensor, "*stack to"],
) -> Float[Tensor, "*stack batch group to"]:
    """A linear layer applied to rho(g)^-1 y for every g."""
    products = tied.products(y, weights).unflatten(-1, (tied.group.order, weights.shape[-2]))
    return products + bias[..., None, None, :]
