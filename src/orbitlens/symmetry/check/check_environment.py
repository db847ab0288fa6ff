"""Are two maps, of states and of actions, a symmetry of an environment? Its dynamics are the judge.

    eps_R = max |r(gs, ga) - r(s, a)|,   eps_P = max ||s'(gs, ga) - g s'(s, a)||

Source: Park et al., arXiv 2411.04225, for the two numbers and the bound on Q that follows.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from orbitlens.actions import Action
from orbitlens.checks import as_count, as_seed
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.symmetry.check._broken import kappa_of
from orbitlens.symmetry.check._built_in import SetState, built_in
from orbitlens.symmetry.check._controls import Moves, all_moves
from orbitlens.symmetry.check._environment_words import fixed_state, notes_of, sentence_of
from orbitlens.symmetry.check._judgement import SYMMETRIC, Errors, Judgement, distances
from orbitlens.symmetry.check._maps import Maps, read_maps
from orbitlens.symmetry.check._mended import Mended, mended
from orbitlens.symmetry.check._model import check_enough, judge_by_model, needed
from orbitlens.symmetry.check._numbers import as_discount, as_size
from orbitlens.symmetry.check._reach import notes_on_rest
from orbitlens.symmetry.check._spaces import (
    LONGEST,
    Array,
    Rollouts,
    Spaces,
    made,
    name_of,
    read_spaces,
    roll_out,
)
from orbitlens.symmetry.check._steps import (
    find_setter,
    judge_by_steps,
    points_of,
    stays,
    trouble_of,
)
from orbitlens.symmetry.check.tabular import q_bound
from orbitlens.typing import Numbers

_STATES, _TRANSITIONS = 256, 4000
_SAMPLE = 64  # transitions on which maps are tried
_VISITED = 8  # transitions for each state that is drawn of them, so that many episodes are seen
_EPISODES = 20  # at least, for a model, whose standard errors are over episodes
_JUDGES = ("steps", "model")


@final
@dataclass(frozen=True)
class EnvironmentCheck:
    """How far two maps are from a symmetry of an environment, and what follows for Q.

    Args:
        environment: Name of the environment.
        kappa: What `break_symmetry` has broken it by; None for an environment as it is.
        group: Name of the group.
        elements: Names of its elements; the first is the identity.
        judged_by: "steps" of the environment from states that were set, or a fitted "model".
        n: States that were judged; with a model, transitions for its fit and the judgement.
        visited_only: Whether only states that random actions visit were judged. If False, states
            were drawn widely, too.
        closure: Largest error of a product of two elements; 0 for an `Action`.
        identity: Largest error of element 0.
        inverses: Largest error of the product of an element and its inverse.
        bounds: Largest change of the bounds of actions.
        reward: "mean", "std" and "max" of |r(gs, ga) - r(s, a)|; from a model also "rms", its root
            mean square for the worst element, and "model", that of the model where nothing is
            moved. eps_R is then the root of the difference of their squares.
        transition: The same of ||s'(gs, ga) - g s'(s, a)||, in units of the observations.
        terminated_differs: Share of pairs of steps of which one ended the episode and the other did
            not; None from a model.
        ends_judged: Whether some step ended an episode, so that ends were compared; False from a
            model.
        outside: Share of moved states (by a model, of transitions) that are far from all that were
            seen, for the worst element: more than twice as far as 95% of those seen from each
            other.
        wrong_maps: What maps miss by, in root mean squares beyond the model's own error.
            "observations": the number that the map misses by most, in changes of a step;
            "rewards": in units of their spread over steps or, where episodes end, of their root
            mean square ("reward_unit" is "spread" or "size"; 1 for constant rewards);
            "other_rewards": what rewards of other steps differ by, in the same units; "map": the
            worse of the two; each is that of the worst element. "count" of wrong maps, and "least"
            and "median" of the worse of the two for them: each is the maps with one change, of
            all elements but the identity. "outdone": whether one other sign, or one swap of
            actions, fits far better in the worst element.
            "hidden": what noise may hide from a model, in changes of a step; 0 by steps.
            "constant": whether neither observations nor rewards change in a step.
            "better": the change that makes all elements fit far better, and leaves them a group, or
            None; "better_miss": what they miss by with it. "centre": the point "at" which, instead
            of 0, the maps fit far better, and their "miss" about it, or None.
        eps_r: Largest difference of rewards that was seen, a lower bound of eps_R. With a model,
            the root mean square beyond the model's own error, in the states near to those that it
            has seen.
        eps_p: Largest distance of next observations, likewise.
        gamma: The discount.
        value_slope: Slope of V*, if it was given.
        q_bound: The bound on |Q*(s, a) - Q*(gs, ga)|: "rewards", its part from rewards;
            "per_slope", its part from transitions for a slope 1 of V*; and "total", None without
            `value_slope`. It holds on the states that were judged, for equal ends of episodes.
        verdict: "symmetric": errors are at rounding level, or no larger than those of the model
            itself, and episodes end alike. "none": observations are missed by half of a step or
            rewards by their whole unit, the map misses by half of the median of wrong maps, one
            other sign or one swap of actions fits three times better in the worst element, or at
            least half of the steps that end an episode do so on one side alone. "unclear": most
            moved transitions lie beyond those that the model has seen, noise may hide an error of
            a quarter of a step, or nothing changes in a step. "nearly": anything else.
        notes: What to know about the figures, one sentence each.
    """

    environment: str
    kappa: float | None
    group: str
    elements: tuple[str, ...]
    judged_by: str
    n: int
    visited_only: bool
    closure: float
    identity: float
    inverses: float
    bounds: float
    reward: dict[str, float]
    transition: dict[str, float]
    terminated_differs: float | None
    ends_judged: bool
    outside: float
    wrong_maps: dict[str, Any]
    eps_r: float
    eps_p: float
    gamma: float
    value_slope: float | None
    q_bound: dict[str, float | None]
    verdict: str
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The finding in words."""
        return sentence_of(asdict(self))

    def __str__(self) -> str:
        return f"{self.verdict}: {self.sentence}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record."""
        found = {**asdict(self), "sentence": self.sentence}
        return {**found, "elements": list(self.elements), "notes": list(self.notes)}


