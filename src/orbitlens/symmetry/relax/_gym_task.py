"""Gymnasium environments side by side, with discrete actions."""

from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_count, as_seed
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check._spaces import (
    import_gymnasium,
    made,
    name_of,
    read_spaces,
    reset,
    step,
)
from orbitlens.symmetry.relax.grid import Step

_TRIED = 16  # starts that are looked at
_EVALUATION = 1_000_000  # seeds of evaluation, far from those of training


@final
class GymnasiumTask:
    """Copies of a Gymnasium environment with discrete actions, side by side.

    Args:
        make: Makes a copy of the environment at each call, such as
            `lambda: break_symmetry("CartPole-v1", 0.3)`; or the name of one.
        envs: Copies; default 8.
        episodes: Episodes of an evaluation; default 10. Its score is the mean return.

    Raises:
        OrbitLensError: If actions are not discrete, if two copies are one and the same, or if
            observations are normalised by running means, which break symmetries.
        MissingExtraError: If Gymnasium is not installed.

    Example:
        >>> import gymnasium
        >>> task = GymnasiumTask(lambda: gymnasium.make("CartPole-v1"), envs=2)
        >>> task.reset(seed=0).shape
        torch.Size([2, 4])
    """

    def __init__(self, make: Callable[[], Any] | str, *, envs: int = 8, episodes: int = 10) -> None:
        self._envs = [_copy(make) for _ in range(as_count("envs", envs))]
        self._judges = [_copy(make) for _ in range(as_count("episodes", episodes))]
        _check_copies([*self._envs, *self._judges])
        self._spaces = read_spaces(self._envs[0])
        check_not_normalised(self._envs[0])
        if self._spaces.n_actions is None:
            raise OrbitLensError(
                f"environment {name_of(self._envs[0])}",
                expected="discrete actions",
                received=str(self._envs[0].action_space),
                remedy="use sac.make_sac for actions that are vectors",
            )
        self.n_actions = self._spaces.n_actions

    def reset(self, seed: int) -> Float[Tensor, "envs dim"]:
        """Start all environments anew, each with a seed of its own, and return their states."""
        first = as_seed(seed) * len(self._envs)
        states = [reset(env, self._spaces, first + i) for i, env in enumerate(self._envs)]
        return torch.from_numpy(np.stack(states)).float()

    def step(self, actions: Int[Tensor, " envs"]) -> Step:
        """Take a step in all environments; those that are over start anew."""
        found = [
            step(env, self._spaces, self._spaces.to_env(action))
            for env, action in zip(self._envs, actions.tolist(), strict=True)
        ]
        states = [
            reset(env, self._spaces) if ended or cut else following
            for env, (following, _, ended, cut) in zip(self._envs, found, strict=True)
        ]
        return Step(
            torch.tensor([each[1] for each in found]),
            torch.from_numpy(np.stack([each[0] for each in found])).float(),
            torch.tensor([each[2] for each in found]),
            torch.from_numpy(np.stack(states)).float(),
        )

    def starts(self) -> Float[Tensor, "n dim"]:
        """Return some states that episodes start at."""
        states = [reset(self._judges[0], self._spaces, _EVALUATION + i) for i in range(_TRIED)]
        return torch.from_numpy(np.stack(states)).float()

    def score(self, choose: Callable[[Float[Tensor, "n dim"]], Int[Tensor, " n"]]) -> float:
        """Return the mean return of whole episodes, from the same starts at each call."""
        live = dict(enumerate(self._judges))
        states = {i: reset(env, self._spaces, _EVALUATION + i) for i, env in live.items()}
        total = 0.0
        while live:
            actions = choose(torch.from_numpy(np.stack([states[i] for i in live])).float())
            for (i, env), action in zip(list(live.items()), actions.tolist(), strict=True):
                found = step(env, self._spaces, self._spaces.to_env(action))
                states[i], total = found[0], total + found[1]
                if found[2] or found[3]:
                    del live[i]
        return total / len(self._judges)


def _copy(make: Callable[[], Any] | str) -> Any:
    """Return a copy of an environment."""
    if callable(make):
        return made(make())
    if isinstance(make, str):
        return made(make)
    raise OrbitLensError(
        "`make`",
        expected="the name of an environment, or a function that makes a copy at each call",
        received=type(make).__name__,
        remedy='give it as lambda: gymnasium.make("CartPole-v1")',
    )


def _check_copies(envs: list[Any]) -> None:
    """Refuse environments that share their state."""
    count = len({id(env.unwrapped) for env in envs})
    if count < len(envs):
        raise OrbitLensError(
            "`make`",
            expected=f"another environment at each of {len(envs)} calls",
            received=f"{count}",
            remedy="make the environment inside the function, not before it",
        )


def check_not_normalised(env: Any) -> None:
    """Refuse an environment that subtracts a running mean from its observations."""
    wrappers = import_gymnasium().wrappers
    inner = env
    while inner is not inner.unwrapped:
        if isinstance(inner, wrappers.NormalizeObservation):
            raise OrbitLensError(
                f"environment {name_of(env)}",
                expected="observations that no running mean moves",
                received="NormalizeObservation, under which g s is no longer moved as s is",
                remedy="leave it out, and give `scale` to the network: one root mean square for "
                "all numbers that the group mixes",
            )
        inner = inner.env
