"""The spaces of an environment, and transitions from it."""

from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from orbitlens.errors import OrbitLensError, missing_extra, one_line

Array = Shaped[np.ndarray, "..."]


@dataclass(frozen=True)
class Spaces:
    """The spaces that the maps must fit: observations and actions of one axis, or finite actions.

    Args:
        dim: Numbers of an observation.
        n_actions: Number of discrete actions; None for a Box.
        low: Lower bounds of a Box of actions, [m]; empty for discrete actions.
        high: Upper bounds.
        observation_low: Lower bounds of observations, [d].
        observation_high: Upper bounds.
        start: The first discrete action.
        dtype: Type of the numbers of an action.
    """

    dim: int
    n_actions: int | None
    low: Array
    high: Array
    observation_low: Array
    observation_high: Array
    start: int
    dtype: Any

    def to_env(self, action: Any) -> Any:
        """Return an action as the environment takes it."""
        if self.n_actions is not None:
            return self.start + int(action)
        # Rounding may lead out of the bounds.
        return np.clip(action, self.low, self.high).astype(self.dtype)

    def from_env(self, action: Any) -> Any:
        """Return an action of the environment as a number from 0, or in double precision."""
        if self.n_actions is not None:
            return int(action) - self.start
        return np.asarray(action, dtype=np.float64)


def import_gymnasium() -> Any:
    """Return the module, or raise the error that names its extra."""
    try:
        import gymnasium
    except ImportError:
        raise missing_extra("gymnasium", extra="gym") from None
    return gymnasium


def made(env: object, instead: str = "give the environment itself") -> Any:
    """Return an environment that is given as such or by its name.

    `instead` is what to do where there is no such name.
    """
    gymnasium = import_gymnasium()
    if isinstance(env, gymnasium.Env):
        return env
    if isinstance(env, str):
        try:
            return gymnasium.make(env)
        except Exception as error:
            if _needs_mujoco(gymnasium, env, error):
                raise missing_extra("mujoco", extra="mujoco") from None
            if isinstance(error, gymnasium.error.DependencyNotInstalled):
                raise OrbitLensError(
                    f"environment {env}",
                    expected="the packages that it needs",
                    received=one_line(error),
                    remedy="install them",
                ) from error
            # The messages of Gymnasium itself suggest names and versions.
            kind = "" if isinstance(error, gymnasium.error.Error) else f"{type(error).__name__}: "
            raise OrbitLensError(
                "`env`",
                expected="the name of a Gymnasium environment",
                received=f"{env!r} ({kind}{one_line(error)})",
                remedy=f"correct the name, or {instead}",
            ) from error
    if isinstance(env, type | FunctionType):
        what = "the class" if isinstance(env, type) else "the function"
        received, remedy = f"{what} {env.__name__}", f"call it: {env.__name__}()"
    else:
        received, remedy = type(env).__name__, "make it with gymnasium.make"
    raise OrbitLensError(
        "`env`",
        expected="a Gymnasium environment or its name",
        received=received,
        remedy=remedy,
    )


def _needs_mujoco(gymnasium: Any, name: str, error: Exception) -> bool:
    """Return whether an environment failed for want of MuJoCo or what draws it."""
    if not isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled):
        return False
    spec = gymnasium.registry.get(name)
    known = "mujoco" in str(getattr(spec, "entry_point", ""))
    return known and getattr(error, "name", None) in (None, "mujoco", "imageio")


def _one_line(env: Any, error: Exception) -> OrbitLensError:
    """Return whatever an environment raised as one line that names it."""
    return OrbitLensError(
        f"environment {name_of(env)}",
        expected="reset(seed=...) and step(action) that return what Gymnasium says",
        received=f"{type(error).__name__}: {one_line(error)}",
        remedy="call them in Python to see where they fail",
    )


