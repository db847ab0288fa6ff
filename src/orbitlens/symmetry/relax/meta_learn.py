"""The outer loop: Adam on the test losses of tasks after they have adapted.

Source: Zhou, Knowles & Finn 2021, arXiv 2007.02933, algorithm 1; its code for the settings.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orbitlens.checks import as_count, as_number, as_seed, as_text, check_kind, usual_torch
from orbitlens.data import TaskFamily
from orbitlens.errors import OrbitLensError, out_of_range, warn
from orbitlens.files import digest_of
from orbitlens.symmetry.relax._collapse import warn_of_collapse
from orbitlens.symmetry.relax._draws import alike, check_family, drawn, first_draw
from orbitlens.symmetry.relax._meta_checkpoint import MetaCheckpoint
from orbitlens.symmetry.relax.meta import MetaLearner
from orbitlens.symmetry.relax.shared_weights import SharedLinear

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, repr=False)
class MetaFit:
    """The course of a training.

    Args:
        losses: Mean query loss of the tasks of each step.
        status: "completed"; or "diverged", if a loss or its gradient became NaN or infinite. The
            weights are then those before that step.
        seed: The seed of the draws.
    """

    losses: tuple[float, ...]
    status: str
    seed: int

    def __repr__(self) -> str:
        last = f", loss {self.losses[-1]:.4g}" if self.losses else ""
        return f"MetaFit({self.status}, steps {len(self.losses)}{last})"


@usual_torch()
def meta_learn(
    learner: MetaLearner,
    tasks: TaskFamily,
    *,
    steps: int = 1000,
    n_tasks: int = 32,
    support: int = 1,
    query: int = 19,
    lr: float | int = 1e-3,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float | int = 60.0,
) -> MetaFit:
    """Learn U, v and the inner rates alpha in place, so that tasks adapt well.

        minimise over U, v, alpha:  sum over tasks of loss(U, v'; query),   v' = inner loop(v)

    by Adam, with the whole gradient through the inner steps. After each step alpha is clipped to
    its bounds.

    Source: Zhou et al. 2021, arXiv 2007.02933, algorithm 1; the defaults are those of its code.

    Args:
        learner: The network and its inner loop, trained in place.
        tasks: The family to draw from, see `data.TaskFamily`.
        steps: Outer steps, default 1,000.
        n_tasks: Tasks of a step, default 32.
        support: Examples of a task to adapt on, default 1.
        query: Other examples of it, default 19.
        lr: Learning rate of Adam, default 1e-3.
        seed: Seed of the draws.
        progress: Called after each step with (step, steps, loss), steps counted from 1.
        checkpoint: File to write from time to time, and when a signal stops the process. The same
            call goes on from it to the same bits; more steps continue a training that was complete.
        checkpoint_seconds: Seconds between two writings, default 60.

    Returns:
        The loss of every step.

    Raises:
        OrbitLensError: If the family has fewer tasks or examples than a step takes, or is none, if
            its draws do not depend on the generator alone, if examples are NaN, not floating or in
            support and query, if the network does not fit them, if a setting is out of range, or if
            the checkpoint is damaged, or of another training or other tasks.

    Warns:
        OrbitLensWarning: If a loss became NaN or infinite, if an inner rate has come to one of its
            bounds, or if U has lost directions.

    Example:
        >>> from orbitlens.data import shift_tasks
        >>> from orbitlens.symmetry.relax.shared_weights import SharedLinear
        >>> tasks = shift_tasks(40, length=8).tasks
        >>> fit = meta_learn(MetaLearner(SharedLinear(8, 6, k=3)), tasks, steps=2)
        >>> fit.status, len(fit.losses)
        ('completed', 2)
    """
    check_kind("learner", learner, MetaLearner, "give MetaLearner(network)")
    check_family(tasks)
    counts = {"steps": steps, "n_tasks": n_tasks, "support": support, "query": query}
    counts = {name: as_count(name, value) for name, value in counts.items()}
    seed = as_seed(seed)
    if not as_number("lr", lr) > 0:
        raise out_of_range("lr", "above 0", lr)
    if not as_number("checkpoint_seconds", checkpoint_seconds) >= 0:
        raise out_of_range("checkpoint_seconds", "0 or more", checkpoint_seconds)
    draws = {name: counts[name] for name in ("n_tasks", "support", "query")}
    first, sketch = first_draw(tasks, seed, **draws)
    learner.check_fits(first)
    training = _Training(learner, tasks, draws, float(lr), seed, sketch)
    file = None
    if checkpoint is not None:
        identity = {**draws, "lr": float(lr), "seed": seed, **training.identity}
        file = MetaCheckpoint(checkpoint, identity, float(checkpoint_seconds))
    try:
        return _run(training, counts["steps"], file, progress)
    finally:
        for parameter in learner.parameters():
            parameter.grad = None


def _run(
    training: "_Training",
    steps: int,
    file: MetaCheckpoint | None,
    progress: Callable[[int, int, float], None] | None,
) -> MetaFit:
    """Train from the start or from the checkpoint, and look at what was learned."""
    earlier = None if file is None else file.read()
    if file is not None and earlier is not None:
        # Checkpoints of earlier versions have no sketch.
        if not alike(training.first, earlier.get("first draw", training.first)):
            raise OrbitLensError(
                f"checkpoint {file.path} of other tasks",
                expected="the first tasks that it began with",
                received="others from the same seed, though their `identity` is the same, "
                f"{training.tasks.identity!r}",
                remedy="give every family an `identity` of its own, or remove the checkpoint to "
                "start again",
            )
        training.restore(earlier)
        if len(training.losses) > steps:
            raise out_of_range(
                "steps", f"at least the {len(training.losses)} of the checkpoint", steps
            )
    status = "completed"
    with nullcontext() if file is None else file.listening():
        while len(training.losses) < steps:
            if not training.step():
                status = "diverged"
                break
            if progress is not None:
                progress(len(training.losses), steps, training.losses[-1])
            if file is not None and file.due:
                file.write(training.state())
                file.stop_after_signal()
        if file is not None:
            file.write(training.state())
            file.stop_after_signal()
    _warn_of(training.learner, status, len(training.losses) + 1)
    return MetaFit(tuple(training.losses), status, training.seed)


class _Training:
    """The state of a training between two steps."""

    def __init__(
        self,
        learner: MetaLearner,
        tasks: TaskFamily,
        draws: dict[str, int],
        lr: float,
        seed: int,
        first: Tensor,
    ) -> None:
        self.learner, self.tasks, self.draws, self.seed = learner, tasks, draws, seed
        self.first = first
        self.losses: list[float] = []
        self.generator = torch.Generator().manual_seed(seed)
        self.parameters = [each for each in learner.parameters() if each.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, lr=lr)

    @property
    def identity(self) -> dict[str, Any]:
        """Settings in which another training would differ, JSON-ready."""
        learner, loss = self.learner, self.learner.loss
        own = learner.network.named_parameters()
        shapes = {name: [*each.shape, each.requires_grad] for name, each in own}
        digest = digest_of({"layers": repr(learner.network), "parameters": shapes})
        return {
            "network": f"{type(learner.network).__name__} {digest}",
            "adapted": list(learner.adapted),
            "inner_steps": learner.inner_steps,
            "inner_rate": learner.inner_rate,
            "largest_rate": learner.largest_rate,
            "loss": getattr(loss, "__name__", type(loss).__name__),
            "tasks": as_text("tasks.identity", self.tasks.identity),
        }

    def step(self) -> bool:
        """Make one step; if a loss or gradient is not finite, change nothing and return False."""
        episodes = drawn(self.tasks, **self.draws, generator=self.generator)
        losses = self.learner.query_losses(episodes)
        gradients = torch.autograd.grad(losses.sum(), self.parameters, allow_unused=True)
        known = [each for each in gradients if each is not None]
        if not all(bool(each.isfinite().all()) for each in (losses.detach(), *known)):
            return False
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimiser.step()
        with torch.no_grad():
            self.learner.rates.clamp_(0, self.learner.largest_rate)
        self.losses.append(float(losses.detach().mean()))
        return True

    def state(self) -> dict[str, Tensor]:
        """Return every tensor of the training."""
        found = {f"learner.{n}": each for n, each in self.learner.state_dict().items()}
        for place, parameter in enumerate(self.parameters):
            for name, each in self.optimiser.state.get(parameter, {}).items():
                found[f"adam.{place}.{name}"] = each
        losses = torch.tensor(self.losses, dtype=torch.float64)
        generator = self.generator.get_state()
        return {**found, "losses": losses, "generator": generator, "first draw": self.first}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from tensors that `state` returned."""
        start = len("learner.")
        own = {n[start:]: each for n, each in state.items() if n.startswith("learner.")}
        self.learner.load_state_dict(own)
        for place, parameter in enumerate(self.parameters):
            moments = {name: state.get(f"adam.{place}.{name}") for name in _MOMENTS}
            if moments["step"] is not None:
                self.optimiser.state[parameter] = moments
        self.losses = state["losses"].tolist()
        self.generator.set_state(state["generator"])


def _warn_of(learner: MetaLearner, status: str, step: int) -> None:
    """Warn of what makes a training doubtful."""
    if status == "diverged":
        warn(
            f"meta-learning of {type(learner.network).__name__}",
            found=f"in step {step} a query loss or its gradient became NaN or infinite, with inner "
            f"rates {learner.inner_rates}",
            remedy="lower `inner_rate`, `largest_rate` or `lr`",
        )
    at_ends = zip(
        learner.adapted,
        (learner.rates <= 0).tolist(),
        (learner.rates >= learner.largest_rate).tolist(),
        strict=True,
    )
    for name, low, high in at_ends:
        if low or high:
            warn(
                f"inner rate of {name!r}",
                found="it has come to its upper bound"
                if high
                else "it has come to 0, so it does not adapt",
                remedy="begin with another `inner_rate`, or change `largest_rate`",
            )
    for name, module in learner.network.named_modules():
        if isinstance(module, SharedLinear):
            warn_of_collapse(f"layer {name!r}" if name else "SharedLinear", module.symmetry)
