"""What happens in training: the data of a store, one SAE among others, and a stack of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import final

import numpy as np
import torch
from torch import nn

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.sae import SAE
from orbitlens.stack import stack_saes
from orbitlens.typing import Float, Int, Orbits, PerSample, StackedActivations, Tensor
from orbitlens.views import Batch, Objective, Views, reconstructs_moved


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


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The training rows of one store: `rows[i * order + g]` is orbit i moved by g, scaled."""

    rows: Float[Tensor, "rows dim"]
    n: int
    order: int
    scale: float

    @classmethod
    def read(
        cls, store: ActivationStore, samples: Int[np.ndarray, " n"] | None, device: torch.device
    ) -> "TrainingData":
        """Read and scale the orbits of `samples`, or of the training part of a store."""
        orbits = store.orbits(store.split()[0] if samples is None else samples)
        scale = unit_scale(orbits)
        rows = (orbits * scale).flatten(0, 1).to(device)
        return cls(rows, len(orbits), store.group.order, scale)

    @property
    def orbits(self) -> Orbits:
        """The rows orbit by orbit, shape [n, |G|, dim]."""
        return self.rows.unflatten(0, (self.n, self.order))

    @cached_property
    def orbit_mean(self) -> Float[Tensor, "group dim"]:
        """The mean activation under each element, shape [|G|, dim]."""
        return self.orbits.mean(0)

    def squared_deviations(self, *, moved: bool) -> Float[Tensor, " rows"]:
        """Squared distance of every row from the mean of all rows, or of the canonical ones."""
        around = (self.rows if moved else self.orbits[:, 0]).mean(0, dtype=torch.float64)
        return (self.rows - around.to(self.rows.dtype)).square().sum(-1).double()


@dataclass(eq=False)
class Member:
    """One SAE in training."""

    sae: SAE
    data: TrainingData
    objective: Objective
    names: tuple[str, ...]
    generator: torch.Generator
    history: History = field(default_factory=History)
    diverged: bool = False


