"""The finding about an environment in words, and what to know about its figures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from orbitlens.symmetry.check._built_in import BuiltIn
from orbitlens.symmetry.check._judgement import (
    HALF,
    MATTERS,
    NEARLY,
    NONE,
    OUTSIDE,
    SYMMETRIC,
    UNCLEAR,
    WHOLE,
    Judgement,
)
from orbitlens.symmetry.check._maps import Maps, moved_bounds
from orbitlens.symmetry.check._spaces import Array, Spaces

_FEW = 0.1  # of the moved transitions, far beyond those that were seen
_STILL, _NEAR = 1e-6, 0.5  # of states, which is no move; of the usual distance
_VERDICTS = {
    SYMMETRIC: "The maps are a symmetry of",
    NEARLY: "The maps are nearly a symmetry of",
    NONE: "The maps are no symmetry of",
}


def sentence_of(check: Mapping[str, Any]) -> str:
    """Return the record of a check in words: verdict, where it holds, figures, wrong maps, ends."""
    wrong, by_steps = check["wrong_maps"], check["judged_by"] == "steps"
    kappa = "" if check["kappa"] is None else f", kappa = {check['kappa']:g}"
    verdict = _VERDICTS.get(check["verdict"], "It is not clear whether the maps are a symmetry of")
    where = " on states that random actions visit" if check["visited_only"] else ""
    judge = f"steps from {check['n']:,} states"
    if not by_steps:
        judge = f"a model of {check['n']:,} transitions"
    most = "up to" if by_steps else "a root mean square of"
    beyond = "" if by_steps else ", beyond the error of the model itself"
    parts = [
        f"by {judge}, rewards differ by {most} {check['eps_r']:.2g} and next observations by "
        f"{check['eps_p']:.2g}{beyond}",
        f"observations are missed by {wrong['observations']:.2g} of a step (the number that is "
        f"missed most) and rewards by {wrong['rewards']:.2g} of their {wrong['reward_unit']}",
    ]
    if wrong["median"] is not None:
        parts.append(
            f"a typical wrong map misses by {wrong['median']:.2g}, in observations or rewards, "
            "whichever is worse"
        )
    better, centre = wrong["better"], wrong["centre"]
    if check["verdict"] == NONE and better is not None:
        parts.append(f"with {better} they miss by {wrong['better_miss']:.2g}")
    if centre is not None:
        at = ", ".join(f"{round(number, 6) + 0.0:.3g}" for number in centre["at"])
        parts.append(f"about the centre ({at}) instead of 0 they miss by {centre['miss']:.2g}")
    return (
        f"{verdict} {check['environment']} ({check['group']}{kappa}){where}{_because(check)}: "
        f"{'; '.join(parts)}. {ends_of(check)}{_off_the_states(check)}"
    ).strip()


def _because(check: Mapping[str, Any]) -> str:
    """Name what breaks the symmetry, the largest miss first, or what hides it."""
    wrong = check["wrong_maps"]
    if check["verdict"] == UNCLEAR and wrong["constant"]:
        return ", since neither observations nor rewards change in a step"
    if check["verdict"] == UNCLEAR and wrong["hidden"] >= MATTERS:
        return f", since noise may hide an error of {wrong['hidden']:.2g} of a step"
    if check["verdict"] != NONE:
        return ""
    usual = HALF * wrong["median"] if wrong["median"] else np.inf
    causes = {
        "the next observations": (wrong["observations"], min(HALF, usual)),
        "the rewards": (wrong["rewards"], min(WHOLE, usual)),
    }
    decide = {name: miss for name, (miss, least) in causes.items() if miss >= least}
    if decide:
        return f" because of {' and of '.join(sorted(decide, key=decide.__getitem__)[::-1])}"
    if wrong["outdone"]:
        return ", since one change makes them fit far better in the worst element"
    return " because of the ends of episodes"


def ends_of(check: Mapping[str, Any]) -> str:
    """Say how far ends of episodes were judged; nothing if they are the same."""
    if check["judged_by"] == "model":
        return "A model cannot judge ends of episodes."
    if check["terminated_differs"]:
        return f"In {check['terminated_differs']:.1%} of the pairs only one step ended the episode."
    return "" if check["ends_judged"] else "No episode ended there, so ends were not judged."


def _off_the_states(check: Mapping[str, Any]) -> str:
    """Say whether most moved states are none that were seen, where this may be what is wrong."""
    by_steps = check["judged_by"] == "steps"
    if not by_steps or check["verdict"] == SYMMETRIC or check["outside"] <= OUTSIDE:
        return ""
    return (
        f" {check['outside']:.0%} of the moved states are far from all that were seen: the maps "
        "may lead off the states that the environment can take."
    )


def notes_of(
    judgement: Judgement, maps: Maps, spaces: Spaces, reason: str, known: BuiltIn | None
) -> list[str]:
    """Return what to know about the figures, one sentence each."""
    notes = []
    if reason:
        notes.append(f"A one-step model judges, because {reason}.")
    if judgement.by_model:
        notes.append(
            "eps_R and eps_P are root mean squares beyond the error of the model, so that the "
            "bound on Q is an estimate."
        )
    if judgement.constant:
        notes.append("Neither observations nor rewards change in a step, so that every map fits.")
    if judgement.verdict == UNCLEAR and judgement.hidden >= MATTERS:
        notes.append(
            f"Noise may hide an error of {judgement.hidden:.2g} of a step from the model; give a "
            "larger `n`, or `set_state` where steps are not random."
        )
    if judgement.outside > _FEW and not judgement.by_model:
        notes.append(
            f"{judgement.outside:.0%} of the moved states are far from all that were visited or "
            "drawn. If the environment cannot take them, its steps from there say nothing."
        )
    elif judgement.outside > _FEW:
        notes.append(
            f"{judgement.outside:.0%} of the moved transitions lie far beyond those that the model "
            "has seen, where it may be wrong."
        )
    notes += _on_bounds(maps, spaces)
    if judgement.verdict != SYMMETRIC and judgement.centre is not None:
        notes.append(
            "The map about another centre c is an Action: "
            f'actions.own("{maps.group.name}", lambda s, g: c + (s - c) @ A[g].T), with the '
            "matrices A and with g = 0 as s.clone()."
        )
    if known is not None and known.caveat and _is_built_in(maps, known):
        notes.append(known.caveat)
    return notes


def _on_bounds(maps: Maps, spaces: Spaces) -> list[str]:
    """Name the first bound of observations that an element does not keep."""
    if maps.linear is None:
        return []
    given = spaces.observation_low, spaces.observation_high
    low, high = moved_bounds(maps.linear, *given)
    kept = np.isclose(low, given[0]) & np.isclose(high, given[1])
    if kept.all():
        return []
    g, i = np.argwhere(~kept)[0].tolist()
    return [
        f"The maps do not keep the bounds of the observations: {maps.group.element_names[g]} "
        f"takes observation {i} from {given[0][i]:g} to {given[1][i]:g} into {low[g, i]:g} to "
        f"{high[g, i]:g}."
    ]


def _is_built_in(maps: Maps, known: BuiltIn) -> bool:
    return (
        maps.linear is not None
        and len(maps.linear) == 2
        and np.array_equal(maps.linear[1].numpy(), np.diag(known.signs))
    )


def fixed_state(maps: Maps, states: Array, starts: Array) -> list[str]:
    """Return a note if episodes start near to a state that no element moves."""
    if maps.linear is None:
        return []
    # The mean over the group projects onto the states that no element moves.
    moved = np.eye(states.shape[1]) - maps.linear.numpy().mean(0)
    away, usual = (np.sqrt(np.square(each @ moved.T).mean(0)) for each in (starts, states))
    moving = usual > _STILL * np.abs(states).max()
    share = np.divide(away, usual, out=np.zeros_like(away), where=moving)
    if not moving.any() or np.square(share[moving]).mean() > _NEAR**2:
        return []
    return [
        "The mean of the start states does not move under the group. An exactly equivariant policy "
        "cannot prefer left to right there, or any action to its image; give it noise, or break "
        "the tie."
    ]
