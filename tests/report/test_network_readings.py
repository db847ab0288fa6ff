"""The sentences of a network's page say what the figures say."""

from typing import Any

import pytest

from orbitlens.report.network._readings import headlines, lead, notices, title

NAN = float("nan")


def test_the_lead_counts_verdicts_and_names_growth_and_fall(network: dict[str, Any]) -> None:
    layers = network["layers"]
    layers[2].update(r2=0.86, verdict="partly equivariant")
    layers[3].update(verdict="invariant")
    assert lead(network) == (
        "2 of 4 layers move as a representation of C4, 1 in part; 1 is invariant. "
        "The share of energy that C4 leaves unchanged grows from 3.0% at encoder.0 to 93.0% at "
        "head. From one layer to the next, R² falls most at pool, from 0.980 to 0.860. "
        "Every figure is on 359 held-out of 1,797 inputs (digits)."
    )


@pytest.mark.parametrize(
    ("shares", "says"),
    [((0.5, 0.505), "about the same"), ((0.9, 0.1), "shrinks from 90.0%"), ((0.1, 0.9), "grows")],
)
def test_invariance_grows_shrinks_or_stays(shares: tuple[float, float], says: str) -> None:
    layers = [{"layer": "ab"[i], "spectrum": [1 - s, s]} for i, s in enumerate(shares)]
    irreps = [{"name": "1d#1"}, {"name": "trivial"}]
    assert says in lead({"layers": layers, "group": {"irreps": irreps}})


def test_a_small_fall_is_none_and_a_rise_is_not_mentioned() -> None:
    assert "never falls by more than 0.02" in lead({"layers": [{"r2": 0.98}, {"r2": 0.97}]})
    assert "falls" not in lead({"layers": [{"r2": 0.9}, {"r2": None}, {"r2": 0.97}]})


def test_below_0_nothing_is_explained_so_there_is_no_fall_to_it() -> None:
    layers = [
        {"layer": name, "r2": r2} for name, r2 in zip("abcd", (0.9, 0.8, -3.0, 0.5), strict=True)
    ]
    assert "falls most at b, from 0.900 to 0.800" in lead({"layers": layers})
    (_, fall) = headlines({"layers": layers})
    assert (fall.title, fall.value) == ("Largest fall of R²", "0.100")
    layers[1]["r2"] = 0.895
    assert "where it is above 0" in lead({"layers": layers})
    costs = notices({"layers": [{"layer": "c", "r2": -3.0, "free_r2": -1.0}]})
    assert costs == []


def test_what_is_not_known_is_left_out() -> None:
    assert lead({}) == "No layer was measured."
    assert lead({"layers": [{"layer": "a"}]}) == "1 layer was measured."
    assert title({}) == "How a network moves under the group"
    assert headlines({"layers": [{"layer": "a", "r2": NAN}]}) == []


def test_one_layer_is_described_in_the_singular() -> None:
    record = {"layers": [{"layer": "a", "verdict": "equivariant"}], "group": {"name": "C4"}}
    assert lead(record) == "1 of 1 layer moves as a representation of C4."


def test_headlines_give_the_number_and_its_context(network: dict[str, Any]) -> None:
    network["layers"][1].update(r2=0.5, identity_r2=NAN)
    lines = [(line.title, line.value, line.context) for line in headlines(network)]
    assert lines == [
        ("Equivariant layers", "4 of 4", "1 skipped"),
        (
            "R² of the exact transport",
            "0.980",
            "median layer; 0.130 without a transport; −0.900 with shuffled elements",
        ),
        ("Energy that does not move", "3% → 93%", "from encoder.0 to head"),
        ("Largest fall of R²", "0.480", "at encoder.1: from 0.980 to 0.500"),
    ]


def test_figures_without_fault_need_no_notice(network: dict[str, Any]) -> None:
    assert notices(network) == []


def test_what_casts_doubt_is_said(network: dict[str, Any]) -> None:
    first, second, third, fourth = network["layers"]
    network["action"].update(exact=False, error=0.031)
    first.update(free_r2=0.95, r2=0.9, rank=29)
    second.update(kept_variance=0.97, dim=256, rank=256, width=1024, free_r2=0.999, r2=0.8)
    third.update(control_r2=0.99)
    fourth.update(r2=float("-inf"))
    assert notices(network)[1:] == [
        "At 2 layers the exact transport loses more than 0.02 of R² to the unconstrained one: "
        "encoder.1 (0.199), encoder.0 (0.050)",
        "At 1 layer some directions carry no variance, and the transport does not move them: "
        "encoder.0 (3 of 32)",
        "At 1 layer the measured directions hold less than 99% of the variance: "
        "encoder.1 (97.0% in 256)",
        "At 1 layer R² is no higher than with shuffled elements, so it says nothing about the "
        "group: pool",
        "At 1 layer R² of the exact transport is not a finite number: head",
    ]
    assert "3.1%" in notices(network)[0]


def test_an_invariant_layer_is_as_good_with_shuffled_elements(network: dict[str, Any]) -> None:
    network["layers"][3].update(verdict="invariant", control_r2=0.98)
    assert notices(network) == []


def test_of_many_layers_five_are_named(network: dict[str, Any]) -> None:
    network["layers"] = [{**network["layers"][0], "layer": f"l{i}", "rank": 1} for i in range(9)]
    (line,) = notices(network)
    assert line.startswith("At 9 layers")
    assert line.endswith("l4 (31 of 32), …")
