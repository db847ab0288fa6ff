"""Soft actor-critic with networks of any kind of symmetry, by stable-baselines3.

The losses are those of Haarnoja et al. 2018, arXiv 1812.05905, *Soft Actor-Critic Algorithms and
Applications*; actor and both critics are `Actor` and `Critic`, whose distributions and values are
exactly symmetric at first. Actions are squashed to -1 .. 1 and scaled to the bounds of the
environment, which the group must keep.

Nothing is saved here: stable-baselines3 pickles. `agent.policy.state_dict()` has the weights.
"""

import inspect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from orbitlens.checks import as_count, as_seed, usual_torch
from orbitlens.errors import OrbitLensError, missing_extra, unknown_name
from orbitlens.reps import Representation
from orbitlens.symmetry.check._spaces import Spaces, made, name_of, read_spaces, reset, step
from orbitlens.symmetry.relax._gym_task import check_not_normalised
from orbitlens.symmetry.relax._largest_spread import largest_spread
from orbitlens.symmetry.relax._sac_networks import policy_class
from orbitlens.symmetry.relax._trains import check_trains
from orbitlens.symmetry.relax._trunks import AgentKind, as_maps
from orbitlens.symmetry.relax.agents import Actor, actor, critic
from orbitlens.symmetry.relax.heads import warn_of_fixed_states
from orbitlens.symmetry.relax.squash import Squash
from orbitlens.typing import Numbers

_TRIED = 16  # starts that are looked at
_EVALUATION = 1_000_000  # seeds of evaluation, far from those of training

__all__ = ["SACRun", "make_sac", "train_sac"]


@dataclass(frozen=True)
class SACRun:
    """The course of a training.

    Args:
        history: For each check "steps", the "score" of the policy without noise (the mean return),
            the largest "spread" of relaxation weights in actor and critics, and "q_scale", the root
            mean square of Q at the starts.
    """

    history: tuple[dict[str, float], ...]

    @property
    def score(self) -> float:
        """The score at the end."""
        return self.history[-1]["score"]


@usual_torch()
def make_sac(
    env: Any,
    states: object,
    actions: object,
    *,
    kind: AgentKind,
    parameters: int,
    banks: int = 2,
    layers: int = 2,
    scale: Numbers | None = None,
    seed: int = 0,
    **settings: Any,
) -> Any:
    """Return an agent of stable-baselines3 whose networks are exact, relaxed or plain.

    Args:
        env: A Gymnasium environment with a Box of actions, or its name.
        states: rho_S, see `agents.maps_of_agent`.
        actions: rho_A, which must keep the bounds of the actions.
        kind: "exact", "relaxed" or "plain".
        parameters: How many numbers the actor shall learn, and each of the two critics, up to 5%.
        banks: Filter banks L; default 2. An exact network needs no more than 1.
        layers: Hidden layers; default 2.
        scale: Scales of the observations, which rho_S must keep; default 1.
        seed: Seed of networks, environment, exploration and batches; default 0.
        **settings: Settings of `stable_baselines3.SAC`, such as learning_rate (3e-4 by default);
            policy_kwargs is none of them.

    Returns:
        The agent, a `stable_baselines3.SAC`; train it with `train_sac`, or by its own `learn`.

    Raises:
        OrbitLensError: If maps, spaces and bounds do not fit, if observations are normalised by
            running means, or if a setting is unknown.
        MissingExtraError: If stable-baselines3 is not installed.

    Example:
        >>> from orbitlens.symmetry.check import reflection
        >>> maps = reflection("Pendulum-v1")
        >>> agent = make_sac("Pendulum-v1", *maps, kind="relaxed", parameters=500)
        >>> agent.policy.actor.network.widths
        (9, 9)
    """
    try:
        from stable_baselines3 import SAC
    except ImportError:
        raise missing_extra("stable-baselines3", extra="rl") from None
    _check_settings(settings, SAC)
    env = made(env)
    maps, spaces = as_maps(states, actions), read_spaces(env)
    check_not_normalised(env)
    _check_fits(env, spaces, *maps)
    first = [reset(env, spaces, _EVALUATION + i) for i in range(_TRIED)]
    if kind == "exact":
        warn_of_fixed_states(np.stack(first), *maps)
    how: dict[str, Any] = {"kind": kind, "parameters": parameters, "banks": banks}
    how |= {"layers": layers, "scale": scale}
    networks = {
        "new_actor": lambda: actor(*maps, **how),
        "new_critic": lambda: critic(*maps, **how),
    }
    given = {"seed": as_seed(seed), "device": "cpu", **settings}
    return SAC(policy_class(), env, policy_kwargs=networks, **given)


