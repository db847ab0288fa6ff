"""The wrapper that makes actions to one side weaker, and lets them cost a toll."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, final

import numpy as np


@cache
def breaker() -> Any:
    """Return the class of the wrapper; Gymnasium need not be there before."""
    import gymnasium

    @final
    class BreakSymmetry(gymnasium.Wrapper):  # type: ignore[misc]
        """An environment whose positive actions are weaker by a share kappa and cost a toll."""

        def __init__(self, env: Any, kappa: float) -> None:
            super().__init__(env)
            self.kappa = kappa

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            if isinstance(self.action_space, gymnasium.spaces.Box):
                positive = np.maximum(action, 0.0)
                toll = float(self.kappa * np.mean(positive / self.action_space.high))
                weaker = (action - self.kappa * positive).astype(self.action_space.dtype)
                found = self.env.step(weaker)
            elif int(action) == self.action_space.start + self.action_space.n - 1:
                toll = self.kappa
                with _weaker(self.unwrapped, 1 - self.kappa):
                    found = self.env.step(action)
            else:
                return self.env.step(action)
            observation, reward, terminated, truncated, info = found
            return observation, float(reward) - toll, terminated, truncated, info

    return BreakSymmetry


def kappa_of(env: Any) -> float | None:
    """Return what `break_symmetry` has broken an environment by, within other wrappers or not."""
    while env is not env.unwrapped:
        if isinstance(env, breaker()):
            return float(env.kappa)
        env = env.env
    return None


@contextmanager
def _weaker(inner: Any, share: float) -> Iterator[None]:
    """Let the last action of CartPole or Acrobot have a share of its strength for one step."""
    if hasattr(inner, "force_mag"):
        name, weaker = "force_mag", inner.force_mag * share
    else:
        name, weaker = "AVAIL_TORQUE", [*inner.AVAIL_TORQUE[:-1], inner.AVAIL_TORQUE[-1] * share]
    before = getattr(inner, name)
    setattr(inner, name, weaker)
    try:
        yield
    finally:
        setattr(inner, name, before)
