"""The environment as the judge: step(gs, ga) against g step(s, a)."""

from typing import Any

import numpy as np

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.symmetry.check._built_in import BuiltIn, SetState, built_in, set_array, set_mujoco
from orbitlens.symmetry.check._controls import Move, Moves
from orbitlens.symmetry.check._judgement import Errors, Judgement, sizes, units
from orbitlens.symmetry.check._maps import Maps
from orbitlens.symmetry.check._reach import share_outside
from orbitlens.symmetry.check._spaces import (
    Array,
    Rollouts,
    Spaces,
    name_of,
    reset,
    step,
)

_TRIED = 8  # transitions on which a setter is tried
_NEAR = 1e-3  # of a change in a step, that rounding of the observation may cost
_CONTROLS, _FEWEST = 64, 16  # states on which a wrong map is judged, and at least one element of it
_ENDS = 4  # one state in so many may be one before an end that was seen


def find_setter(env: Any, spaces: Spaces) -> SetState | None:
    """Return how the state of an environment is set from an observation, if that is known."""
    known = built_in(env)
    if known is not None:
        # A wrapper may show more than the environment does.
        return known.set_state if len(known.signs) == spaces.dim else None
    inner = env.unwrapped
    observation = reset(env, spaces)
    numbers = _numbers(getattr(inner, "state", None))
    if numbers.shape == observation.shape and np.allclose(numbers, observation):
        return set_array
    model = getattr(inner, "model", None)
    numbers_set = getattr(model, "nq", 0) + getattr(model, "nv", 0)
    if callable(getattr(inner, "set_state", None)) and numbers_set == len(observation):
        return set_mujoco
    return None


def _numbers(state: Any) -> Array:
    """Return a state as an array, with no entries if it is no list of numbers."""
    if not isinstance(state, np.ndarray | tuple | list):
        return np.zeros(0)
    try:
        return np.asarray(state, dtype=np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)


def trouble_of(env: Any, spaces: Spaces, set_state: SetState, seen: Rollouts) -> str:
    """Return why steps from set states mean nothing, or an empty text.

    Two steps from one state and action must be equal, and be the transition that was seen.
    """
    change, _ = units(seen.states, seen.following)
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


def stays(env: Any, spaces: Spaces, set_state: SetState, seen: Rollouts) -> bool:
    """Return whether steps do not depend on the state that was set.

    A reset with the same seed draws the same state, and the same chance of a step.
    """
    places = np.linspace(0, len(seen.states) - 1, _TRIED).astype(int)
    found = [
        _step(env, spaces, set_state, seen.states[i], seen.actions[0], seed=0)[0] for i in places
    ]
    return all(np.array_equal(each, found[0]) for each in found)


def judge_by_steps(
    env: Any,
    spaces: Spaces,
    maps: Maps,
    set_state: SetState,
    points: tuple[Array, Array],
    moves: Moves,
) -> Judgement:
    """Compare step(gs, ga) with g step(s, a) for states and actions `points`."""
    states, actions = points
    steps = _steps(env, spaces, set_state, states, actions)

    # A wrong map shows in fewer steps, and has as many maps as there are elements.
    few = max(_FEWEST, _CONTROLS // len(moves.own))

    def errors(move: Move, n: int) -> Errors:
        there = _steps(
            env, spaces, set_state, move.states(maps, states[:n]), move.actions(maps, actions[:n])
        )
        return Errors(
            move,
            steps[1][:n],
            there[1] - steps[1][:n],
            there[0] - move.states(maps, steps[0][:n]),
            np.stack([steps[2][:n], there[2]], axis=1),
        )

    change, still = units(states, steps[0])
    return Judgement(
        n=len(states),
        own=[errors(move, len(states)) for move in moves.own],
        wrong=[[errors(move, few) for move in each] for each in moves.wrong],
        centred=[[errors(move, _CONTROLS) for move in each] for each in moves.centred],
        change=change,
        still=still,
        paid=steps[1],
        ended=bool(steps[2].any()),
        plain=None,
        episodes=np.zeros(0),
        size=sizes(steps[0], steps[1]),
        outside=share_outside(states, [move.states(maps, states) for move in moves.own]),
    )


def points_of(
    env: Any,
    spaces: Spaces,
    seen: Rollouts,
    n: int,
    generator: np.random.Generator,
    known: BuiltIn | None,
) -> tuple[Array, Array]:
    """Return n states and actions: half visited, half drawn widely in a `known` environment.

    The states before an end that was seen are among them, a quarter at most, so that ends of
    episodes are judged where there are any.
    """
    wide = 0 if known is None else n // 2
    order = generator.permutation(len(seen.states))
    ends = order[seen.ended[order]][: n // _ENDS]
    visited = np.concatenate([ends, order[~np.isin(order, ends)]])[: n - wide]
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
    env: Any,
    spaces: Spaces,
    set_state: SetState,
    state: Array,
    action: Any,
    seed: int | None = None,
) -> tuple[Array, float, bool]:
    # Wrappers count steps and remember ends; a reset clears what they know.
    reset(env, spaces, seed)
    try:
        set_state(env, state)
    except Exception as error:
        raise OrbitLensError(
            f"`set_state` for {name_of(env)}",
            expected="a function of the environment and an observation",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="set the state of env.unwrapped so that it shows this observation",
        ) from error
    return step(env, spaces, spaces.to_env(action))[:3]
