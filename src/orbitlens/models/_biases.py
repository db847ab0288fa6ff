"""Biases of layers whose outputs are functions on a group: one for each function."""

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.checks import as_switch


def new_bias(features: int, bias: bool) -> nn.Parameter | None:
    """Return a bias for each feature, at first zero; None for a layer that shall have none."""
    return nn.Parameter(torch.zeros(features)) if as_switch("bias", bias) else None


def repeated(
    bias: Float[Tensor, " features"] | None, copies: int
) -> Float[Tensor, " features_copies"] | None:
    """Return the bias of each value of the functions; None if the layer has none."""
    return None if bias is None else repeat(bias, "feature -> (feature copy)", copy=copies)
