"""The page of a check: complete, self-contained, escaped, and not broken by what is missing."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.report import write_check_page

OF_NETWORK = ["errors", "elements", "settings"]
OF_ENVIRONMENT = ["errors", "bound", "laws", "settings"]
TURNS = ("as it is", "quarter turn left", "half turn", "quarter turn right")
Written = Callable[[Any], Any]


def figures(element: str, mean: float) -> dict[str, Any]:
    spread = {"low": mean / 4, "high": 3 * mean / 2, "largest": 2 * mean}
    return {"element": element, "words": "", "mean": mean, **spread, "expected": None}


@pytest.fixture
def network() -> dict[str, Any]:
    rows = [
        {
            **figures(name, 2e-7 * place),
            "words": TURNS[place],
            "shuffled": figures(name, 1.25),
            "other": None if name == "r" else figures("s", 0.75),
        }
        for place, name in enumerate(("r", "r^2", "r^3"), start=1)
    ]
    return {
        "model": {"name": "python:net.py:build", "layer": "conv2", "trained_here": False},
        "inputs": {"name": "digits", "n": 256, "passed_over": ["3 files"], "given": "1 x 32 x 32"},
        "group": {"name": "C4", "order": 4, "elements": ["e", "r", "r^2", "r^3"]},
        "action": {"name": "images", "exact": True, "error": 0.0},
        "check": {
            "group": "C4",
            "output": "regular",
            "n": 256,
            "verdict": "exact",
            "sentence": "The function is equivariant under C4 up to rounding, most under r^3.",
            "error": 4e-7,
            "noise": 0.0,
            "resolution": None,
            "scale": 3.0,
            "rounding": 1e-5,
            "wrong_groups": {
                "shuffled": {"name": "shuffled elements", "error": 1.25},
                "other": {"name": "D2", "error": 0.75},
            },
            "reason": "",
            "elements": rows,
        },
        "config": {"source": "digits", "output": "regular"},
        "seconds": {"draw the page": 0.5},
        "warnings": ["an odd thing"],
    }


@pytest.fixture
def environment() -> dict[str, Any]:
    return {
        "check": {
            "environment": "CartPole-v1",
            "kappa": 0.2,
            "group": "C2",
            "elements": ["e", "r"],
            "judged_by": "steps",
            "n": 256,
            "visited_only": False,
            "closure": 0.0,
            "identity": 0.0,
            "inverses": 0.5,
            "bounds": 0.0,
            "reward": {"mean": 0.15, "std": 0.05, "max": 0.2},
            "transition": {"mean": 0.07, "std": 0.01, "max": 0.08},
            "terminated_differs": 0.125,
            "ends_judged": True,
            "wrong_maps": {
                "map": 0.24,
                "observations": 0.22,
                "rewards": 0.24,
                "other_rewards": 0.15,
                "reward_unit": "size",
                "count": 12,
                "least": 1.67,
                "median": 2.13,
                "better": "the other sign of observation 1",
                "centre": {"at": [0.5, 0.0], "miss": 0.01},
            },
            "eps_r": 0.2,
            "eps_p": 0.08,
            "gamma": 0.99,
            "value_slope": None,
            "q_bound": {"rewards": 20.0, "per_slope": 7.92, "total": None},
            "verdict": "nearly",
            "notes": ["Episodes start about a state that no element moves."],
            "sentence": "The maps are nearly a symmetry of CartPole-v1 (C2).",
        },
        "config": {"environment": "CartPole-v1", "kappa": 0.2},
        "seconds": {"step from s and from gs": 0.3},
        "warnings": [],
    }


@pytest.fixture
def written(tmp_path: Path, parse: Callable[[str], Any]) -> Written:
    def write(record: Any) -> Any:
        return parse(write_check_page(tmp_path / "page.html", record).read_text(encoding="utf-8"))

    return write


def test_the_page_of_a_network_has_its_figures(network: Any, written: Written) -> None:
    page = written(network)
    page.assert_well_formed(OF_NETWORK)
    page.assert_runs_only_its_own()
    assert "Is layer conv2 of python:net.py:build equivariant under C4?" in page.text
    assert "up to rounding, most under r³." in page.text
    assert "On 256 inputs of digits. The network gets 1 x 32 x 32." in page.text
    for text in ("Mean error4.0e−7", "With D20.750", "an odd thing", "3 files"):
        assert text in page.text
    for name, words in zip(("r", "r²", "r³"), TURNS[1:], strict=True):
        assert name in page.sections["errors"]
        assert f"{name}{words}" in page.sections["elements"]
    assert "Moves that both groups have are left out." in page.sections["errors"]
    assert "1.2e−6" in page.sections["elements"]
    assert "0.5 s" in page.sections["settings"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (4e-7, "With D20.750more than 1,000 times the error: a clear difference"),
        (0.0, "With D20.750more than 1,000 times the error: a clear difference"),
        (0.05, "With D20.75015 times the error: a clear difference"),
        (0.15, "With D20.7505.0 times the error; 10 times or more counts as a clear difference"),
        (0.75, "With D20.750no more than the error: no difference"),
        (0.7, "With D20.7501.1 times the error; 10 times or more counts as a clear difference"),
    ],
)
def test_the_page_says_whether_a_wrong_group_is_far(
    error: float, words: str, network: Any, written: Written
) -> None:
    network["check"]["error"] = error
    assert words in written(network).text


@pytest.mark.parametrize(
    ("verdict", "expected", "words"),
    [
        ("expectation", 0.0, "Yes, on average"),
        ("unclear", 0.1, "Unclear"),
        ("none", 0.9, "No"),
    ],
)
def test_random_numbers_are_set_aside(
    verdict: str, expected: float, words: str, network: Any, written: Written
) -> None:
    check = network["check"]
    check.update(verdict=verdict, error=expected, resolution=0.25, noise=0.5)
    for row in check["elements"]:
        row.update(mean=0.75, expected=expected, hidden=0.25)
    page = written(network)
    page.assert_well_formed(OF_NETWORK)
    assert f"A symmetry under C4?{words}" in page.text
    assert ("Error< 0.250" in page.text) == (verdict != "none")
    assert "dots are this error, or the one that" in page.sections["errors"].lower()
    assert "The same input twice0.500the random numbers alone" in page.text


def test_constant_outputs_have_no_figures(network: Any, written: Written) -> None:
    check = network["check"]
    check.update(verdict="constant", error=None, noise=None, scale=None, rounding=None)
    for row in check["elements"]:
        row.update(dict.fromkeys(("mean", "low", "high", "largest")))
        row.update(shuffled=None, other=None)
    for group in check["wrong_groups"].values():
        group["error"] = None
    page = written(network)
    page.assert_well_formed(OF_NETWORK)
    assert "all inputs get the same output" in page.text
    assert "No error was measured." in page.sections["errors"]
    assert "No element was measured." in page.sections["elements"]
    assert "not finite" not in page.text


@pytest.mark.parametrize(
    ("number_format", "words"),
    [
        ("", "all inputs get the same output"),
        ("float16", "the spread of the outputs is below 16 steps of float16"),
    ],
)
def test_constant_outputs_are_not_called_unclear(
    number_format: str, words: str, network: Any, written: Written
) -> None:
    network["check"].update(verdict="constant", number_format=number_format)
    assert f"A symmetry under C4?Not told{words}" in written(network).text


def test_inverse_elements_and_float64_are_shown(network: Any, written: Written) -> None:
    check = network["check"]
    check.update(in_float64=0.0625)
    check["wrong_groups"]["inverse"] = {"name": "inverse elements", "error": 0.5}
    for row in check["elements"]:
        row["inverse"] = None if row["element"] == "r^2" else figures(row["element"], 0.5)
    page = written(network)
    page.assert_well_formed(OF_NETWORK)
    assert "in float64 0.0625 under the worst element" in page.text
    assert "With inverse elements0.500" in page.text
    assert "the outputs move by g⁻¹ in place of g" in page.sections["errors"]


def test_intervals_of_one_row_lie_below_each_other(network: Any, written: Written) -> None:
    for row in network["check"]["elements"]:
        row.update(other=None)
    page = written(network)
    lines = [attrs["d"] for tag, attrs in page.tags if attrs.get("class") == "interval"]
    heights = [float(each.split()[1].split("H")[0]) for each in lines]
    assert len(set(heights)) == len(heights) == 2 * 3


def test_a_line_reaches_over_the_middle_of_the_inputs(network: Any, written: Written) -> None:
    for row in network["check"]["elements"]:
        row.update(mean=1.0, low=0.01, high=10.0, shuffled=None, other=None)
    page = written(network)
    lines = [attrs["d"] for tag, attrs in page.tags if attrs.get("class") == "interval"]
    ticks = [attrs["d"] for tag, attrs in page.tags if attrs.get("class") == "grid"]
    left, right = (float(each[1:].split()[0]) for each in (ticks[0], ticks[-1]))
    ends = [(float(each[1:].split()[0]), float(each.split("H")[1])) for each in lines]
    assert ends == [(left, right)] * 3


def test_every_error_is_drawn_beside_its_wrong_groups(network: Any, written: Written) -> None:
    drawn = written(network)
    colours = [attrs.get("fill") for tag, attrs in drawn.tags if tag == "circle"]
    assert colours.count("var(--accent)") == 3 + 1  # and one in the legend
    squares = [attrs for tag, attrs in drawn.tags if tag == "rect" and "fill" in attrs]
    assert len(squares) == 2 + 1


def test_the_page_says_why_there_is_no_other_group(network: Any, written: Written) -> None:
    check = network["check"]
    check["wrong_groups"]["other"] = None
    check["reason"] = "no other group of order 3 can move these inputs"
    for row in check["elements"]:
        row["other"] = None
    page = written(network)
    assert "There is no second: no other group of order 3" in page.sections["errors"]
    assert "D2" not in page.text


def test_the_page_of_an_environment_has_its_figures(environment: Any, written: Written) -> None:
    page = written(environment)
    page.assert_well_formed(OF_ENVIRONMENT)
    page.assert_runs_only_its_own()
    assert "Is C2 a symmetry of CartPole-v1, broken by κ = 0.2?" in page.text
    assert "A symmetry?Nearlyjudged by steps of the environment, 256 states" in page.text
    assert "= (0.200 + 0.99 · ρ · 0.0800) / (1 − 0.99)" in page.sections["bound"]
    assert "= 20.0 + 7.92 ρ" in page.sections["bound"]
    assert "the other sign of observation 1" in page.sections["errors"]
    assert "12.5%" in page.sections["errors"]
    assert "rewards of other steps miss them by 0.150" in page.sections["errors"]
    assert "rewards by 0.240 of their size" in page.sections["errors"]
    assert "only one of two steps ends the episode, it does not hold" in page.sections["bound"]
    assert page.sections["laws"].count("yes") == 3
    assert "g (g⁻¹ s) = sno0.500" in page.sections["laws"]
    assert "Episodes start about a state" in page.sections["errors"]
    assert "aside" not in {tag for tag, _ in page.tags}
    assert "ε_" not in page.text
    assert "(εR + γ ρ εP) / (1 − γ)" in page.sections["bound"]
    assert sum(tag == "sub" for tag, _ in page.tags) == 6
    environment["check"].update(value_slope=2.0)
    environment["check"]["q_bound"]["total"] = 35.84
    assert "= 35.8" in written(environment).sections["bound"]


def test_the_page_of_a_model_shows_eps_in_its_table(environment: Any, written: Written) -> None:
    figures_of_model = {"mean": 0.15, "std": 0.1, "max": 0.9, "rms": 0.25, "model": 0.15}
    environment["check"].update(
        judged_by="model",
        reward=figures_of_model,
        transition={**figures_of_model, "rms": 0.1, "model": 0.06},
        terminated_differs=None,
        ends_judged=False,
        visited_only=True,
    )
    page = written(environment)
    page.assert_well_formed(OF_ENVIRONMENT)
    assert "|r(gs, ga) − r(s, a)|0.2500.1500.200" in page.sections["errors"]
    assert "εR0.200difference of rewards, beyond the model's error" in page.text
    assert "It holds on states that random actions visit" in page.sections["bound"]
    assert "episodes end alike, which was not judged" in page.sections["bound"]


@pytest.mark.parametrize("kind", ["network", "environment"])
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1.0, 0, 1e300])
def test_any_figure_may_be_missing_or_anything(
    kind: str, value: float | int | None, written: Written, request: pytest.FixtureRequest
) -> None:
    record = request.getfixturevalue(kind)

    def change(part: Any) -> None:
        for key, entry in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(entry, float):
                part[key] = value
            elif isinstance(entry, dict | list):
                change(entry)

    change(record["check"])
    page = written(record)
    page.assert_well_formed(OF_NETWORK if kind == "network" else OF_ENVIRONMENT)
    assert "None" not in page.text
    places = [x for key in ("x", "cx", "width") for x in page.attributes(key)]
    assert {"nan", "inf", "-inf"}.isdisjoint(places)


@pytest.mark.parametrize("kind", ["network", "environment"])
def test_any_part_may_be_missing_or_none(
    kind: str, written: Written, request: pytest.FixtureRequest
) -> None:
    record = request.getfixturevalue(kind)
    sections = OF_NETWORK if kind == "network" else OF_ENVIRONMENT
    kept = {"environment": record["check"].get("environment")}
    names = list(record["check"])
    for missing, none in zip(names[::2], [*names[1::2], names[0]], strict=False):
        without = {key: each for key, each in record["check"].items() if key != missing}
        check = {**without, none: None, **kept}
        written({**record, "check": check}).assert_well_formed(sections)
    written({"check": kept}).assert_well_formed(sections)
    written({}).assert_well_formed(OF_NETWORK)


@pytest.mark.parametrize("kind", ["network", "environment"])
def test_hostile_strings_stay_text(
    kind: str, hostile: str, written: Written, request: pytest.FixtureRequest
) -> None:
    record = request.getfixturevalue(kind)

    def change(part: Any) -> None:
        for key, entry in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(entry, str):
                part[key] = hostile
            elif isinstance(entry, dict | list):
                change(entry)

    change(record)
    page = written(record)
    page.assert_runs_only_its_own()
    assert "img" not in {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize("kind", ["network", "environment"])
def test_control_characters_are_written_as_escapes(
    kind: str, written: Written, request: pytest.FixtureRequest
) -> None:
    record = request.getfixturevalue(kind)
    steering = "\x00\x07\x1b[2J\u202e"
    record["check"].update(group=steering, environment=steering if kind != "network" else None)
    record["config"][steering] = steering
    record["warnings"].append(steering)
    text = written(record).text
    assert r"\x00\x07\x1b[2J\u202e" in text
    assert not set("\x00\x07\x1b\u202e") & set(text)


def test_rounding_that_hides_is_not_called_random(network: Any, written: Written) -> None:
    network["check"].update(verdict="unclear", error=1.4, rounding=1.9)
    page = written(network)
    assert "A symmetry under C4?Unclearrounding hides it" in page.text
    assert "Mean error1.40rounding may explain 1.90" in page.text
    assert "random numbers" not in page.text


@pytest.mark.parametrize("count", [1, 200])
def test_one_element_or_hundreds_fit_on_a_page(count: int, network: Any, written: Written) -> None:
    row = network["check"]["elements"][1]
    network["check"]["elements"] = [{**row, "element": f"r^{k}"} for k in range(count)]
    page = written(network)
    page.assert_well_formed(OF_NETWORK)
    assert "r⁰" in page.sections["elements"]


def test_the_same_record_gives_the_same_bytes(tmp_path: Path, network: Any) -> None:
    first = write_check_page(tmp_path / "a.html", network).read_bytes()
    assert first == write_check_page(tmp_path / "b.html", copy.deepcopy(network)).read_bytes()


def test_a_part_of_another_type_is_refused_by_its_name(tmp_path: Path, network: Any) -> None:
    network["check"]["wrong_groups"] = 3
    with pytest.raises(OrbitLensError, match=r"`check\.wrong_groups`: expected a record"):
        write_check_page(tmp_path / "a.html", network)
    assert list(tmp_path.iterdir()) == []
