"""The check of an environment in words and tables."""

from collections.abc import Mapping
from typing import Any

from orbitlens.report._notation import figure, finite, percent
from orbitlens.report._readings import Headline, part
from orbitlens.report._table import Record
from orbitlens.report.network._parts import Mark

_DEFINITION = (
    "The environment takes a step from s with a, and one from gs with ga. The reward should be the "
    "same, and the next observation should be moved by g. The picture has root mean squares of "
    "what is missed, of the worst element, and from a model beyond its own error. Observations are "
    "in units of what a step changes (the number that is missed most), and rewards in units of "
    "{unit}. The map should be far to the left of wrong maps, each of which is the map with "
    "a change of signs or places. The table has rewards and observations in their own units."
)
MARKS = {
    "own": Mark("the map", "dot", "--accent"),
    "least": Mark("best wrong map", "cross", "--muted"),
    "median": Mark("typical wrong map", "square", "--series-2"),
    "others": Mark("rewards of other steps", "ring", "--series-2"),
}
_LAWS = {
    "closure": "Closure: g (h s) = (gh) s",
    "identity": "Identity: e s = s",
    "inverses": "Inverses: g (g⁻¹ s) = s",
    "bounds": "Bounds: moved actions stay within those of the environment",
}
_ROUNDING = 1e-4
_WORDS = {
    "symmetric": "Yes",
    "nearly": "Nearly",
    "none": "No",
    "unclear": "Unclear",
}


def definition(check: Record) -> str:
    """Say what is compared, and in which units."""
    sized = part(check, "wrong_maps").get("reward_unit") == "size"
    return _DEFINITION.format(unit="their root mean square" if sized else "their spread")


def title(check: Record) -> str:
    """Name the environment and the group."""
    kappa = finite(check.get("kappa"))
    broken = "" if kappa is None else f", broken by κ = {kappa:g}"
    return f"Is {check.get('group') or 'the map'} a symmetry of {check.get('environment')}{broken}?"


def headlines(check: Record) -> list[Headline]:
    """Return the headlines: verdict, eps_R, eps_P, and the bound on Q."""
    lines = []
    if check.get("verdict"):
        judge = {"steps": "steps of the environment", "model": "a fitted model"}
        by = judge.get(str(check.get("judged_by")), "the dynamics")
        word = _WORDS.get(str(check["verdict"]), str(check["verdict"]))
        unit = "transitions" if by == judge["model"] else "states"
        number = f", {figure(check['n'])} {unit}" if check.get("n") else ""
        context = f"judged by {by}{number}"
        lines.append(Headline("A symmetry?", word, context))
    seen = "beyond the model's error" if check.get("judged_by") == "model" else "largest seen"
    for key, name, of in (
        ("eps_r", "ε_R", "difference of rewards"),
        ("eps_p", "ε_P", "distance of next observations"),
    ):
        if check.get(key) is not None:
            lines.append(Headline(name, figure(check[key]), f"{of}, {seen}"))
    return lines


def rows_of(check: Record) -> dict[str, dict[str, Record | None]]:
    """Return the figures of the picture: what the map misses, and the worse among wrong maps."""
    wrong = part(check, "wrong_maps")
    if not wrong:
        return {}
    return {
        "observations": {"own": {"mean": wrong.get("observations")}},
        "rewards": {
            "own": {"mean": wrong.get("rewards")},
            "others": {"mean": wrong.get("other_rewards")},
        },
        "the worse": {
            "own": {"mean": wrong.get("map")},
            "least": {"mean": wrong.get("least")},
            "median": {"mean": wrong.get("median")},
        },
    }


def figures(check: Record) -> list[dict[str, Any]]:
    """Return the rows of the table of errors: a name, and figures by their headings."""
    names = {
        "reward": ("eps_r", "|r(gs, ga) − r(s, a)|"),
        "transition": ("eps_p", "‖s′(gs, ga) − g s′(s, a)‖"),
    }
    rows = []
    for key, (eps, name) in names.items():
        found = part(check, key)
        columns = {"Mean": "mean", "Deviation": "std", "Largest": "max"}
        values = {heading: figure(found.get(each)) for heading, each in columns.items()}
        if check.get("judged_by") == "model":
            values = {
                "Root mean square": figure(found.get("rms")),
                "Of the model itself": figure(found.get("model")),
                "Beyond it": figure(check.get(eps)),
            }
        if found:
            rows.append({"name": name, "values": values})
    return rows


def controls(check: Record) -> list[str]:
    """Say how the map does beside wrong ones, and how often only one of two episodes ended."""
    wrong, sentences = part(check, "wrong_maps"), []
    if wrong.get("count"):
        sentences.append(
            "In root mean squares, the map misses observations by "
            f"{figure(wrong.get('observations'))} of a step, and rewards by "
            f"{figure(wrong.get('rewards'))} of their {wrong.get('reward_unit') or 'spread'}; "
            f"rewards of other steps miss them by {figure(wrong.get('other_rewards'))}. Of "
            f"{figure(wrong['count'])} wrong maps, the best misses by "
            f"{figure(wrong.get('least'))} and a typical one by {figure(wrong.get('median'))}, in "
            "observations or rewards, whichever is worse."
        )
    if wrong.get("better"):
        sentences.append(f"Far better fits the map with this change: {wrong['better']}.")
    differs = finite(check.get("terminated_differs"))
    if differs:
        sentences.append(
            f"In {percent(differs)} of the pairs of steps only one of the two ended the episode."
        )
    return sentences


def holds(check: Record) -> str:
    """Say where the bound on Q holds."""
    states = "on the states that were judged"
    if check.get("visited_only"):
        states = "on states that random actions visit"
    seen = "with the largest errors that were seen, which are lower bounds of ε_R and ε_P"
    if check.get("judged_by") == "model":
        seen = "an estimate, with root mean squares beyond the error of the model"
    ends = ""
    if finite(check.get("terminated_differs")):
        ends = " Where only one of two steps ends the episode, it does not hold."
    elif not check.get("ends_judged"):
        ends = " It takes for granted that episodes end alike, which was not judged."
    return f"It holds {states}, {seen}.{ends}"


def bound(check: Record) -> list[str]:
    """Return the bound on Q as an equation, then with its numbers; empty without them."""
    q_bound, gamma = part(check, "q_bound"), finite(check.get("gamma"))
    if not q_bound or gamma is None:
        return []
    slope, discount = finite(check.get("value_slope")), f"{gamma:g}"
    rho = "ρ" if slope is None else figure(slope)
    rewards, per_slope = figure(q_bound.get("rewards")), figure(q_bound.get("per_slope"))
    lines = [
        "|Q*(s, a) − Q*(gs, ga)| ≤ (ε_R + γ ρ ε_P) / (1 − γ)",
        f"= ({figure(check.get('eps_r'))} + {discount} · {rho} · {figure(check.get('eps_p'))})"
        f" / (1 − {discount})",
    ]
    end = f"= {rewards} + {per_slope} ρ"
    return [*lines, f"= {figure(q_bound['total'])}" if q_bound.get("total") is not None else end]


def laws(check: Record) -> list[Mapping[str, Any]]:
    """Return the laws of a group and the bounds of actions, whether they hold, and their errors."""
    return [
        {
            "name": name,
            "holds": (error := finite(check.get(key))) is not None and error <= _ROUNDING,
            "error": figure(check.get(key)),
        }
        for key, name in _LAWS.items()
        if check.get(key) is not None
    ]
