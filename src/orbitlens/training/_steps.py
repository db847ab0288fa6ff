"""A stack in training: steps of Adam, and the figures of an epoch."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import final

import torch
from torch import nn

from orbitlens import objectives
from orbitlens.errors import OrbitLensError
from orbitlens.kernels import Memory, spread
from orbitlens.metrics.reconstruction import squared_error
from orbitlens.sae import SAE
from orbitlens.training._adam import Adam
from orbitlens.training._data import TrainingData
from orbitlens.training._member import Member
from orbitlens.training._stack import hand_out_buffers, stack_saes
from orbitlens.training._threads import StepThreads
from orbitlens.training._views import Batch, Objective, Views, reconstructs_moved
from orbitlens.typing import Float, PerSample, StackedActivations, Tensor

_FIGURES = ("silent", "loss", "error", "fired", "fired_primary")
_ERRORS = (objectives.reconstruction, objectives.canonical)
"""Objectives that are the squared error alone."""
_HISTORY = ("loss", "l0", "explained_variance", "dead_latents")


@final
class StackTraining:
    """Members of one `stack_key` and with equal views that train as one SAE.

    A step takes `batch_size` orbits; latents are searched in bfloat16 if `half`.
    """

    def __init__(
        self, members: Sequence[Member], data: TrainingData, *, batch_size: int, half: bool = False
    ) -> None:
        self.members, self.names, self.half = members, members[0].names, half
        with spread():
            self.sae = stack_saes([member.sae for member in members]).train()
            _make_vectors_contiguous(self.sae)
            if len(members) == 1:
                _share_memory(self.sae, members[0].sae)
            self.optimizer = Adam(list(self.sae.parameters()))
        self.begun, self.projected = False, True
        self.memory = Memory()
        weights = sum(each.numel() for each in self.sae.parameters())
        self.threads = StepThreads(batch_size * weights)
        self.feed = data.make_feed(members, batch_size, moved=reconstructs_moved(self.names))
        device = self.sae.b_dec.device
        self.silent = torch.zeros(len(members), members[0].sae.d_sae, device=device)
        changes = [
            i for i, (a, b) in enumerate(pairwise(members), 1) if a.objective is not b.objective
        ]
        self.loss_is_error = all(member.objective in _ERRORS for member in members)
        self.runs = [slice(a, b) for a, b in pairwise([0, *changes, len(members)])]

    def start_epoch(self, epoch: int, dead_after: int, lr: float) -> None:
        """Draw the batches, find the dead latents and set the rate; epochs count from 0."""
        self.lr = lr
        self.generators = [member.generator.get_state() for member in self.members]
        self.feed.start_epoch(epoch)
        self.sae.dictionary.settle_()
        dead = self.silent >= dead_after
        self.dead = dead if dead.any() else None
        self.loss, self.error = (self.silent.new_zeros(len(dead)) for _ in range(2))
        self.fired, self.fired_primary = (torch.zeros_like(self.silent) for _ in range(2))

    def step(self, number: int, revival_weight: float) -> None:
        """Take one step of Adam on one batch of every member."""
        with self.memory, self.threads.step():
            self.sae.zero_grad()
            self._loss(self.feed.batch(number), revival_weight).backward()
            self.begin()
            self.projected = False
            with spread():
                self.optimizer.step(self.lr)
                self.project()
                self.sae.sparsity.steer_()
            self.projected = True

    def project(self) -> None:
        """Restore the constraints on the weights."""
        self.sae.dictionary.project_()
        self.sae.sparsity.project_()

    def begin(self) -> None:
        """Note that the weights change from now on, so that those before are of no use."""
        if not self.begun:
            self.begun = True
            for member in self.members:
                member.lent.forget()

    def _loss(self, batch: Batch, revival_weight: float) -> Float[Tensor, ""]:
        """Return the sum of all members' losses, and count the figures."""
        # A rule that keeps as many as fire has no k for a search among dead latents.
        dead = self.dead if revival_weight > 0 and not self.sae.sparsity.every else None
        views = Views(self.sae, batch, self.names, dead, half=self.half)
        losses = self._losses(views)
        self._count(views, losses)
        loss = losses.mean(-1).sum()
        revival = self._revival(views)
        if revival is not None:
            loss = loss + revival_weight * revival.mean(-1).sum()
        return loss

    def _losses(self, views: Views) -> Float[Tensor, "member batch"]:
        """Return each member's objective on each of its samples."""
        values = {name: getattr(views, name) for name in self.names}
        losses = []
        for run in self.runs:
            objective = self.members[run.start].objective
            # The gradient of a slice is filled up with zeros, which takes one more pass.
            own = values if len(self.runs) == 1 else {n: value[run] for n, value in values.items()}
            if run.stop - run.start == 1:
                # An objective that vmap cannot run still trains, one SAE at a time.
                alone = [value.squeeze(0) for value in own.values()]
                losses.append(_by_name(objective, self.names)(*alone)[None])
            else:
                losses.append(torch.vmap(_by_name(objective, self.names))(*own.values()))
            if not losses[-1].requires_grad:
                raise _no_values("values without a gradient")
        return torch.cat(losses)

    def _revival(self, views: Views) -> Float[Tensor, "member batch"] | None:
        output = views.primary
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
        """Add to the figures of the epoch, as tensors, so that no step waits for a GPU."""
        output = views.primary
        self.loss += losses.sum(-1)
        target = self._target(views)
        self.feed.note(target)
        if self.loss_is_error:
            self.error += losses.sum(-1)
        else:
            error = squared_error(target.flatten(0, 1), output.x_hat.flatten(0, 1))
            self.error += error.view(target.shape[:2]).sum(-1)
        for each in views.outputs:
            fired = each.sparse.fired()
            self.fired += fired
            self.sae.sparsity.observe_(each.pre)
            if each is output:
                self.fired_primary += fired

    def end_epoch(self) -> None:
        """Write the epoch into the history of every member that has not diverged."""
        samples = self.members[0].source.n
        variance = self.feed.variance().to(self.error.device)
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

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on."""
        state = {f"sae.{name}": tensor for name, tensor in _tensors(self.sae).items()}
        state |= {f"adam.{name}": tensor for name, tensor in self.optimizer.state().items()}
        state |= {name: getattr(self, name) for name in _FIGURES}
        state |= {f"feed.{name}": tensor for name, tensor in self.feed.state().items()}
        for index, (member, generator) in enumerate(
            zip(self.members, self.generators, strict=True)
        ):
            state[f"generator.{index}"] = generator
            for name in _HISTORY:
                entries = getattr(member.history, name)
                state[f"history.{index}.{name}"] = torch.tensor(entries, dtype=torch.float64)
        return state

    def restore_before(self, state: Mapping[str, Tensor]) -> None:
        """Restore the generators, silent latents and history that `start_epoch` reads."""
        for index, member in enumerate(self.members):
            member.generator.set_state(state[f"generator.{index}"])
            for name in _HISTORY:
                entries = state[f"history.{index}.{name}"].tolist()
                kind = int if name == "dead_latents" else float
                getattr(member.history, name)[:] = map(kind, entries)
            losses = member.history.loss
            member.diverged = bool(losses) and not math.isfinite(losses[-1])
        self.silent = state["silent"].to(self.silent)

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore everything else, after `start_epoch`."""
        self.begin()
        device = self.sae.b_dec.device
        for name, tensor in _tensors(self.sae).items():
            value = state[f"sae.{name}"].to(device)
            if isinstance(tensor, nn.Parameter):
                tensor.copy_(value)
            else:
                owner, _, leaf = name.rpartition(".")
                # A new tensor, since a module may cache facts about the old one.
                setattr(self.sae.get_submodule(owner), leaf, value)
        hand_out_buffers(self.sae, [member.sae for member in self.members])
        self.optimizer.restore(under("adam.", state))
        for name in _FIGURES:
            setattr(self, name, state[name].to(device))
        self.feed.restore(under("feed.", state))


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, under the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def _tensors(sae: SAE) -> dict[str, Tensor]:
    """Return parameters and all buffers of a stack, also those that files leave out."""
    return dict([*sae.named_parameters(), *sae.named_buffers()])


