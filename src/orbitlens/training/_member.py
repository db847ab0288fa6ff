"""One SAE among those that train together, and its history."""

from dataclasses import dataclass, field

import torch
from torch import nn

from orbitlens.sae import SAE
from orbitlens.training._lent import Lent
from orbitlens.training._source import Source
from orbitlens.training._views import Objective

_OFFSET = 0.1
"""Share of the mean square from which the mean is an offset, not the sum of rare features."""


@dataclass(frozen=True)
class History:
    """The figures of a training, one entry per epoch.

    Args:
        loss: Mean objective, without the term that revives dead latents.
        l0: Mean number of active latents per sample.
        explained_variance: 1 - sum ||target - x_hat||^2 / sum ||target - mean||^2 over the epoch,
            measured before each step. The target is the sample that the objective reconstructs
            (the canonical one, if it reconstructs whole orbits). The mean is that of all targets
            in the training set.
        dead_latents: Latents that fired for no training sample of the epoch.
    """

    loss: list[float] = field(default_factory=list)
    l0: list[float] = field(default_factory=list)
    explained_variance: list[float] = field(default_factory=list)
    dead_latents: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Member:
    """One SAE in training; `names` are the views of its objective.

    `given_back` says whether it is for unscaled activations again.
    """

    sae: SAE
    source: Source
    objective: Objective
    names: tuple[str, ...]
    seed: int
    generator: torch.Generator
    lent: Lent
    history: History = field(default_factory=History)
    diverged: bool = False
    given_back: bool = False


def begin(member: Member) -> None:
    """Scale an SAE for scaled activations, place a new bias, and forget earlier counts.

    Frozen weights stay as they are, but for a bias that the sparsity rule wants at the mean.
    """
    sae, source = member.sae, member.source
    sae.fold_scale_(1.0 / source.scale)
    sae.sparsity.start_()
    if sae.b_dec.any():
        return
    placed = _placed(member)
    if placed is not None:
        member.lent.release(placed)
    frozen = [
        (own, own.detach().clone())
        for own in sae.parameters()
        if not (own.requires_grad or own is placed)
    ]
    sae.dictionary.center_(source.orbit_mean)
    for own, value in frozen:
        own.data = value


def _placed(member: Member) -> nn.Parameter | None:
    """Return an untrained bias that the rule wants at the mean, where this is an offset."""
    sae = member.sae
    if sae.sparsity.centre != "auto" or sae.dictionary.bias_weights.requires_grad:
        return None
    # Scaled activations have a mean square of one.
    share = float(member.source.orbit_mean.mean(0).square().mean())
    return sae.dictionary.bias_weights if share > _OFFSET else None
