"""The environments that OrbitLens knows: reflections, setters of states, wide draws of states."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitlens.symmetry.check._spaces import Array

SetState = Callable[[Any, Array], None]
_Spread = Callable[[Any, np.random.Generator, int], Array]


@dataclass(frozen=True)
class BuiltIn:
    """An environment of Gymnasium.

    Args:
        name: The name that it is made by.
        kind: Name of its class.
        signs: Diagonal of the reflection of observations.
        actions: The reflection of actions: a permutation, or a matrix.
        set_state: `set_state(env, observation)` puts the environment into the state that shows so.
        spread: `spread(env, generator, n)` draws observations widely, [n, d].
        caveat: Why the reflection is not exact; empty if it is.
    """

    name: str
    kind: str
    signs: tuple[float, ...]
    actions: tuple[int, ...] | tuple[tuple[float, ...], ...]
    set_state: SetState
    spread: _Spread
    caveat: str = ""


def _set_cart_pole(env: Any, observation: Array) -> None:
    env.unwrapped.state = observation.copy()
    env.unwrapped.steps_beyond_terminated = None


def _set_pendulum(env: Any, observation: Array) -> None:
    cosine, sine, speed = observation
    env.unwrapped.state = np.array([np.arctan2(sine, cosine), speed])


def _set_acrobot(env: Any, observation: Array) -> None:
    cosines, sines = observation[[0, 2]], observation[[1, 3]]
    env.unwrapped.state = np.concatenate([np.arctan2(sines, cosines), observation[4:]])


def set_mujoco(env: Any, observation: Array) -> None:
    """Set positions and velocities, for observations that are these and nothing else."""
    positions = env.unwrapped.model.nq
    env.unwrapped.set_state(observation[:positions], observation[positions:])


def set_array(env: Any, observation: Array) -> None:
    """Set `state`, for observations that are a copy of it."""
    env.unwrapped.state = observation.astype(np.asarray(env.unwrapped.state).dtype)


def _spread_cart_pole(env: Any, generator: np.random.Generator, n: int) -> Array:
    inner = env.unwrapped
    return _box(generator, n, [inner.x_threshold, 3.0, inner.theta_threshold_radians, 3.0])


def _spread_pendulum(env: Any, generator: np.random.Generator, n: int) -> Array:
    angle, speed = _box(generator, n, [np.pi, env.unwrapped.max_speed]).T
    return np.stack([np.cos(angle), np.sin(angle), speed], axis=1)


def _spread_acrobot(env: Any, generator: np.random.Generator, n: int) -> Array:
    inner = env.unwrapped
    # At its largest speeds a link turns by more than a round in one step.
    angles_and_speeds = [np.pi, np.pi, inner.MAX_VEL_1 / 4, inner.MAX_VEL_2 / 4]
    first, second, *speeds = _box(generator, n, angles_and_speeds).T
    columns = [np.cos(first), np.sin(first), np.cos(second), np.sin(second), *speeds]
    return np.stack(columns, axis=1)


def _spread_inverted_pendulum(env: Any, generator: np.random.Generator, n: int) -> Array:
    del env
    return _box(generator, n, [0.9, 0.2, 2.0, 2.0])


def _box(generator: np.random.Generator, n: int, half: list[float | int]) -> Array:
    return generator.uniform(-1, 1, (n, len(half))) * half


_MIRRORED: tuple[tuple[float, ...], ...] = ((-1.0,),)

BUILT_IN = (
    BuiltIn(
        name="CartPole-v1",
        kind="CartPoleEnv",
        signs=(-1.0, -1.0, -1.0, -1.0),
        actions=(1, 0),
        set_state=_set_cart_pole,
        spread=_spread_cart_pole,
    ),
    BuiltIn(
        name="Pendulum-v1",
        kind="PendulumEnv",
        signs=(1.0, -1.0, -1.0),
        actions=_MIRRORED,
        set_state=_set_pendulum,
        spread=_spread_pendulum,
    ),
    BuiltIn(
        name="Acrobot-v1",
        kind="AcrobotEnv",
        signs=(1.0, -1.0, 1.0, -1.0, -1.0, -1.0),
        actions=(2, 1, 0),
        set_state=_set_acrobot,
        spread=_spread_acrobot,
    ),
    BuiltIn(
        name="InvertedPendulum-v5",
        kind="InvertedPendulumEnv",
        signs=(-1.0, -1.0, -1.0, -1.0),
        actions=_MIRRORED,
        set_state=set_mujoco,
        spread=_spread_inverted_pendulum,
        caveat="The pole of InvertedPendulum-v5 leans by 1 mm on 60 cm in its model file, so that "
        "its reflection is not exact.",
    ),
)


def built_in(env: Any) -> BuiltIn | None:
    """Return the record of an environment, by its class, or one that this inherits from."""
    kinds = {
        each.__name__
        for each in type(env.unwrapped).__mro__
        if each.__module__.startswith("gymnasium.envs.")
    }
    return next((each for each in BUILT_IN if each.kind in kinds), None)