def check_environment(
    env: Any,
    states: Numbers | Action,
    actions: Numbers | Action,
    *,
    n: int | None = None,
    judge: str | None = None,
    set_state: Callable[[Any, Array], None] | None = None,
    gamma: float = 0.99,
    value_slope: float | int | None = None,
    seed: int = 0,
) -> EnvironmentCheck:
    """Measure how far a map of states and a map of actions are from a symmetry of an environment.

        eps_R = max |r(gs, ga) - r(s, a)|,   eps_P = max ||s'(gs, ga) - g s'(s, a)||
        |Q*(s, a) - Q*(gs, ga)| <= (eps_R + gamma rho_F(V*) eps_P) / (1 - gamma)

    Source: Park et al., arXiv 2411.04225. A deterministic step puts all probability on one state,
    so that the Wasserstein-1 distance of two of them is that of the two states. eps_P is in units
    of the observations, and rho_F(V*) is the slope of V*: its largest change by unit of an
    observation (its Lipschitz constant). The largest errors that were seen are lower bounds of
    eps_R and eps_P, and the bound holds on the states that were judged. Where an episode may end in
    one of two steps alone, it does not hold as it stands: `terminated_differs` says how often. Ends
    of episodes are judged by steps, and only if some step ended one: `ends_judged`.

    The dynamics judge the map. Where the state can be set, the environment steps from s and from
    gs: half of the states are visited by random actions, half are drawn widely in environments that
    `reflection` knows. Where the state cannot be set, or where steps are random, a network is
    fitted to s' - s and r on half of the episodes. It predicts the other half, as they are, moved
    by the maps, and moved by wrong maps. Its inputs are scaled about 0, alike for s and gs. Only
    transitions are judged that stay near to what it has seen.

    Args:
        env: A Gymnasium environment or its name, with observations in a Box of one axis and actions
            that are Discrete or in such a Box. It is reset and stepped.
        states: Matrices on observations, [|G|, d, d], element 0 the identity; one [d, d], which
            generates a cyclic group; or an `Action` on observations [n, d], which may bend. The
            reflection about a centre c is
            `actions.own("C2", lambda s, g: 2 * c - s if g else s.clone())`.
        actions: Matrices on actions, [|G|, m, m] or [m, m]; for discrete ones permutations,
            [|G|, n] or [n], ga as `actions[g, a]`, such as [2, 1, 0], or permutation matrices; or
            an `Action`, on numbers [n] for these.
        n: Number of states, default 256; for a model of transitions, default 4,000.
        judge: "steps" or "model"; None (the default) for steps where they are possible.
        set_state: `set_state(env, observation)` puts the environment into the state that shows so.
            None (the default) for the four environments of `reflection`, for those with a `state`
            that is the observation, and for MuJoCo where positions and velocities are.
        gamma: The discount, 0 <= gamma < 1; default 0.99.
        value_slope: The slope of V*, if it is known.
        seed: Seed of rollouts, draws and the model, default 0.

    Returns:
        The figures, with a verdict and a sentence.

    Raises:
        OrbitLensError: If the spaces are of another kind; if the maps do not fit them, leave the
            bounds of actions, or are no group together, with the law that fails; if the environment
            fails, with what it raised; if there are too
            few transitions for the model; if observations are not finite; or if `set_state` does
            not set the state.
        MissingExtraError: If Gymnasium, or scikit-learn for a model, is not installed.

    Example:
        >>> states, actions = [[1, 0, 0], [0, -1, 0], [0, 0, -1]], [[-1]]
        >>> check = check_environment("Pendulum-v1", states, actions)
        >>> check.verdict, check.eps_p < 1e-5
        ('symmetric', True)
    """
    seed, gamma = as_seed(seed), as_discount(gamma)
    slope = None if value_slope is None else as_size("value_slope", value_slope)
    if judge is not None and judge not in _JUDGES:
        raise unknown_name("`judge`", judge, _JUDGES)
    count = None if n is None else as_count("n", n, least=16)
    opened = made(env)
    try:
        spaces = read_spaces(opened)
        first = roll_out(opened, spaces, _SAMPLE, seed)
        maps = read_maps(states, actions, spaces, (first.states, first.actions))
        resting = notes_on_rest(maps, spaces, first)
        setter, reason = _setter(opened, spaces, first, judge, set_state)
        # A setter of one's own may be of other observations than those that are drawn widely.
        known = built_in(opened) if set_state is None else None
        generator = np.random.default_rng(seed)
        if setter is None:
            count = max(_TRANSITIONS, needed(spaces)) if count is None else count
            check_enough(spaces, count)
            seen = roll_out(opened, spaces, count, seed, min(LONGEST, count // _EPISODES))
        else:
            count = _STATES if count is None else count
            seen = roll_out(opened, spaces, _VISITED * count, seed)
        moves = all_moves(maps, spaces, seen, generator)
        if setter is None:
            judgement = judge_by_model(spaces, maps, seen, moves, seed)
        else:
            points = points_of(opened, spaces, seen, count, generator, known)
            judgement = judge_by_steps(opened, spaces, maps, setter, points, moves)
        notes = notes_of(judgement, maps, spaces, reason, built_in(opened))
        notes += resting + fixed_state(maps, seen.states, _starts(seen))
        better = mended(judgement, maps, seen)
        figures = _figures(maps, judgement, moves, better)
        figures |= _of_value(judgement, gamma, slope)
        return EnvironmentCheck(
            environment=name_of(opened),
            kappa=kappa_of(opened),
            visited_only=setter is None or known is None,
            notes=tuple(notes),
            **figures,
        )
    finally:
        if opened is not env:
            opened.close()


def _setter(
    env: Any, spaces: Spaces, seen: Rollouts, judge: str | None, given: SetState | None
) -> tuple[SetState | None, str]:
    """Return how states are set, or None and why a model judges."""
    if judge == "model":
        return None, ""
    setter = given or find_setter(env, spaces)
    reason = "its state cannot be set from an observation"
    if setter is not None:
        trouble = trouble_of(env, spaces, setter, seen)
        if not trouble:
            return setter, ""
        fixed = given is not None and stays(env, spaces, given, seen)
        if given is not None and (fixed or "differ" not in trouble):
            raise OrbitLensError(
                f"`set_state` for {name_of(env)}",
                expected="steps from a state that was set to be those of the environment",
                received="equal steps from different states" if fixed else trouble,
                remedy='set everything that the next step depends on, or give judge="model"',
            )
        reason = trouble
    if judge == "steps":
        raise OrbitLensError(
            f"environment {name_of(env)}",
            expected="a state that can be set, for judge='steps'",
            received=reason,
            remedy="give `set_state`, or leave `judge` out so that a model judges",
        )
    return None, reason


def _starts(seen: Rollouts) -> Array:
    first = np.unique(seen.episodes, return_index=True)[1]
    return seen.states[first]


def _figures(
    maps: Maps, judgement: Judgement, moves: Moves, better: Mended | None
) -> dict[str, Any]:
    """Return what the record says of the maps."""
    return {
        "group": maps.group.name,
        "elements": tuple(maps.group.element_names),
        "judged_by": "model" if judgement.by_model else "steps",
        "n": judgement.n,
        **maps.laws,
        "reward": _spread(judgement, lambda errors: np.abs(errors.rewards)),
        "transition": _spread(judgement, distances),
        "terminated_differs": None if judgement.by_model else judgement.ends_differ,
        "ends_judged": judgement.ends_seen,
        "outside": judgement.outside,
        "wrong_maps": _among_wrong_maps(judgement, moves, better),
        "verdict": judgement.verdict,
    }


def _among_wrong_maps(judgement: Judgement, moves: Moves, better: Mended | None) -> dict[str, Any]:
    misses = judgement.wrong_misses if better is None else [*judgement.wrong_misses, better.miss]
    centre = None if judgement.verdict == SYMMETRIC else judgement.centre
    observations, rewards = judgement.parts
    return {
        "map": judgement.error,
        "observations": observations,
        "rewards": rewards,
        "other_rewards": judgement.other_rewards,
        "reward_unit": "size" if judgement.ended else "spread",
        "count": len(judgement.wrong),
        "least": min(misses, default=None),
        "median": judgement.typical if misses else None,
        "hidden": judgement.hidden,
        "constant": judgement.constant,
        "outdone": judgement.outdone,
        "better": None if better is None else better.name,
        "better_miss": None if better is None else better.miss,
        "centre": None
        if centre is None
        else {"at": moves.centres[centre[0]].tolist(), "miss": centre[1]},
    }


def _of_value(judgement: Judgement, gamma: float, slope: float | None) -> dict[str, Any]:
    """Return eps_R and eps_P, and what follows for Q."""
    eps_r, eps_p = judgement.eps
    return {
        "eps_r": eps_r,
        "eps_p": eps_p,
        "gamma": gamma,
        "value_slope": slope,
        "q_bound": {
            "rewards": q_bound(eps_r, 0.0, gamma, 0.0),
            "per_slope": q_bound(0.0, eps_p, gamma, 1.0),
            "total": None if slope is None else q_bound(eps_r, eps_p, gamma, slope),
        },
    }


def _spread(judgement: Judgement, of: Callable[[Errors], Array]) -> dict[str, float]:
    each = [of(errors) for errors in judgement.own]
    values = np.concatenate(each)
    found = {"mean": values.mean(), "std": values.std(), "max": values.max()}
    if judgement.plain is not None:
        found["rms"] = max(np.sqrt(np.square(one).mean()) for one in each)
        found["model"] = np.sqrt(np.square(of(judgement.plain)).mean())
    return {name: float(value) for name, value in found.items()}
