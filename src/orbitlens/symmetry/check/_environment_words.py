"""The finding about an environment in words, and what to know about its figures."""

from typing import Any

import numpy as np

from orbitlens.symmetry.check._judgement import NEARLY, NONE, SYMMETRIC, Judgement
from orbitlens.symmetry.check._maps import Maps, moved_bounds
from orbitlens.symmetry.check._spaces import Array, Spaces

_FEW = 0.1  # of the moved transitions, far beyond those that were seen
_STILL = 1e-6  # a state that moves by less is fixed


def sentence_of(
    *,
    environment: str,
    group: str,
    judged_by: str,
    n: int,
    verdict: str,
    eps: tuple[float, float],
    wrong_maps: dict[str, Any],
) -> str:
    """Return one sentence: verdict, figures, wrong maps."""
    judge = f"steps from {n:,} states" if judged_by == "steps" else f"a model of {n:,} transitions"
    found = {
        SYMMETRIC: f"The maps are a symmetry of {environment} ({group})",
        NEARLY: f"The maps are nearly a symmetry of {environment} ({group})",
        NONE: f"The maps are no symmetry of {environment} ({group})",
    }.get(verdict, f"It is not clear whether the maps are a symmetry of {environment} ({group})")
    most = "up to" if judged_by == "steps" else "a root mean square of"
    parts = [
        f"by {judge}, rewards differ by {most} {eps[0]:.2g} and next observations by {eps[1]:.2g}",
        f"they miss a step by {wrong_maps['map']:.2g} of it, wrong maps by "
        f"{wrong_maps['median'] or 0:.2g} (median)",
    ]
    better = wrong_maps["better"]
    if verdict == NONE and better is not None:
        parts.append(f"with {better} they miss it by {wrong_maps['least']:.2g}")
    return f"{found}: {'; '.join(parts)}."


def notes_of(
    judgement: Judgement, maps: Maps, spaces: Spaces, reason: str, *, wide: bool
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
    elif not wide:
        notes.append("Only states that random actions visit were judged.")
    if judgement.outside > _FEW:
        notes.append(
            f"{judgement.outside:.0%} of the moved transitions lie far beyond those that the model "
            "has seen, where it may be wrong."
        )
    differ = 0.0 if judgement.by_model else float(np.mean([each.ends for each in judgement.own]))
    if differ > 0:
        notes.append(
            f"In {differ:.1%} of the pairs one step ended the episode and the other did not; the "
            "bound on Q does not cover this."
        )
    if maps.linear is not None:
        low, high = moved_bounds(maps.linear, spaces.observation_low, spaces.observation_high)
        if not (
            np.allclose(low, spaces.observation_low) and np.allclose(high, spaces.observation_high)
        ):
            notes.append("The maps do not keep the bounds of the observations.")
    return notes


def fixed_state(maps: Maps, spaces: Spaces, starts: Array) -> list[str]:
    """Return a note if episodes start about a state that no element moves."""
    if maps.linear is None or len(starts) < 2:
        return []
    # The mean over the group projects onto the states that no element moves.
    still = starts.mean(0) @ maps.linear.numpy().mean(0).T
    among = (starts.min(0) - _STILL <= still) & (still <= starts.max(0) + _STILL)
    if not among.all():
        return []
    choice = "an action that no element moves"
    if spaces.n_actions is not None:
        actions = np.arange(spaces.n_actions)
        moved = np.stack([maps.actions(actions, g) for g in range(maps.group.order)])
        kept = np.flatnonzero((moved == actions).all(0)).tolist()
        choice = f"one of the actions {kept}" if kept else "chance, since every action is moved"
    return [
        "Episodes start about a state that no element moves; there an exactly equivariant policy "
        f"is bound to {choice}."
    ]
