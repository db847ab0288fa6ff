"""Double DQN on parallel environments, for networks of any kind of symmetry.

    y = r + gamma (1 - ended) Q'(s', argmax_a Q(s', a)),    loss = huber(Q(s, a) - y)

Q' follows Q by the share tau after each update.

Source: van Hasselt, Guez & Silver 2016, arXiv 1509.06461, *Deep Reinforcement Learning with Double
Q-learning*; a slow target as in Lillicrap et al. 2016, arXiv 1509.02971.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import huber_loss

from orbitlens.checks import as_count, as_number, as_seed, check_kind, usual_torch
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.symmetry.check._numbers import as_discount
from orbitlens.symmetry.relax._gym_task import GymnasiumTask
from orbitlens.symmetry.relax._largest_spread import largest_spread
from orbitlens.symmetry.relax._moved import moved
from orbitlens.symmetry.relax._replay import Replay, Transitions
from orbitlens.symmetry.relax._trains import check_trains
from orbitlens.symmetry.relax.agents import QNetwork
from orbitlens.symmetry.relax.gate import SymmetryGate
from orbitlens.symmetry.relax.grid import Step
from orbitlens.symmetry.relax.heads import warn_of_fixed_states

_EPSILON = (1.0, 0.05)  # share of random actions, falling over the first half
_MEMORY = 50_000  # transitions
_FASTER = 3.0  # rate of a gate, whose targets do not move, by that of Q
_COLLAPSED = 0.5  # of the best score on the way

__all__ = ["DQNRun", "GymnasiumTask", "VectorTask", "largest_spread", "train_dqn"]


@runtime_checkable
class VectorTask(Protocol):
    """Parallel environments with discrete actions; `FourGoalGrid` and `GymnasiumTask` are such."""

    def reset(self, seed: int) -> Float[Tensor, "envs dim"]:
        """Start all environments anew, and return their states."""
        ...

    def step(self, actions: Int[Tensor, " envs"]) -> Step:
        """Take a step in all environments."""
        ...

    def starts(self) -> Float[Tensor, "n dim"]:
        """Return states that episodes start at, some of them or all."""
        ...

    def score(self, choose: Callable[[Float[Tensor, "n dim"]], Int[Tensor, " n"]]) -> float:
        """Return how good a policy is."""
        ...


@dataclass(frozen=True)
class DQNRun:
    """The course of a training.

    Args:
        history: For each check "updates", the "score" of the greedy policy, the largest "spread" of
            relaxation weights, "q_scale" (the root mean square of Q at the starts) and "loss", the
            mean since the last check.
    """

    history: tuple[dict[str, float], ...]

    @property
    def score(self) -> float:
        """The score at the end."""
        return self.history[-1]["score"]

    @property
    def collapsed(self) -> bool:
        """Whether the score at the end is less than half of the best one on the way."""
        best = max(each["score"] for each in self.history)
        return best > 0 and self.score < _COLLAPSED * best


@usual_torch()
def train_dqn(
    network: QNetwork,
    task: VectorTask,
    *,
    updates: int,
    gamma: float,
    seed: int,
    augment: bool | SymmetryGate = False,
    lr: float = 1e-3,
    batch: int = 128,
    tau: float = 0.01,
    check_every: int = 250,
    progress: Callable[[int, int, float], None] | None = None,
) -> DQNRun:
    """Train a network by double DQN, one step of all environments for each update.

    Actions are random with a probability that falls from 1 to 0.05 over the first half.

    Args:
        network: The network, changed in place; build it with `q_network`.
        task: Parallel environments.
        updates: Number of updates.
        gamma: The discount, 0 <= gamma < 1.
        seed: Seed of environments, exploration and batches; that of the network is yours.
        augment: Whether random elements move the transitions of each batch, as if the task were
            exactly symmetric; or a gate that says where they may. It learns from the same batches,
            as they were, at three times the rate. Default False.
        lr: Learning rate of Adam; default 1e-3.
        batch: Transitions of an update; default 128.
        tau: Share by which the target follows; default 0.01.
        check_every: Updates between two checks; default 250. The first check is before training.
        progress: Called after each update with (update, updates, loss), updates counted from 1.

    Returns:
        The course of the training.

    Raises:
        OrbitLensError: If an argument is out of range, if the network is frozen or not in float32,
            if states or actions of the task do not fit it, or if Q is no longer finite.

    Example:
        >>> from orbitlens.symmetry.relax.agents import q_network
        >>> from orbitlens.symmetry.relax.grid import FourGoalGrid
        >>> grid = FourGoalGrid(side=3)
        >>> network = q_network(*grid.maps, kind="relaxed", parameters=800, layers=2)
        >>> run = train_dqn(network, grid, updates=60, gamma=0.95, seed=0, check_every=30)
        >>> [int(each["updates"]) for each in run.history], run.history[0]["spread"]
        ([0, 30, 60], 0.0)
    """
    trainer = _Trainer(
        network, task, gamma=gamma, seed=seed, augment=augment, lr=lr, batch=batch, tau=tau
    )
    total, every = as_count("updates", updates), as_count("check_every", check_every)
    history = [trainer.checked(0)]
    for update in range(1, total + 1):
        loss = trainer.update(_explored(update / total))
        if progress is not None:
            progress(update, total, float(loss))
        if update % every == 0 or update == total:
            history.append(trainer.checked(update))
    return DQNRun(tuple(history))


def _explored(share: float) -> float:
    """Return the probability of a random action after a share of all updates."""
    first, last = _EPSILON
    return max(last, first + (last - first) * 2 * share)


class _Trainer:
    """The network, its target, its optimiser and the environments, between two updates."""

    def __init__(
        self,
        network: QNetwork,
        task: VectorTask,
        *,
        gamma: float,
        seed: int,
        augment: bool | SymmetryGate,
        lr: float,
        batch: int,
        tau: float,
    ) -> None:
        check_kind("network", network, QNetwork, "build it with q_network")
        check_trains("`network`", network)
        check_kind("task", task, VectorTask, "give a FourGoalGrid or a GymnasiumTask")
        self.gamma, self.batch = as_discount(gamma), as_count("batch", batch)
        self.tau, rate = _share("tau", tau), _share("lr", lr)
        self.network, self.task = network, task
        self.states = task.reset(as_seed(seed))
        self.starts = _fitting(network, task, self.states)
        self.n_actions = network.on_actions.dim
        self.target: Any = copy.deepcopy(network).requires_grad_(False)
        learned = [each.requires_grad for each in network.parameters()]
        self.pairs: list[list[Tensor]] = [
            [each for each, kept in zip(net.parameters(), learned, strict=True) if kept]
            for net in (network, self.target)
        ]
        self.augmented, self.gate = bool(augment), _gate_of(augment, network)
        rates: list[dict[str, Any]] = [{"params": self.pairs[0]}]
        if self.gate is not None:
            rates.append({"params": [*self.gate.parameters()], "lr": _FASTER * rate})
        self.optimiser = torch.optim.Adam(rates, lr=rate, fused=True)
        self.replay = Replay(_MEMORY, self.states.shape[1])
        self.generator = torch.Generator().manual_seed(seed)
        self.losses: list[Tensor] = []
        self._walk(torch.zeros(len(self.states), self.n_actions), epsilon=1.0)

    def update(self, epsilon: float) -> Float[Tensor, ""]:
        """Learn from a batch, and take a step in all environments; one pass serves both.

        Returns the loss of the network.
        """
        drawn = self.replay.draw(self.batch, self.generator)
        found = self._moved(drawn) if self.augmented else drawn
        rows = torch.cat([found.states, found.following, self.states])
        values, following, current = self.network(rows).split(
            [self.batch, self.batch, len(self.states)]
        )
        self._learn(found, drawn, values, following.detach())
        self._walk(current.detach(), epsilon)
        return self.losses[-1]

    @torch.no_grad()
    def _moved(self, drawn: Transitions) -> Transitions:
        """Move transitions by random elements, where a gate allows it."""
        maps = self.network.on_states, self.network.on_actions
        order = self.network.on_states.group.order
        elements = torch.randint(order, (self.batch,), generator=self.generator)
        return moved(drawn, elements, *maps, self.gate)

    def _walk(self, values: Float[Tensor, "envs actions"], epsilon: float) -> None:
        """Take a step in all environments, with a share of random actions, and remember it."""
        envs = len(values)
        at_random = torch.rand(envs, generator=self.generator) < epsilon
        drawn = torch.randint(self.n_actions, (envs,), generator=self.generator)
        actions = torch.where(at_random, drawn, values.argmax(1))
        found = self.task.step(actions)
        self.replay.add(
            Transitions(self.states, actions, found.rewards, found.following, found.ended)
        )
        self.states = found.states

    def _learn(
        self,
        found: Transitions,
        drawn: Transitions,
        values: Float[Tensor, "batch actions"],
        following: Float[Tensor, "batch actions"],
    ) -> None:
        """Take one step of Adam, for a gate on transitions as drawn; let the target follow."""
        with torch.no_grad():
            best = following.argmax(1, keepdim=True)
            later = self.target(found.following).gather(1, best).squeeze(1)
            wanted = found.rewards + self.gamma * later * ~found.ended
        loss = huber_loss(values.gather(1, found.actions[:, None]).squeeze(1), wanted)
        self.losses.append(loss.detach())
        if self.gate is not None:
            self.gate.observe(drawn)
            loss = loss + self.gate.loss(drawn)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.pairs[1], self.pairs[0], self.tau)

    @torch.no_grad()
    def checked(self, update: int) -> dict[str, float]:
        """Return the figures of a check; refuse to go on with values that are not finite."""
        scale = float(self.network(self.starts).square().mean().sqrt())
        if not torch.isfinite(torch.tensor(scale)):
            raise OrbitLensError(
                f"Q after {update} updates",
                expected="finite values",
                received=scale,
                remedy="lower the learning rate or tau, or scale rewards and observations to "
                "about 1",
            )
        score = self.task.score(lambda states: self.network(states).argmax(1))
        loss = float(torch.stack(self.losses).mean()) if self.losses else 0.0
        self.losses.clear()
        return {
            "updates": float(update),
            "score": score,
            "spread": largest_spread(self.network),
            "q_scale": scale,
            "loss": loss,
        }


def _fitting(network: QNetwork, task: VectorTask, states: Tensor) -> Float[Tensor, "n dim"]:
    """Return starts of a task whose states and actions fit a network."""
    starts = task.starts()
    if states.shape[1] != network.on_states.dim:
        raise OrbitLensError(
            "`task`",
            expected=f"states of {network.on_states.dim} numbers, as the network has",
            received=f"{states.shape[1]} numbers",
            remedy="build the network with the maps of this task",
        )
    found = getattr(task, "n_actions", network.on_actions.dim)
    if found != network.on_actions.dim:
        raise OrbitLensError(
            "`task`",
            expected=f"{network.on_actions.dim} actions, as the network has",
            received=f"{found}",
            remedy="build the network with the maps of this task",
        )
    if network.kind == "exact":
        warn_of_fixed_states(starts, network.on_states, network.on_actions)
    return starts


def _gate_of(augment: bool | SymmetryGate, network: QNetwork) -> SymmetryGate | None:
    """Return the gate, if there is one, whose maps must be those of the network."""
    if isinstance(augment, bool):
        return None
    check_kind("augment", augment, SymmetryGate, "give True, False or a SymmetryGate")
    for name in ("on_states", "on_actions"):
        own, wanted = (getattr(each, name) for each in (augment, network))
        if own.group != wanted.group or not torch.equal(own.matrices, wanted.matrices):
            raise OrbitLensError(
                "`augment`",
                expected="a gate of the maps of the network",
                received=f"one with another map of {name.removeprefix('on_')}",
                remedy="build it as SymmetryGate(network.on_states, network.on_actions)",
            )
    return augment


def _share(name: str, value: float) -> float:
    number = float(as_number(name, value, "above 0, at most 1"))
    if not 0 < number <= 1:
        raise out_of_range(name, "above 0, at most 1", value)
    return number
