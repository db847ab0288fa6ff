"""One SAE among those that train together, and what happened to it."""

from dataclasses import dataclass, field

import torch

from orbitlens.sae import SAE
from orbitlens.training._data import TrainingData
from orbitlens.training.views import Objective


@dataclass(frozen=True)
class History:
    """What happened, one entry per epoch.

    Args:
        loss: Mean objective, without the term that revives dead latents.
        l0: Mean number of active latents per sample.
        explained_variance: 1 - sum ||target - x_hat||^2 / sum ||target - mean||^2 over the epoch,
            measured before each step; the target is what the objective reconstructs (the
            canonical sample, if it is a whole orbit), and the mean is that of all targets in the
            training set.
        dead_latents: Latents that fired for no training sample of the epoch.
    """

    loss: list[float] = field(default_factory=list)
    l0: list[float] = field(default_factory=list)
    explained_variance: list[float] = field(default_factory=list)
    dead_latents: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Member:
    """One SAE in training.

    Args:
        sae: The SAE.
        data: What it is trained on.
        objective: What it is trained to do.
        names: The views that the objective names.
        seed: Seed of what it sees.
        generator: What draws it, begun at the seed.
        history: One entry per epoch so far.
        diverged: Whether its loss stopped being finite.
    """

    sae: SAE
    data: TrainingData
    objective: Objective
    names: tuple[str, ...]
    seed: int
    generator: torch.Generator
    history: History = field(default_factory=History)
    diverged: bool = False
