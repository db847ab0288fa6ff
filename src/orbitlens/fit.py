"""The one training loop.

Each step draws a batch of orbits and one group element per orbit, computes the tensors that the
objective names, and takes one step of Adam. The same seed gives the same bits.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.metrics.reconstruction import ReconstructionStats
from orbitlens.sae import SAE, SAEOutput
from orbitlens.typing import (
    Activations,
    Bool,
    Elements,
    Float,
    Int,
    Orbits,
    PerSample,
    Tensor,
)

Objective = Callable[..., PerSample]
_CALIBRATED = 2**15
VIEWS = ("x", "x_moved", "codes", "codes_moved", "x_hat", "x_hat_moved")


@dataclass(frozen=True)
class History:
    """What happened, one entry per epoch.

    Args:
        loss: Mean objective, without the term that revives dead latents.
        l0: Mean number of active latents per sample.
        explained_variance: 1 - sum ||target - x_hat||^2 / sum ||target - mean||^2 over the epoch,
            measured before each step; the target is what the objective reconstructs.
        dead_latents: Latents that fired for no training sample of the epoch.
    """

    loss: list[float] = field(default_factory=list)
    l0: list[float] = field(default_factory=list)
    explained_variance: list[float] = field(default_factory=list)
    dead_latents: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class FitResult:
    """A trained SAE and how it got there.

    Args:
        sae: The SAE, in evaluation mode, on activations as they are (the scale is folded).
        history: One entry per epoch.
        status: "completed", or "diverged" if the loss stopped being finite; training then ended.
        scale: What the activations were multiplied with during training.
    """

    sae: SAE
    history: History
    status: str
    scale: float


def fit(
    sae: SAE,
    store: ActivationStore,
    *,
    objective: Objective = objectives.reconstruction,
    epochs: int = 100,
    batch_size: int = 256,
    lr: float = 5e-4,
    seed: int = 0,
    samples: Int[np.ndarray, " n"] | None = None,
    revival_weight: float = 1 / 32,
    dead_after: int = 1,
    progress: Callable[[int, int, float], None] | None = None,
) -> FitResult:
    """Train an SAE on augmented orbits.

    Activations are scaled to a mean square of one per dimension while training, and the scale is
    folded into the weights afterwards, so the SAE that comes back takes activations as they are.
    An untrained bias starts at the mean activation; an SAE that was trained before goes on from
    where it was.

    Args:
        sae: The SAE; trained in place, on the device that it is on.
        store: Activations of orbits, element 0 the canonical sample.
        objective: A function of the views it names, see `orbitlens.objectives`.
        epochs: Passes over the training orbits, default 100.
        batch_size: Orbits per step, default 256.
        lr: Learning rate of Adam, default 5e-4.
        seed: Seed of the order of the orbits and of the elements drawn, default 0.
        samples: Samples to train on, shape [n]; default the training part of `store.split()`.
        revival_weight: Weight of `objectives.dead_latent_revival`, default 1/32; 0 for none. As
            many dead latents as the SAE keeps, k, explain the residual of a sample.
        dead_after: Epochs without firing after which a latent counts as dead, default 1.
        progress: Called after each epoch with (epoch, epochs, loss).

    Returns:
        The SAE, its history and its status.

    Raises:
        OrbitLensError: If the widths differ, a number is out of range, or the objective names a
            view that does not exist.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=400, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> sae = ol.sae.topk_sae(d_in=16, d_sae=16, k=3, hidden=64)
        >>> result = fit(sae, store, objective=ol.objectives.canonical, epochs=5)
        >>> result.status, len(result.history.loss)
        ('completed', 5)
    """
    views = _views_of(objective)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("lr", lr)):
        if not 0 < value < math.inf:
            raise OrbitLensError(
                f"`{name}`", expected="above 0", received=value, remedy="give a number in range"
            )
    if sae.d_in != store.dim:
        raise OrbitLensError(
            "`sae`",
            expected=f"d_in = {store.dim}, the width of the store",
            received=sae.d_in,
            remedy=f"build the SAE with d_in={store.dim}",
        )
    orbits = store.orbits(store.split()[0] if samples is None else samples)
    scale = unit_scale(orbits)
    device = sae.b_dec.device
    orbits = (orbits * scale).to(device)
    sae.fold_scale_(1.0 / scale)
    if not sae.b_dec.any():
        with torch.no_grad():
            sae.dictionary.b_dec.copy_(orbits.mean((0, 1)))

    optimizer = torch.optim.Adam(sae.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(seed)
    epochs_silent = torch.zeros(sae.d_sae, device=device)
    history, status = History(), "completed"
    sae.train()
    for epoch in range(1, epochs + 1):
        stats = _EpochStats(sae.d_sae, device)
        dead = epochs_silent >= dead_after
        revive = revival_weight > 0 and bool(dead.any())
        for batch in torch.randperm(len(orbits), generator=generator).split(batch_size):
            elements = torch.randint(store.group.order, (len(batch),), generator=generator)
            step = _forward(sae, orbits[batch], elements, views)
            loss = objective(**{name: step.view(name) for name in views}).mean()
            stats.update(loss.detach(), step)
            if revive:
                loss = loss + revival_weight * _revival(sae, step, dead).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sae.dictionary.project_()
        epochs_silent = torch.where(stats.fired, 0.0, epochs_silent + 1)
        stats.append_to(history)
        if progress is not None:
            progress(epoch, epochs, history.loss[-1])
        if not math.isfinite(history.loss[-1]):
            status = "diverged"
            break
    sae.sparsity.calibrate_(_pre_activations(sae, orbits))
    sae.eval()
    sae.fold_scale_(scale)
    return FitResult(sae=sae, history=history, status=status, scale=scale)


def unit_scale(orbits: Orbits) -> float:
    """Return the factor that brings activations to a mean square of one about their mean.

    Args:
        orbits: Activations, shape [batch, group, dim].

    Returns:
        The factor; 1 for activations without variance.

    Example:
        >>> unit_scale(torch.tensor([[[1.0], [5.0]]]))
        0.5
    """
    mean = orbits.mean((0, 1), dtype=torch.float64).to(orbits.dtype)
    deviation = (orbits - mean).square().mean(dtype=torch.float64).sqrt().item()
    size = orbits.square().mean(dtype=torch.float64).sqrt().item()
    # Below this share of its size, a deviation is float32 rounding.
    return 1.0 / deviation if deviation > 1e-6 * size else 1.0


@dataclass(frozen=True)
class _Step:
    """The tensors of one step; an output that the objective does not name is not computed."""

    x: Activations
    x_moved: Activations
    output: SAEOutput | None
    output_moved: SAEOutput | None
    reconstructs_moved: bool

    def view(self, name: str) -> Float[Tensor, "batch width"]:
        if name in ("x", "x_moved"):
            return self.x if name == "x" else self.x_moved
        output = self.output_moved if name.endswith("_moved") else self.output
        value: Tensor = getattr(output, name.removesuffix("_moved"))
        return value

    @property
    def primary(self) -> SAEOutput:
        """The output that is compared with a target: of the canonical sample if there is one."""
        output = self.output or self.output_moved
        if output is None:
            raise RuntimeError("an objective names at least one output")
        return output

    @property
    def target(self) -> Activations:
        """What the primary output should be."""
        return self.x_moved if self.reconstructs_moved else self.x


def _views_of(objective: Objective) -> tuple[str, ...]:
    """Read from the signature which views an objective needs."""
    parameters = inspect.signature(objective).parameters.values()
    names = tuple(p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY)
    if not set(names) <= set(VIEWS) or not {"x_hat", "x_hat_moved"} & set(names):
        raise OrbitLensError(
            "`objective`",
            expected=f"a function of some of {', '.join(VIEWS)}, with x_hat or x_hat_moved",
            received=f"({', '.join(names)})",
            remedy="name its arguments after the views and make weights keyword-only",
        )
    return names


def _forward(sae: SAE, orbits: Orbits, elements: Elements, views: Sequence[str]) -> _Step:
    x, x_moved = orbits[:, 0], orbits[torch.arange(len(orbits)), elements]
    return _Step(
        x=x,
        x_moved=x_moved,
        output=sae(x) if {"codes", "x_hat"} & set(views) else None,
        output_moved=sae(x_moved) if {"codes_moved", "x_hat_moved"} & set(views) else None,
        reconstructs_moved="x" not in views,
    )


@torch.no_grad()
def _pre_activations(sae: SAE, orbits: Orbits) -> Float[Tensor, "rows latents"]:
    """Pre-activations in every orientation, of training orbits spread over at most so many."""
    stride = -(-orbits.shape[:2].numel() // _CALIBRATED)
    return sae(orbits[::stride].flatten(0, 1)).pre


def _revival(sae: SAE, step: _Step, dead: Bool[Tensor, " latents"]) -> PerSample:
    return objectives.dead_latent_revival(
        step.target - step.primary.x_hat,
        step.primary.pre,
        dead,
        sae.W_dec,
        k_aux=sae.sparsity.k,
    )


class _EpochStats:
    """Running figures of one epoch, kept as tensors so that no step waits for them."""

    def __init__(self, d_sae: int, device: torch.device) -> None:
        self.loss, self.active = torch.zeros(2, device=device)
        self.samples = 0
        self.fired = torch.zeros(d_sae, dtype=torch.bool, device=device)
        self.reconstruction = ReconstructionStats()

    @torch.no_grad()
    def update(self, loss: Float[Tensor, ""], step: _Step) -> None:
        active = step.primary.codes > 0
        self.loss += loss * len(active)
        self.active += active.sum()
        self.samples += len(active)
        for output in (step.output, step.output_moved):
            if output is not None:
                self.fired |= (output.codes > 0).any(0)
        self.reconstruction.update(step.target, step.primary.x_hat)

    def append_to(self, history: History) -> None:
        history.loss.append(self.loss.item() / self.samples)
        history.l0.append(self.active.item() / self.samples)
        history.explained_variance.append(self.reconstruction.explained_variance.item())
        history.dead_latents.append(int((~self.fired).sum()))
