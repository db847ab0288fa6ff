"""A fitted one-step model as the judge, where the state of an environment cannot be set."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitlens.errors import OrbitLensError, missing_extra
from orbitlens.symmetry.check._controls import Move, Moves
from orbitlens.symmetry.check._judgement import Errors, Judgement, sizes, units
from orbitlens.symmetry.check._maps import Maps
from orbitlens.symmetry.check._spaces import Array, Rollouts, Spaces

_HIDDEN, _ITERATIONS, _WEIGHT_DECAY = (64, 64), 400, 1e-3
_EACH = 100  # transitions for each number that the model sees
_COVERED, _FAR = 0.95, 2.0  # of unmoved transitions, which are near; times their distance
_FEWEST = 32  # transitions to judge


@dataclass(frozen=True)
class _Scales:
    """Sizes to divide by, the same for g s as for s, about 0: they break no symmetry.

    Args:
        states: Root mean square of observations over all elements, [d].
        actions: The same of actions, [m]; empty for discrete ones.
        changes: The same of changes in a step, [d].
        reward: Mean and spread of rewards, which no element moves.
    """

    states: Array
    actions: Array
    changes: Array
    reward: tuple[float, float]


def judge_by_model(
    spaces: Spaces, maps: Maps, seen: Rollouts, moves: Moves, seed: int
) -> Judgement:
    """Fit s' - s and the reward on half of the episodes; predict the others, moved by the maps.

    Few predictions far beyond what the model has seen would outweigh all others in a mean of
    squares, so only transitions that are near to it, and stay so when they are moved, are judged.
    """
    train, test = _halves(seen, seed)
    scales = _scales(spaces, maps, train)
    x = _inputs(spaces, scales, train.states, train.actions)
    model = _fit(x, _targets(scales, train), seed)
    change, still = units(test.states, test.following)
    paid = test.rewards
    near, outside = _near(x, spaces, scales, maps, test, moves.own)
    test = test.at(near)

    def errors(move: Move | None) -> Errors:
        states, actions, following = test.states, test.actions, test.following
        if move is not None:
            states, following = move.states(maps, states), move.states(maps, following)
            actions = move.actions(maps, actions)
        found = model.predict(_inputs(spaces, scales, states, actions))
        changes = found[:, : spaces.dim] * scales.changes
        rewards = found[:, spaces.dim] * scales.reward[1] + scales.reward[0]
        moved_by = move or moves.own[0]
        return Errors(
            moved_by, test.rewards, rewards - test.rewards, states + changes - following, None
        )

    plain = errors(None)
    return Judgement(
        n=len(seen.states),
        own=[errors(move) for move in moves.own],
        wrong=[[errors(move) for move in each] for each in moves.wrong],
        centred=[[errors(move) for move in each] for each in moves.centred],
        change=change,
        still=still,
        paid=paid,
        ended=bool(seen.ended.any()),
        plain=plain,
        episodes=test.episodes,
        size=sizes(test.following, test.rewards),
        outside=outside,
    )


def needed(spaces: Spaces) -> int:
    """Return how many transitions a model takes at least."""
    return _EACH * (spaces.dim + (spaces.n_actions or len(spaces.low)))


def check_enough(spaces: Spaces, n: int) -> None:
    """Refuse fewer transitions than a model takes."""
    if n < needed(spaces):
        raise OrbitLensError(
            "`n`",
            expected=f"at least {needed(spaces)} transitions for the one-step model, {_EACH} for "
            "each number that it sees",
            received=n,
            remedy="give more, or `set_state`, so that no model is needed",
        )


def _halves(seen: Rollouts, seed: int) -> tuple[Rollouts, Rollouts]:
    """Split by episodes: neighbours in time are too alike to test a model on."""
    episodes = np.random.default_rng(seed).permutation(int(seen.episodes.max()) + 1)
    chosen = np.isin(seen.episodes, episodes[: len(episodes) // 2])
    return seen.at(chosen), seen.at(~chosen)


def _scales(spaces: Spaces, maps: Maps, seen: Rollouts) -> _Scales:
    elements = range(maps.group.order)

    def size(values: Array) -> Array:
        moved = np.stack([maps.states(values, g) for g in elements])
        return _positive(np.sqrt(np.square(moved).mean((0, 1))))

    changes = np.stack(
        [maps.states(seen.following, g) - maps.states(seen.states, g) for g in elements]
    )
    actions = np.zeros(0)
    if spaces.n_actions is None:
        moved = np.stack([maps.actions(seen.actions, g) for g in elements])
        actions = _positive(np.sqrt(np.square(moved).mean((0, 1))))
    spread = float(seen.rewards.std())
    return _Scales(
        size(seen.states),
        actions,
        _positive(np.sqrt(np.square(changes).mean((0, 1)))),
        (float(seen.rewards.mean()), spread if spread > 0 else 1.0),
    )


def _positive(sizes: Array) -> Array:
    return np.where(sizes > 0, sizes, 1.0)


def _inputs(spaces: Spaces, scales: _Scales, states: Array, actions: Array) -> Array:
    if spaces.n_actions is None:
        return np.concatenate([states / scales.states, actions / scales.actions], axis=1)
    return np.concatenate([states / scales.states, np.eye(spaces.n_actions)[actions]], axis=1)


def _targets(scales: _Scales, seen: Rollouts) -> Array:
    changes = (seen.following - seen.states) / scales.changes
    rewards = (seen.rewards - scales.reward[0]) / scales.reward[1]
    return np.concatenate([changes, rewards[:, None]], axis=1)


def _fit(x: Array, y: Array, seed: int) -> Any:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor
    except ImportError:
        raise missing_extra("scikit-learn", extra="gym") from None
    model = MLPRegressor(
        hidden_layer_sizes=_HIDDEN,
        activation="tanh",
        solver="lbfgs",
        alpha=_WEIGHT_DECAY,
        max_iter=_ITERATIONS,
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        # The limit of iterations is part of the model; its error is measured all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def _near(
    x: Array, spaces: Spaces, scales: _Scales, maps: Maps, test: Rollouts, own: list[Move]
) -> tuple[Array, float]:
    """Return which transitions stay near to what the model has seen, and how many go far away.

    Near is what 95% of the transitions are that no map has moved, far is twice this distance. The
    share of those that are far once they are moved is that of the worst element.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=1).fit(x)

    def distance(states: Array, actions: Array) -> Array:
        found: Array = neighbours.kneighbors(_inputs(spaces, scales, states, actions))[0][:, 0]
        return found

    plain = distance(test.states, test.actions)
    limit = np.quantile(plain, _COVERED)
    moved = np.stack(
        [distance(move.states(maps, test.states), move.actions(maps, test.actions)) for move in own]
    )
    near = (plain <= limit) & (moved <= limit).all(0)
    outside = float((moved > _FAR * limit).mean(1).max())
    # With fewer the verdict is open anyhow; there are figures all the same.
    return (near if near.sum() >= _FEWEST else np.ones_like(near)), outside
