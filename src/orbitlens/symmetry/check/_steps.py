"""The environment as the judge: step(gs, ga) against g step(s, a)."""

from typing import Any

import numpy as np

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check._built_in import SetState, built_in, set_array, set_mujoco
from orbitlens.symmetry.check._controls import Move
from orbitlens.symmetry.check._judgement import Errors, Judgement, sizes, units
from orbitlens.symmetry.check._maps import Maps
from orbitlens.symmetry.check._spaces import (
    Array,
    Rollouts,
    Spaces,
    as_observation,
    as_reward,
    name_of,
)

_TRIED = 8  # transitions on which a setter is tried
_NEAR = 1e-3  # of a change in a step, that rounding of the observation may cost
_CONTROLS = 64  # states on which wrong maps are judged


def find_setter(env: Any) -> SetState | None:
    """Return how the state of an environment is set from an observation, if that is known."""
    known = built_in(env)
    if known is not None:
        return known.set_state
    inner = env.unwrapped
    observation = np.asarray(env.reset()[0], dtype=np.float64)
    state = getattr(inner, "state", None)
    if isinstance(state, np.ndarray | tuple | list):
        numbers = np.asarray(state)
        if numbers.shape == observation.shape and np.allclose(numbers, observation):
            return set_array
    model = getattr(inner, "model", None)
    numbers_set = getattr(model, "nq", 0) + getattr(model, "nv", 0)
    if callable(getattr(inner, "set_state", None)) and numbers_set == len(observation):
        return set_mujoco
    return None


def trouble_of(env: Any, spaces: Spaces, set_state: SetState, seen: Rollouts) -> str:
    """Return why steps from set states mean nothing, or an empty text.

    Two steps from one state and action must be equal, and be the transition that was seen.
    """
    change = units(seen.following - seen.states)
    places = np.linspace(0, len(seen.states) - 1, _TRIED).astype(int)
    for i in places:
        first, again = (
            _step(env, spaces, set_state, seen.states[i], seen.actions[i]) for _ in range(2)
        )
        if not np.array_equal(first[0], again[0]) or first[1:] != again[1:]:
            return "two steps from the same state with the same action differ"
        allowed = _NEAR * (change + np.abs(seen.following[i]))
        if (np.abs(first[0] - seen.following[i]) > allowed).any():
            return "a step from a state that was set is not the step that was seen from there"
    return ""


def judge_by_steps(
    env: Any,
    spaces: Spaces,
    maps: Maps,
    set_state: SetState,
    points: tuple[Array, Array],
    moves: tuple[list[Move], list[Move]],
) -> Judgement:
    """Compare step(gs, ga) with g step(s, a) for states and actions `points`."""
    states, actions = points
    steps = _steps(env, spaces, set_state, states, actions)

    def errors(move: Move, n: int) -> Errors:
        there = _steps(
            env, spaces, set_state, move.states(maps, states[:n]), move.actions(maps, actions[:n])
        )
        return Errors(
            move,
            there[1] - steps[1][:n],
            there[0] - move.states(maps, steps[0][:n]),
            there[2] != steps[2][:n],
        )

    own, wrong = moves
    return Judgement(
        n=len(states),
        own=[errors(move, len(states)) for move in own],
        wrong=[errors(move, _CONTROLS) for move in wrong],
        change=units(steps[0] - states),
        plain=None,
        episodes=np.zeros(0),
        size=sizes(steps[0], steps[1]),
        outside=0.0,
    )


def points_of(
    env: Any, spaces: Spaces, seen: Rollouts, n: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Return n states and actions: half of them visited, half drawn widely where that is known."""
    known = built_in(env)
    wide = 0 if known is None else n // 2
    visited = generator.permutation(len(seen.states))[: n - wide]
    states, actions = seen.states[visited], seen.actions[visited]
    if known is not None:
        states = np.concatenate([states, known.spread(env, generator, wide)])
        others = [spaces.from_env(env.action_space.sample()) for _ in range(wide)]
        actions = np.concatenate([actions, np.stack(others)])
    mixed = generator.permutation(len(states))
    return states[mixed], actions[mixed]


def _steps(
    env: Any, spaces: Spaces, set_state: SetState, states: Array, actions: Array
) -> tuple[Array, Array, Array]:
    """Return next observations [n, d], rewards [n], and whether the episode ended [n]."""
    found = [_step(env, spaces, set_state, *pair) for pair in zip(states, actions, strict=True)]
    return (
        np.stack([each[0] for each in found]),
        np.array([each[1] for each in found]),
        np.array([each[2] for each in found]),
    )


def _step(
    env: Any, spaces: Spaces, set_state: SetState, state: Array, action: Any
) -> tuple[Array, float, bool]:
    # Wrappers count steps and remember ends; a reset clears what they know.
    env.reset()
    try:
        set_state(env, state)
    except Exception as error:
        raise OrbitLensError(
            f"`set_state` for {name_of(env)}",
            expected="a function of the environment and an observation",
            received=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}",
            remedy="set the state of env.unwrapped so that it shows this observation",
        ) from error
    following, reward, terminated, _, _ = env.step(spaces.to_env(action))
    return as_observation(env, spaces, following), as_reward(env, reward), bool(terminated)