def _make_vectors_contiguous(sae: SAE) -> None:
    """Make the vector of each latent contiguous, for products with a few of them."""
    weights = dict(sae.encoder.named_parameters()).get("W_enc")
    if weights is not None and not sae.encoder.vectors.is_contiguous():
        weights.data = weights.data.mT.contiguous().mT


def _share_memory(stack: SAE, member: SAE) -> None:
    """Let the only member of a stack use the stack's memory."""
    stacked = dict(stack.named_parameters())
    for name, weights in member.named_parameters():
        weights.data = stacked[name].data[0]


def _by_name(objective: Objective, names: Sequence[str]) -> Callable[..., PerSample]:
    """Return the objective with positional arguments, for vmap; its values are checked."""

    def values(*views: Tensor) -> PerSample:
        found = objective(**dict(zip(names, views, strict=True)))
        if not isinstance(found, Tensor) or found.shape != views[0].shape[:1]:
            shape = getattr(found, "shape", None)
            raise _no_values(type(found).__name__ if shape is None else f"shape {list(shape)}")
        return found

    return values


def _no_values(received: str) -> OrbitLensError:
    return OrbitLensError(
        "`objective`",
        expected="one value per sample, shape [batch], that torch computes from reconstructions",
        received=received,
        remedy="leave the mean over samples to `fit`, and detach nothing",
    )