def name_of(env: Any) -> str:
    """Return the name that an environment is made by, or else its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def read_spaces(env: Any) -> Spaces:
    """Return the spaces of an environment; refuse those that no matrix can move."""
    spaces = import_gymnasium().spaces
    observations, actions = env.observation_space, env.action_space
    flat = isinstance(observations, spaces.Box) and len(observations.shape) == 1
    discrete = isinstance(actions, spaces.Discrete)
    boxed = isinstance(actions, spaces.Box) and len(actions.shape) == 1
    if not flat or not (discrete or boxed):
        raise OrbitLensError(
            f"environment {name_of(env)}",
            expected="observations in a Box of one axis, and actions that are Discrete or in such "
            "a Box",
            received=f"{observations} and {actions}",
            remedy="wrap it, for example with gymnasium.wrappers.FlattenObservation",
        )
    none = np.zeros(0)
    return Spaces(
        dim=int(observations.shape[0]),
        n_actions=int(actions.n) if discrete else None,
        low=none if discrete else actions.low.astype(np.float64),
        high=none if discrete else actions.high.astype(np.float64),
        observation_low=observations.low.astype(np.float64),
        observation_high=observations.high.astype(np.float64),
        start=int(actions.start) if discrete else 0,
        dtype=actions.dtype,
    )


@dataclass(frozen=True)
class Rollouts:
    """Transitions under random actions.

    Args:
        states: Observations s, [n, d].
        actions: Actions a, [n, m] or their numbers [n].
        following: Next observations s', [n, d].
        rewards: Rewards, [n].
        ended: Whether the step ended the episode, [n]; a limit of time does not.
        episodes: Number of the episode of each, [n].
    """

    states: Array
    actions: Array
    following: Array
    rewards: Array
    ended: Array
    episodes: Array

    def at(self, where: Array) -> "Rollouts":
        """Return some of the transitions."""
        return Rollouts(
            self.states[where],
            self.actions[where],
            self.following[where],
            self.rewards[where],
            self.ended[where],
            self.episodes[where],
        )


LONGEST = 50  # steps of an episode, so that there are many starts


def roll_out(env: Any, spaces: Spaces, n: int, seed: int, longest: int = LONGEST) -> Rollouts:
    """Return n transitions under actions drawn uniformly, from many short episodes."""
    env.action_space.seed(seed)
    state, steps, episode = reset(env, spaces, seed), 0, 0
    rows: list[tuple[Any, ...]] = []
    while len(rows) < n:
        action = env.action_space.sample()
        following, reward, ended, cut = step(env, spaces, action)
        rows.append((state, spaces.from_env(action), following, reward, ended, episode))
        state, steps = following, steps + 1
        if ended or cut or steps == longest:
            state, steps, episode = reset(env, spaces), 0, episode + 1
    return Rollouts(*(np.stack([np.asarray(row[i]) for row in rows]) for i in range(6)))


def reset(env: Any, spaces: Spaces, seed: int | None = None) -> Array:
    """Begin an episode, and return its first observation."""
    try:
        return _as_observation(env, spaces, env.reset(seed=seed)[0])
    except OrbitLensError:
        raise
    except Exception as error:
        raise _one_line(env, error) from error


def step(env: Any, spaces: Spaces, action: Any) -> tuple[Array, float, bool, bool]:
    """Take a step; return the observation, the reward, and whether it ended or ran out of time."""
    try:
        following, reward, terminated, truncated, _ = env.step(action)
        observation, paid = _as_observation(env, spaces, following), float(reward)
        ends = bool(terminated), bool(truncated)
    except OrbitLensError:
        raise
    except Exception as error:
        raise _one_line(env, error) from error
    if not np.isfinite(paid):
        raise OrbitLensError(
            f"rewards of {name_of(env)}",
            expected="finite numbers",
            received=paid,
            remedy="repair the environment",
        )
    return observation, paid, *ends


def _as_observation(env: Any, spaces: Spaces, observation: Any) -> Array:
    """Return an observation in double precision; refuse one that is not finite."""
    found = np.asarray(observation, dtype=np.float64)
    if found.shape != (spaces.dim,) or not np.isfinite(found).all():
        raise OrbitLensError(
            f"observations of {name_of(env)}",
            expected=f"{spaces.dim} finite numbers",
            received=f"shape {list(found.shape)}" if found.shape != (spaces.dim,) else found,
            remedy="repair the environment",
        )
    return found
