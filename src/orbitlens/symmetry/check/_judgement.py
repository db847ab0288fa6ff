"""The finding of a judge: errors of the maps, beside those of wrong maps, and the verdict."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orbitlens.symmetry.check._controls import Move
from orbitlens.symmetry.check._spaces import Array

_ROUNDING, _LEAST = 1e-5, 2e-6  # of the size of numbers in single precision
_OF_A_STEP = 0.01  # which rounding may cost, but for the least
_NOTHING = 1e-14  # of the largest number: rounding of what cancels in double precision
_FIT = 1.1  # times the error of the model on transitions that were not moved
_SMALL = 0.05  # of a step: so large an excess still counts as a fit
_CHANCE, _DOUBT = 4.0, 2.0  # standard errors, over episodes: of no difference; of one not seen
MATTERS = 0.25  # of a step, which must show
_RIVAL = 1 / 3  # of the error of a map, at which a wrong one fits better
HALF = 0.5  # of the usual error of wrong maps; of a step; of the steps that end an episode
WHOLE = 1.0  # unit of the reward
OUTSIDE = 0.5  # of the moved transitions, far beyond those that were seen
SYMMETRIC, NEARLY, NONE, UNCLEAR = "symmetric", "nearly", "none", "unclear"


@dataclass(frozen=True)
class Errors:
    """The error of one map.

    Args:
        move: The map.
        paid: r(s, a), [n].
        rewards: r(gs, ga) - r(s, a), [n].
        following: s'(gs, ga) - g s'(s, a), in units of the observations, [n, d].
        ends: Whether the step from s, and the one from gs, ended the episode, [n, 2]; None from a
            model.
    """

    move: Move
    paid: Array
    rewards: Array
    following: Array
    ends: Array | None

    @property
    def ends_differ(self) -> Array:
        """Whether only one of the two steps ended the episode, [n]."""
        ends = np.zeros((len(self.rewards), 2), bool) if self.ends is None else self.ends
        return np.asarray(ends[:, 0] != ends[:, 1])


@dataclass(frozen=True)
class Judgement:
    """The errors of all maps, and what to hold them against.

    Args:
        n: Number of transitions.
        own: Errors of the elements of the group.
        wrong: Errors of wrong maps, a list for each with its elements as in `own`.
        centred: Errors of the elements about other centres, a list for each centre.
        change: What each number of an observation is measured in, see `units`, [d].
        still: Whether no observation changes in a step.
        paid: All rewards r(s, a), judged or not, [n].
        ended: Whether some step from s ended an episode.
        plain: Errors of a model on transitions that no map has moved; None for steps.
        episodes: Number of the episode of each transition that a model judged, [n].
        size: Largest numbers of next observations, [d], and of rewards, which rounding scales with.
        outside: Share of moved transitions that are more than twice as far from all that a model
            has seen as 95% of others are; by steps of moved states, from all that were seen.
    """

    n: int
    own: list[Errors]
    wrong: list[list[Errors]]
    centred: list[list[Errors]]
    change: Array
    still: bool
    paid: Array
    ended: bool
    plain: Errors | None
    episodes: Array
    size: tuple[Array, float]
    outside: float

    def misses(self, errors: Errors) -> tuple[float, float]:
        """Return what a map misses observations and rewards by, beyond the judge's own error.

        Of observations it is the number that is missed by most, in root mean square changes of a
        step; of rewards it is in units of them, see `_unit`.
        """
        floor = None if self.plain is None else _columns(self.plain)
        beyond = _beyond(_columns(errors), floor)
        unit = self._unit(self.paid)
        if not self.by_model:
            # What is paid on one side alone is seen from gs only.
            both = np.concatenate([errors.paid, errors.paid + errors.rewards])
            unit = max(unit, self._unit(both))
        unit = unit or 1.0
        return float((beyond[:-1] / self.change).max()), float(beyond[-1] / unit)

    def miss(self, errors: Errors) -> float:
        """Return the larger of the two misses."""
        return max(self.misses(errors))

    @cached_property
    def parts(self) -> tuple[float, float]:
        """The miss of the worst element, in observations and in rewards."""
        observations, rewards = zip(*map(self.misses, self.own), strict=True)
        return max(observations), max(rewards)

    @property
    def error(self) -> float:
        """The larger miss of the worst element."""
        return max(self.parts)

    @property
    def other_rewards(self) -> float:
        """The difference of the rewards of any two steps, in their units: a control."""
        return float(np.sqrt(2) * self.paid.std() / (self._unit(self.paid) or 1.0))

    def _unit(self, rewards: Array) -> float:
        """Return the spread of rewards, or their root mean square where episodes end.

        A constant in the reward decides nothing while an episode goes on, but it pays for living
        where episodes end. It is 0 for rewards that are constant up to rounding.
        """
        unit = float(_rms(rewards) if self.ended else rewards.std())
        return unit if unit > _LEAST * self.size[1] else 0.0

    @cached_property
    def constant(self) -> bool:
        """Whether neither observations nor rewards change, so that every map fits."""
        same = self.by_model or self.parts[1] <= _LEAST
        return self.still and self._unit(self.paid) == 0 and same

    @cached_property
    def wrong_misses(self) -> list[float]:
        """The miss of each wrong map, which is that of its worst element."""
        return [max(map(self.miss, each)) for each in self.wrong]

    @cached_property
    def typical(self) -> float:
        """The median miss of wrong maps."""
        return float(np.median(self.wrong_misses)) if self.wrong else 0.0

    @property
    def by_model(self) -> bool:
        """Whether a model judged, which has an error of its own."""
        return self.plain is not None

    @property
    def eps(self) -> tuple[float, float]:
        """eps_R and eps_P: the largest errors seen, or what a model sees beyond its own error.

        The largest error of a model is that of its worst fit, so it gives root mean squares.
        """
        if self.plain is None:
            rewards = max(float(np.abs(each.rewards).max()) for each in self.own)
            return rewards, max(float(distances(each).max()) for each in self.own)
        plain = self.plain
        return (
            max(float(_beyond(each.rewards, plain.rewards)) for each in self.own),
            max(float(_beyond(distances(each), distances(plain))) for each in self.own),
        )

    def fits_better(self, miss: float) -> bool:
        """Return whether other maps, with this miss, fit far better than the given ones."""
        return not self.constant and miss < _RIVAL * self.error

    @cached_property
    def outdone(self) -> bool:
        """Whether one other sign, or one swap of actions, fits far better in the worst element."""
        worst = int(np.argmax([self.miss(each) for each in self.own]))
        named = [each[worst] for each in self.wrong if each[worst].move.name]
        return self.fits_better(min(map(self.miss, named), default=np.inf))

    @cached_property
    def centre(self) -> tuple[int, float] | None:
        """Which other centre fits far better than 0, and what the maps about it miss by."""
        misses = [max(map(self.miss, each)) for each in self.centred]
        if not self.fits_better(min(misses, default=np.inf)):
            return None
        return int(np.argmin(misses)), min(misses)

    @property
    def ends_differ(self) -> float:
        """Share of pairs of steps of which only one ended the episode."""
        return float(np.mean([each.ends_differ for each in self.own]))

    @property
    def ends_seen(self) -> bool:
        """Whether some step ended an episode."""
        return any(each.ends is not None and bool(each.ends.any()) for each in self.own)

    @cached_property
    def verdict(self) -> str:
        """One of "symmetric", "nearly", "none" and "unclear"."""
        unknown = self.by_model and self.outside > OUTSIDE
        if unknown or (self.constant and self.ends_differ == 0):
            return UNCLEAR
        if self._fits():
            return UNCLEAR if self.hidden >= MATTERS else SYMMETRIC
        wrong = self.outdone or self.error >= HALF * self.typical
        wrong = wrong or self.parts[0] >= HALF or self.parts[1] >= WHOLE
        return NONE if wrong or self._ends_are_others() else NEARLY

    def _fits(self) -> bool:
        """Whether no element misses by more than rounding, or than the model by itself."""
        sizes, steps = np.append(*self.size), self._steps()
        limits = np.maximum(
            np.minimum(_ROUNDING * sizes, _OF_A_STEP * steps),
            _LEAST * sizes + np.append(np.full(len(steps) - 1, _NOTHING * sizes[:-1].max()), 0.0),
        )
        for errors in map(_columns, self.own):
            if self.plain is None:
                within = np.abs(errors).max(0) <= limits
            else:
                plain = _columns(self.plain)
                beyond = np.square(errors) - np.square(plain)
                alike = _rms(errors) <= _FIT * _rms(plain) + limits
                small = beyond.mean(0) <= np.square(_SMALL * steps + limits)
                within = (alike & small) | (beyond.mean(0) <= _CHANCE * self._deviation(beyond))
            if not within.all():
                return False
        return self.ends_differ == 0

    @cached_property
    def hidden(self) -> float:
        """The largest miss that noise may hide from the model, in steps; 0 by steps."""
        if self.plain is None:
            return 0.0
        plain, most = _columns(self.plain), 0.0
        for errors in map(_columns, self.own):
            beyond = np.square(errors) - np.square(plain)
            least_seen = np.maximum(0.0, beyond.mean(0)) + _DOUBT * self._deviation(beyond)
            most = max(most, float((np.sqrt(least_seen) / self._steps()).max()))
        return most

    def _steps(self) -> Array:
        """Return the units of observations and of rewards, [d + 1]."""
        return np.append(self.change, self._unit(self.paid) or 1.0)

    def _ends_are_others(self) -> bool:
        """Whether most steps that end an episode do so on one side alone."""
        return any(
            bool(each.ends_differ.any())
            and each.ends_differ.sum() >= HALF * np.asarray(each.ends).any(1).sum()
            for each in self.own
        )

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


def units(states: Array, following: Array) -> tuple[Array, bool]:
    """Return the unit of each number of an observation, [d], and whether none changes in a step.

    The unit is the root mean square of its change in a step. One that does not change is measured
    in the largest unit of the others, or in 1.
    """
    change, size = _rms(following - states), np.abs(following).max(0)
    moves = change > _NOTHING * size.max()
    still = bool((change <= _LEAST * size).all())
    return np.where(moves, change, change.max() or 1.0), still


def sizes(following: Array, rewards: Array) -> tuple[Array, float]:
    """Return the largest numbers of observations, [d], and of rewards: rounding scales with it."""
    return np.abs(following).max(0), float(np.abs(rewards).max())


def _rms(values: Array) -> Array:
    return np.asarray(np.sqrt(np.square(values).mean(0)))


def _beyond(errors: Array, floor: Array | None) -> Array:
    """Return root mean square errors beyond those of the judge itself."""
    own = 0.0 if floor is None else np.square(floor).mean(0)
    return np.asarray(np.sqrt(np.maximum(0.0, np.square(errors).mean(0) - own)))