@final
class StackTraining:
    """Members that train as one SAE, and the figures of the present epoch."""

    def __init__(self, members: Sequence[Member], lr: float) -> None:
        self.members, self.names = members, members[0].names
        self.sae = stack_saes([member.sae for member in members]).train()
        self.turned = _lay_out(self.sae)
        views = [self.turned.get(weights, weights) for weights in self.sae.parameters()]
        self.optimizer = torch.optim.Adam(views, lr=lr, fused=True)
        device = self.sae.b_dec.device
        self.silent = torch.zeros(len(members), self.members[0].sae.d_sae, device=device)
        stores = list({id(member.data): member.data for member in members}.values())
        ends = np.cumsum([len(data.rows) for data in stores])
        starts = {id(d): int(end) - len(d.rows) for d, end in zip(stores, ends, strict=True)}
        self.starts = [starts[id(member.data)] for member in members]
        self.rows = _joined([data.rows for data in stores])
        self.coordinates, self.shift = self._in_coordinates()
        moved = reconstructs_moved(self.names)
        self.deviations = _joined([data.squared_deviations(moved=moved) for data in stores])
        changes = [
            i for i, (a, b) in enumerate(pairwise(members), 1) if a.objective is not b.objective
        ]
        self.runs = [slice(a, b) for a, b in pairwise([0, *changes, len(members)])]

    @torch.no_grad()
    def _in_coordinates(
        self,
    ) -> tuple[Float[Tensor, "coordinate_rows dim"] | None, Int[Tensor, "member 1"] | None]:
        """Turn activations into the members' coordinates once, not batch by batch in every step."""
        if not self.members[0].sae.dictionary.has_coordinates:
            return None, None
        parts: list[tuple[Member, Tensor]] = []
        starts: list[int] = []
        for member in self.members:
            known = [own for own, _ in parts]
            place = next((i for i, own in enumerate(known) if _shares(member, own)), len(parts))
            if place == len(parts):
                rows = member.sae.dictionary.coordinates(member.data.rows)
                parts.append((member, rows))
            starts.append(sum(len(rows) for _, rows in parts[:place]))
        shift = torch.tensor(starts) - torch.tensor(self.starts)
        return _joined([rows for _, rows in parts]), shift[:, None].to(self.rows.device)

    def start_epoch(self, dead_after: int, lr: float) -> None:
        """Draw order and elements of every member from its own generator; set the rate."""
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr
        canonical, moved = [], []
        for member, start in zip(self.members, self.starts, strict=True):
            data, generator = member.data, member.generator
            first = start + torch.randperm(data.n, generator=generator) * data.order
            canonical.append(first)
            moved.append(first + torch.randint(data.order, (data.n,), generator=generator))
        device = self.rows.device
        self.canonical, self.moved = (
            torch.stack(canonical).to(device),
            torch.stack(moved).to(device),
        )
        self.sae.dictionary.settle_()
        dead = self.silent >= dead_after
        self.dead = dead if dead.any() else None
        self.loss, self.error = torch.zeros(2, len(self.members), device=device)
        self.fired, self.fired_primary = torch.zeros(2, *self.silent.shape, device=device)

    def step(self, batch: slice, revival_weight: float) -> None:
        """Take one step of Adam on one batch of every member."""
        own = Batch(
            self.rows,
            self.canonical[:, batch],
            self.moved[:, batch],
            self.members[0].data.order,
            self.coordinates,
            self.shift,
        )
        views = Views(self.sae, own, self.dead if revival_weight > 0 else None)
        losses = self._losses(views)
        self._count(views, losses)
        loss = losses.mean(-1).sum()
        revival = self._revival(views)
        if revival is not None:
            loss = loss + revival_weight * revival.mean(-1).sum()
        self.sae.zero_grad()
        loss.backward()
        for weights, view in self.turned.items():
            view.grad = None if weights.grad is None else weights.grad.mT
        self.optimizer.step()
        self.sae.dictionary.project_()

    def _losses(self, views: Views) -> Float[Tensor, "member batch"]:
        """Each member's objective on each of its samples."""
        values = {name: getattr(views, name) for name in self.names}
        losses = []
        for run in self.runs:
            objective = self.members[run.start].objective
            own = {name: value[run] for name, value in values.items()}
            if run.stop - run.start == 1:
                # An objective that vmap does not know still trains, one SAE at a time.
                losses.append(objective(**{n: value[0] for n, value in own.items()})[None])
            else:
                losses.append(torch.vmap(_by_name(objective, self.names))(*own.values()))
        return torch.cat(losses)

    def _revival(self, views: Views) -> Float[Tensor, "member batch"] | None:
        output = views.primary(self.names)
        explained = output.explained_by_dead
        if explained is None:
            return None
        residual = self._target(views) - output.x_hat
        flat = objectives.dead_latent_revival(residual.flatten(0, 1), explained.flatten(0, 1))
        return flat.view(residual.shape[:2])

    def _target(self, views: Views) -> StackedActivations:
        return views.x_moved if reconstructs_moved(self.names) else views.x

    @torch.no_grad()
    def _count(self, views: Views, losses: Float[Tensor, "member batch"]) -> None:
        """Add to the figures of the epoch, as tensors, so that no step waits for them."""
        output = views.primary(self.names)
        self.loss += losses.sum(-1)
        self.error += (self._target(views) - output.x_hat).square().sum((-2, -1))
        for each in views.outputs:
            fired = each.sparse.fired()
            self.fired += fired
            if each is output:
                self.fired_primary += fired

    def end_epoch(self) -> None:
        """Write the epoch into the history of every member that has not diverged."""
        samples = self.canonical.shape[1]
        rows = self.moved if reconstructs_moved(self.names) else self.canonical
        variance = self.deviations[rows].sum(-1)
        explained = torch.where(variance > 0, 1 - self.error.double() / variance, -math.inf)
        self.fired = self.sae.dictionary.together(self.fired)
        self.silent = torch.where(self.fired > 0, 0.0, self.silent + 1)
        figures = zip(
            (self.loss / samples).tolist(),
            (self.fired_primary.sum(-1) / samples).tolist(),
            explained.tolist(),
            (self.fired == 0).sum(-1).tolist(),
            strict=True,
        )
        for member, (loss, l0, variance_explained, dead) in zip(self.members, figures, strict=True):
            if member.diverged:
                continue
            member.history.loss.append(loss)
            member.history.l0.append(l0)
            member.history.explained_variance.append(variance_explained)
            member.history.dead_latents.append(dead)
            member.diverged = not math.isfinite(loss)


def _lay_out(sae: SAE) -> dict[nn.Parameter, nn.Parameter]:
    """Put the vector of each latent into one piece of memory, as products with a few need it.

    Returns:
        For weights that are then the transpose of what lies in memory a view as it lies there: what
        Adam works on, which copies everything else.
    """
    weights = sae.encoder.get_parameter("W_enc")
    if sae.encoder.vectors.is_contiguous():
        return {}
    lying = weights.data.mT.contiguous()
    weights.data = lying.mT
    return {weights: nn.Parameter(lying, requires_grad=weights.requires_grad)}


def _shares(member: Member, other: Member) -> bool:
    """Whether two members see the same activations in the same coordinates."""
    own, others = member.sae.dictionary, other.sae.dictionary
    return member.data is other.data and own.shares_coordinates(others)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate; one part alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _by_name(objective: Objective, names: Sequence[str]) -> Callable[..., PerSample]:
    """Name the arguments that vmap passes by position."""
    return lambda *values: objective(**dict(zip(names, values, strict=True)))
