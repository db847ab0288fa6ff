"""The check of an environment in words and tables."""

from collections.abc import Mapping
from typing import Any

from orbitlens.report._notation import figure, finite, percent
from orbitlens.report._readings import Headline, part
from orbitlens.report._table import Record
from orbitlens.report.network._parts import Mark

DEFINITION = (
    "The environment takes a step from s with a, and one from gs with ga. The reward should be the "
    "same, and the next observation should be moved by g. Errors of rewards are in units of the "
    "reward, those of observations in units of the observation."
)
MARKS = {
    "own": Mark("the map, with standard deviation", "dot", "--accent"),
    "largest": Mark("largest", "diamond", "--series-4"),
    "least": Mark("best wrong map", "cross", "--muted"),
    "median": Mark("usual wrong map", "square", "--series-2"),
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


def title(check: Record) -> str:
    """Name the environment and the group."""
    return f"Is {check.get('group') or 'the map'} a symmetry of {check.get('environment')}?"


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
    for key, name, of in (
        ("eps_r", "ε_R", "difference of rewards"),
        ("eps_p", "ε_P", "distance of next observations"),
    ):
        if check.get(key) is not None:
            lines.append(Headline(name, figure(check[key]), of))
    return lines


def rows_of(check: Record) -> dict[str, dict[str, Record | None]]:
    """Return the figures of the picture: rewards, observations, and the map among wrong ones."""
    wrong = part(check, "wrong_maps")
    rows: dict[str, dict[str, Record | None]] = {}
    for name, key in (("rewards", "reward"), ("next observations", "transition")):
        figures_of = part(check, key)
        if figures_of:
            rows[name] = {"own": figures_of, "largest": {"mean": figures_of.get("max")}}
    if wrong:
        rows["share of a step"] = {
            "own": {"mean": wrong.get("map")},
            "least": {"mean": wrong.get("least")},
            "median": {"mean": wrong.get("median")},
        }
    return rows


def figures(check: Record) -> list[dict[str, str]]:
    """Return the rows of the table of errors."""
    names = {
        "reward": "|r(gs, ga) − r(s, a)|",
        "transition": "‖s′(gs, ga) − g s′(s, a)‖",
    }
    return [
        {"name": name, **{each: figure(part(check, key).get(each)) for each in _SPREAD}}
        for key, name in names.items()
        if part(check, key)
    ]


_SPREAD = ("mean", "std", "max")


def controls(check: Record) -> list[str]:
    """Say how the map does beside wrong ones, and how often only one of two episodes ended."""
    wrong, sentences = part(check, "wrong_maps"), []
    if wrong.get("count"):
        sentences.append(
            f"Beside it, {figure(wrong['count'])} wrong maps were tried. In root mean square "
            f"changes of a step, the map misses by {figure(wrong.get('map'))}, the best wrong one "
            f"by {figure(wrong.get('least'))}, the usual one by {figure(wrong.get('median'))}."
        )
    if wrong.get("better"):
        sentences.append(f"Far better fits the map with this change: {wrong['better']}.")
    differs = finite(check.get("terminated_differs"))
    if differs:
        sentences.append(
            f"In {percent(differs)} of the pairs of steps only one of the two ended the episode; "
            "the bound on Q does not count these."
        )
    return sentences


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
