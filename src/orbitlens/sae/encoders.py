"""Encoders: from an activation to one pre-activation per latent.

All parts of an SAE compute on the last axes of their tensors. So a stack of SAEs, whose tensors
have one more axis in front, is trained as one.
"""

from abc import ABC, abstractmethod
from typing import Any, final

import torch
from torch import nn

from orbitlens.checks import as_count, as_seed, usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.sae._linear import affine, uniform
from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor


class Encoder(nn.Module, ABC):
    """The interface: pre-activations a = E(x).

    Scaling the biases with the input scales the output: E is homogeneous once `scale_` is called.
    """

    d_in: int
    d_sae: int
    W_enc: Tensor
    b_enc: Tensor
    hidden: int | None = None
    """Width of the hidden layer; None for a linear encoder."""

    def settings(self) -> dict[str, Any]:
        """Return the fields of `cfg.json` from which `Dictionary.make_encoder` builds it again."""
        return {"hidden": self.hidden}

    def forward(self, x: StackedActivations) -> StackedCodes:
        """Return pre-activations, shape [batch, d_sae]."""
        return self.answers(self.features(x))

    def features(self, x: StackedActivations) -> Float[Tensor, "*axes width"]:
        """Return the input of the last layer; that of the encoder by default."""
        return x

    def answers(self, features: Float[Tensor, "*axes width"]) -> StackedCodes:
        """Return the last layer's output, <features, vector_i> + bias_i, shape [batch, d_sae]."""
        return affine(features, self.vectors.mT, self.biases)

    @property
    def vectors(self) -> Float[Tensor, "*stack latents width"]:
        """The last layer's weights, one vector per latent, shape [latents, width]."""
        return self.W_enc.mT

    @property
    def biases(self) -> Float[Tensor, "*stack latents"]:
        """The last layer's biases, shape [latents]."""
        return self.b_enc

    @abstractmethod
    def scale_(self, factor: float) -> None:
        """Scale the biases, so that E_new(factor x) = factor E_old(x)."""

    def dense(self, T_inverse: Float[Tensor, "dim dim"]) -> "Encoder":
        """Return the ordinary encoder of x = T y that equals this encoder of y; see `dense`."""
        del T_inverse
        raise OrbitLensError(
            "`sae` to write out",
            expected="an orbit encoder",
            received=type(self).__name__,
            remedy="write out an encoder of your own",
        )


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

    @usual_torch()
    def __init__(self, d_in: int, d_sae: int, *, seed: int = 0) -> None:
        super().__init__()
        self.d_in, self.d_sae = as_count("d_in", d_in), as_count("d_sae", d_sae)
        generator = torch.Generator().manual_seed(as_seed(seed))
        self.W_enc = nn.Parameter(uniform(self.d_in, self.d_sae, generator))
        self.b_enc = nn.Parameter(torch.zeros(self.d_sae))

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
        hidden: Width of the hidden layer; the paper has 64 for the toy model, else 128.
        d_sae: Number of latents.
        seed: Seed of the weights, default 0.

    Example:
        >>> MLPEncoder(4, 16, 8)(torch.zeros(2, 4)).shape
        torch.Size([2, 8])
    """

    hidden: int

    @usual_torch()
    def __init__(self, d_in: int, hidden: int, d_sae: int, *, seed: int = 0) -> None:
        super().__init__()
        self.d_in, self.d_sae = as_count("d_in", d_in), as_count("d_sae", d_sae)
        self.hidden = as_count("hidden", hidden)
        generator = torch.Generator().manual_seed(as_seed(seed))
        self.W_hidden = nn.Parameter(uniform(self.d_in, self.hidden, generator))
        self.b_hidden = nn.Parameter(torch.zeros(self.hidden))
        self.W_enc = nn.Parameter(uniform(self.hidden, self.d_sae, generator))
        self.b_enc = nn.Parameter(torch.zeros(self.d_sae))

    def features(self, x: StackedActivations) -> Float[Tensor, "*stack batch hidden"]:
        """Return the hidden layer, shape [batch, hidden]."""
        # In place: the hidden layer is the largest tensor of a small SAE's step.
        return affine(x, self.W_hidden, self.b_hidden).relu_()

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale both biases, so that E_new(factor x) = factor E_old(x)."""
        self.b_hidden.mul_(factor)
        self.b_enc.mul_(factor)
