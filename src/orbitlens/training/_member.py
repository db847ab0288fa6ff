"""One SAE among those that train together, and its history."""

from dataclasses import dataclass, field

import torch

from orbitlens.sae import SAE
from orbitlens.training._lent import Lent
from orbitlens.training._source import Source
from orbitlens.training._views import Objective


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
