"""Sparsity: how many latents fire, how often, and how many never fire."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes
from orbitlens.typing import Numbers


def l0(codes: Numbers) -> Float[Tensor, " batch"]:
    """Return the number of latents that fire for each sample.

    l0[i] = |{j : codes[i, j] != 0}|

    Args:
        codes: Codes, shape [batch, latents].

    Returns:
        One count per sample, float32, shape [batch]; the caller averages.

    Example:
        >>> l0(torch.tensor([[0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])).tolist()
        [2.0, 0.0]
    """
    return (_checked(codes, least=0) != 0).sum(dim=-1).to(torch.float32)


def firing_rates(codes: Numbers) -> Float[Tensor, " latents"]:
    """Return the share of samples for which each latent fires.

    rate[j] = |{i : codes[i, j] != 0}| / n

    Args:
        codes: Codes of a set, shape [n, latents].

    Returns:
        One rate per latent, from 0 to 1, float64, shape [latents].

    Example:
        >>> firing_rates(torch.tensor([[0.0, 2.0], [0.0, 3.0], [0.0, 0.0], [1.0, 1.0]])).tolist()
        [0.25, 0.75]
    """
    return (_checked(codes) != 0).to(torch.float64).mean(dim=0)


def dead_latents(codes: Numbers) -> Int[Tensor, ""]:
    """Return the number of latents that fire for no sample of a set.

    Args:
        codes: Codes of a set, shape [n, latents]. The smaller the set, the more rare latents are
            counted as dead.

    Returns:
        The count, a scalar.

    Example:
        >>> dead_latents(torch.tensor([[0.0, 2.0, 0.0], [0.0, 3.0, 1.0]])).item()
        1
    """
    return (_checked(codes) == 0).all(dim=0).sum()


def _checked(codes: Numbers, *, least: int = 1) -> Float[Tensor, "n latents"]:
    return as_axes("codes", codes, "n latents", least=least)