@usual_torch()
def train_sac(
    agent: Any, judge: Any, *, steps: int, check_every: int = 1000, episodes: int = 5
) -> SACRun:
    """Train an agent, and look at it on the way.

    Args:
        agent: An agent of `make_sac`, changed in place.
        judge: The environment of evaluations, or its name; another copy of that of the agent.
        steps: Steps of the environment, each with one update after the first 100.
        check_every: Steps between two checks; default 1000. The first check is before training.
        episodes: Episodes of a check, from the same starts each time; default 5.

    Returns:
        The course of the training.

    Raises:
        OrbitLensError: If an argument is out of range, if the agent is another one, frozen or not
            in float32, or if weights or values are no longer finite.
    """
    _check_agent(agent)
    judge = made(judge)
    spaces = read_spaces(judge)
    total, every = as_count("steps", steps), as_count("check_every", check_every)
    count = as_count("episodes", episodes)
    history = [_checked(agent, judge, spaces, count, 0)]
    done = 0
    while done < total:
        more = min(every, total - done)
        _learn(agent, more, done)
        done += more
        history.append(_checked(agent, judge, spaces, count, done))
    return SACRun(tuple(history))


def _learn(agent: Any, steps: int, done: int) -> None:
    """Take some steps; distributions of torch refuse NaN with an error of their own."""
    try:
        agent.learn(total_timesteps=steps, reset_num_timesteps=False)
    except ValueError as error:
        if all(bool(each.isfinite().all()) for each in agent.policy.parameters()):
            raise
        raise _not_finite("weights", f"{done} to {done + steps}", math.nan) from error


def _not_finite(subject: str, steps: object, received: float) -> OrbitLensError:
    return OrbitLensError(
        f"{subject} after {steps} steps",
        expected="finite values",
        received=received,
        remedy="lower the learning rate, or scale rewards and observations to about 1",
    )


@torch.no_grad()
def _checked(agent: Any, judge: Any, spaces: Spaces, episodes: int, steps: int) -> dict[str, float]:
    """Return the figures of a check; refuse to go on with values that are not finite."""
    policy = agent.policy
    starts = [reset(judge, spaces, _EVALUATION + i) for i in range(episodes)]
    states = torch.from_numpy(np.stack(starts)).float()
    values = policy.critic(states, policy.actor.network.best(states))[0]
    scale = float(values.square().mean().sqrt())
    if not np.isfinite(scale):
        raise _not_finite("Q", steps, scale)
    score = sum(_episode(agent, judge, spaces, _EVALUATION + i) for i in range(episodes)) / episodes
    spread = max(largest_spread(policy.actor), largest_spread(policy.critic))
    return {"steps": float(steps), "score": score, "spread": spread, "q_scale": scale}


def _episode(agent: Any, judge: Any, spaces: Spaces, seed: int) -> float:
    """Return what one episode earns without noise."""
    state, total, over = reset(judge, spaces, seed), 0.0, False
    while not over:
        action, _ = agent.predict(state.astype(np.float32), deterministic=True)
        state, reward, ended, cut = step(judge, spaces, spaces.to_env(action))
        total, over = total + reward, ended or cut
    return total


def _check_settings(settings: dict[str, Any], sac: Any) -> None:
    """Refuse settings that stable-baselines3 does not have, and those that are made here."""
    if "policy_kwargs" in settings:
        raise OrbitLensError(
            "`policy_kwargs`",
            expected="none, as the networks are made here",
            received=settings["policy_kwargs"],
            remedy="choose their size by `parameters`, `layers` and `banks`",
        )
    known = [*inspect.signature(sac).parameters]
    known = [name for name in known if name not in ("policy", "env", "policy_kwargs")]
    for name in settings:
        if name not in known:
            raise unknown_name("a setting of SAC", name, known)


def _check_agent(agent: Any) -> None:
    """Refuse agents of other networks, and those that cannot be trained."""
    policy = getattr(agent, "policy", None)
    if not isinstance(getattr(getattr(policy, "actor", None), "network", None), Actor):
        raise OrbitLensError(
            "`agent`",
            expected="an agent of make_sac",
            received=type(agent).__name__,
            remedy="make it with make_sac",
        )
    check_trains("the actor of `agent`", agent.actor)
    check_trains("the critics of `agent`", agent.critic)


def _check_fits(env: Any, spaces: Spaces, states: Representation, actions: Representation) -> None:
    """Refuse maps that do not fit the spaces of an environment, or move the bounds of actions."""
    if spaces.n_actions is not None:
        raise OrbitLensError(
            f"environment {name_of(env)}",
            expected="actions that are vectors",
            received=str(env.action_space),
            remedy="use dqn.train_dqn for discrete actions",
        )
    for name, rho, size in (("states", states, spaces.dim), ("actions", actions, len(spaces.low))):
        if rho.dim != size:
            raise OrbitLensError(
                f"`{name}`",
                expected=f"matrices of {size} x {size}, for {name_of(env)}",
                received=f"{rho.dim} x {rho.dim}",
                remedy="give the maps of this environment; see symmetry.check.reflection",
            )
    if Squash(actions).by_coordinate:
        Squash(actions, low=spaces.low, high=spaces.high)
    elif not (np.array_equal(spaces.low, -spaces.high) and np.ptp(spaces.high) == 0):
        raise OrbitLensError(
            f"bounds of actions of {name_of(env)}",
            expected="the same bound, -high to high, for all actions, within which a ball lies",
            received=f"{spaces.low.tolist()} to {spaces.high.tolist()}",
            remedy="wrap it, for example with gymnasium.wrappers.RescaleAction",
        )
