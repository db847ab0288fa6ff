"""What a judge finds: errors of the maps, beside those of wrong maps, and the verdict."""

from dataclasses import dataclass

import numpy as np

from orbitlens.symmetry.check._controls import Move
from orbitlens.symmetry.check._spaces import Array

_ROUNDING = 1e-5  # of observations in single precision
_FIT = 1.1  # times the error of the model on transitions that were not moved
_CHANCE = 3.0  # standard errors, over episodes, by which the two may differ
_RIVAL = 1 / 3  # of the error of a map, at which a wrong one fits better
_HALF = 0.5  # of the usual error of wrong maps
_OUTSIDE = 0.5  # of the moved transitions, far beyond those that were seen
SYMMETRIC, NEARLY, NONE, UNCLEAR = "symmetric", "nearly", "none", "unclear"


@dataclass(frozen=True)
class Errors:
    """What one map misses by.

    Args:
        move: The map.
        rewards: r(gs, ga) - r(s, a), [n].
        following: s'(gs, ga) - g s'(s, a), in units of the observations, [n, d].
        ends: Whether one of the two steps ended the episode and the other did not, [n]; None from a
            model.
    """

    move: Move
    rewards: Array
    following: Array
    ends: Array | None


@dataclass(frozen=True)
class Judgement:
    """The errors of all maps, and what to hold them against.

    Args:
        n: Number of transitions.
        own: Errors of the elements of the group.
        wrong: Errors of wrong maps.
        change: Root mean square of the change of each number of an observation in a step, [d].
        plain: Errors of a model on transitions that no map has moved; None for steps.
        episodes: Number of the episode of each transition that a model judged, [n].
        size: Largest numbers of next observations, [d], and of rewards, which rounding scales with.
        outside: Share of moved transitions that are more than twice as far from all that a model
            has seen as 95% of others are.
    """

    n: int
    own: list[Errors]
    wrong: list[Errors]
    change: Array
    plain: Errors | None
    episodes: Array
    size: tuple[Array, float]
    outside: float

    def miss(self, errors: Errors) -> float:
        """Return what a map misses by beyond the judge's own error, in changes of a step.

        It is the root mean square of the number of the observation that is missed by most.
        """
        beyond = _beyond(_rms(errors.following), self._floor[0])
        return float((beyond / self.change).max())

    @property
    def error(self) -> float:
        """What the worst element of the group misses by."""
        return max(map(self.miss, self.own))

    @property
    def rival(self) -> Errors | None:
        """The wrong map that misses by least."""
        return min(self.wrong, key=self.miss, default=None)

    @property
    def typical(self) -> float:
        """What wrong maps miss by, their median."""
        return float(np.median([self.miss(each) for each in self.wrong])) if self.wrong else 0.0

    @property
    def by_model(self) -> bool:
        """Whether a model judged, which has an error of its own."""
        return self.plain is not None

    @property
    def _floor(self) -> tuple[Array | float, Array | float]:
        """Root mean square errors of the judge itself, for observations [d] and rewards."""
        if self.plain is None:
            return 0.0, 0.0
        return _rms(self.plain.following), _rms(self.plain.rewards)

    @property
    def eps(self) -> tuple[float, float]:
        """eps_R and eps_P: the largest errors seen, or what a model sees beyond its own error.

        The largest error of a model is that of its worst fit, so it gives root mean squares.
        """
        if not self.by_model:
            rewards = max(float(np.abs(each.rewards).max()) for each in self.own)
            return rewards, max(float(distances(each).max()) for each in self.own)
        floor, reward_floor = self._floor
        beyond = [_beyond(_rms(each.following), floor) for each in self.own]
        rewards = max(float(_beyond(_rms(each.rewards), reward_floor)) for each in self.own)
        return rewards, max(float(np.linalg.norm(each)) for each in beyond)

    @property
    def better(self) -> Errors | None:
        """A wrong map that fits far better than the given one."""
        rival = self.rival
        found = rival is not None and self.miss(rival) <= _RIVAL * self.error
        return rival if found else None

    @property
    def verdict(self) -> str:
        """One of "symmetric", "nearly", "none" and "unclear"."""
        if self._fits():
            return SYMMETRIC
        if self.outside > _OUTSIDE:
            return UNCLEAR
        if self.better is not None or self.error >= _HALF * self.typical:
            return NONE
        return NEARLY

    def _fits(self) -> bool:
        """Whether no element misses by more than rounding, or than the model by itself."""
        limits = np.append(self.size[0], self.size[1]) * _ROUNDING
        for errors in map(_columns, self.own):
            if self.plain is None:
                within = np.abs(errors).max(0) <= limits
            else:
                plain = _columns(self.plain)
                beyond = np.square(errors) - np.square(plain)
                within = (_rms(errors) <= _FIT * _rms(plain) + limits) | (
                    beyond.mean(0) <= _CHANCE * self._deviation(beyond)
                )
            if not within.all():
                return False
        return True

    def _deviation(self, values: Array) -> Array:
        """Return the standard error of means, [columns]; neighbours in an episode are alike."""
        means = [values[self.episodes == each].mean(0) for each in np.unique(self.episodes)]
        return np.asarray(np.std(means, axis=0, ddof=1) / np.sqrt(len(means)))


def _columns(errors: Errors) -> Array:
    """Return errors of observations and rewards side by side, [n, d + 1]."""
    return np.column_stack([errors.following, errors.rewards])


def distances(errors: Errors) -> Array:
    """Return the distance of next observations, [n]."""
    return np.linalg.norm(errors.following, axis=1)


def units(changes: Array) -> Array:
    """Return the root mean square of changes of a step, [d]; 1 where nothing changes."""
    change = _rms(changes)
    return np.where(change > 0, change, 1.0)


def sizes(following: Array, rewards: Array) -> tuple[Array, float]:
    """Return the size of numbers that rounding scales with, at least 1."""
    return np.maximum(1.0, np.abs(following).max(0)), max(1.0, float(np.abs(rewards).max()))


def _rms(values: Array) -> Array:
    return np.asarray(np.sqrt(np.square(values).mean(0)))


def _beyond(error: Array, floor: Array | float) -> Array:
    return np.asarray(np.sqrt(np.maximum(0.0, np.square(error) - np.square(floor))))
