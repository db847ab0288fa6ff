"""Encoders: from an activation to one pre-activation per latent.

Parts of an SAE compute on the last axes of their tensors, so that SAEs can be trained as a stack.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import nn

from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor


class Encoder(nn.Module, ABC):
    """The interface: pre-activations a = E(x) that are homogeneous once biases are scaled."""

    d_in: int
    d_sae: int

    def forward(self, x: StackedActivations) -> StackedCodes:
        """Return pre-activations, shape [batch, d_sae]."""
        return self.answers(self.features(x))

    def features(self, x: StackedActivations) -> Float[Tensor, "*axes width"]:
        """Return what the last layer sees, from one side or from several; the input by default."""
        return x

    def answers(self, features: Float[Tensor, "*axes width"]) -> StackedCodes:
        """Return the last layer's answer, <features, vector_i> + bias_i, shape [batch, d_sae]."""
        return affine(features, self.vectors.mT, self.biases)

    @property
    @abstractmethod
    def vectors(self) -> Float[Tensor, "*stack latents width"]:
        """The last layer's weights, one vector per latent of a view, shape [latents, width]."""

    @property
    @abstractmethod
    def biases(self) -> Float[Tensor, "*stack latents"]:
        """The last layer's biases, shape [latents]."""

    @abstractmethod
    def scale_(self, factor: float) -> None:
        """Scale the biases, so that E_new(factor x) = factor E_old(x)."""


@final
class LinearEncoder(Encoder):
    """One linear layer, a = x W_enc + b_enc.

    Args:
        d_in: Width of the activations.
        d_sae: Number of latents.
        seed: Seed of the weights, default 0.

    Example:
        >>> LinearEncoder(4, 8)(torch.zeros(2, 4)).shape
        torch.Size([2, 8])
    """

    def __init__(self, d_in: int, d_sae: int, *, seed: int = 0) -> None:
        super().__init__()
        self.d_in, self.d_sae = d_in, d_sae
        generator = torch.Generator().manual_seed(seed)
        self.W_enc = nn.Parameter(uniform(d_in, d_sae, generator))
        self.b_enc = nn.Parameter(torch.zeros(d_sae))

    @property
    def vectors(self) -> Float[Tensor, "*stack latents width"]:
        """The columns of W_enc, shape [d_sae, d_in]."""
        return self.W_enc.mT

    @property
    def biases(self) -> Float[Tensor, "*stack latents"]:
        """One bias per latent, shape [d_sae]."""
        return self.b_enc

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale the bias, so that E_new(factor x) = factor E_old(x)."""
        self.b_enc.mul_(factor)


@final
class MLPEncoder(Encoder):
    """The paper's encoder: two linear layers with a ReLU between them.

    a = relu(x W_hidden + b_hidden) W_enc + b_enc. Source: Erdogan & Lucic, arXiv 2511.09432.

    Args:
        d_in: Width of the activations.
        hidden: Width of the layer between (64 for the toy model, 128 otherwise in the paper).
        d_sae: Number of latents.
        seed: Seed of the weights, default 0.

    Example:
        >>> MLPEncoder(4, 16, 8)(torch.zeros(2, 4)).shape
        torch.Size([2, 8])
    """

    def __init__(self, d_in: int, hidden: int, d_sae: int, *, seed: int = 0) -> None:
        super().__init__()
        self.d_in, self.hidden, self.d_sae = d_in, hidden, d_sae
        generator = torch.Generator().manual_seed(seed)
        self.W_hidden = nn.Parameter(uniform(d_in, hidden, generator))
        self.b_hidden = nn.Parameter(torch.zeros(hidden))
        self.W_enc = nn.Parameter(uniform(hidden, d_sae, generator))
        self.b_enc = nn.Parameter(torch.zeros(d_sae))

    def features(self, x: StackedActivations) -> Float[Tensor, "*stack batch hidden"]:
        """Return the hidden layer, shape [batch, hidden]."""
        # In place: the hidden layer is the largest tensor of a small SAE's step.
        return affine(x, self.W_hidden, self.b_hidden).relu_()

    @property
    def vectors(self) -> Float[Tensor, "*stack latents width"]:
        """The columns of W_enc, shape [d_sae, hidden]."""
        return self.W_enc.mT

    @property
    def biases(self) -> Float[Tensor, "*stack latents"]:
        """One bias per latent, shape [d_sae]."""
        return self.b_enc

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale both biases, so that E_new(factor x) = factor E_old(x)."""
        self.b_hidden.mul_(factor)
        self.b_enc.mul_(factor)


def affine(
    x: Float[Tensor, "*stack batch from"],
    weight: Float[Tensor, "*stack from to"],
    bias: Float[Tensor, "*stack to"],
) -> Float[Tensor, "*stack batch to"]:
    """Return x W + b in one pass over memory, for one SAE or for a stack of them.

    Args:
        x: Inputs, shape [batch, from], or [member, batch, from].
        weight: W, shape [from, to], or [member, from, to].
        bias: b, shape [to], or [member, to].

    Returns:
        Outputs, shape [batch, to], or [member, batch, to].

    Example:
        >>> affine(torch.ones(2, 3), torch.ones(3, 1), torch.ones(1)).tolist()
        [[4.0], [4.0]]
    """
    if x.ndim == 2:
        return torch.addmm(bias, x, weight)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight)


def uniform(fan_in: int, fan_out: int, generator: torch.Generator) -> torch.Tensor:
    """He et al. (2015) uniform weights: the variance of a ReLU layer's input is kept."""
    bound = (6.0 / fan_in) ** 0.5
    return (2 * torch.rand(fan_in, fan_out, generator=generator) - 1) * bound
