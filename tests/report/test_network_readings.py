"""The sentences of a network's page say what the figures say."""

from typing import Any

import pytest

from orbitlens.report.network._readings import headlines, lead, notices, title

NAN = float("nan")


def test_the_lead_counts_verdicts_and_names_growth_and_fall(network: dict[str, Any]) -> None:
    layers = network["layers"]
    layers[2].update(r2=0.86, verdict="mostly equivariant")
    layers[3].update(verdict="exactly invariant")
    assert lead(network) == (
        "Of 4 layers under C4, 2 are nearly equivariant, 1 mostly; 1 exactly invariant. "
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
    record = {"layers": [{"layer": "a", "verdict": "weakly invariant"}], "group": {"name": "C4"}}
    assert lead(record) == "Of 1 layer under C4, 1 is weakly invariant."


def test_headlines_give_the_number_and_its_context(network: dict[str, Any]) -> None:
    network["layers"][1].update(r2=0.5, identity_r2=NAN)
    lines = [(line.title, line.value, line.context) for line in headlines(network)]
    assert lines == [
        ("Exactly or nearly equivariant", "4 of 4", "1 skipped"),
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


def test_each_verdict_is_counted_by_its_lower_word() -> None:
    verdicts = (
        "exactly equivariant",
        "nearly to exactly equivariant",
        "partly to mostly equivariant",
        "weakly invariant",
        "none",
        "none, worse than the mean",
    )
    layers = [{"layer": str(i), "verdict": v, "after": []} for i, v in enumerate(verdicts)]
    record = {"layers": layers, "group": {"name": "C4"}}
    assert lead(record).startswith(
        "Of 6 layers under C4, 1 is exactly equivariant, 1 nearly, 1 partly; 1 weakly invariant; "
        "2 neither."
    )
    (first, *_) = headlines(record)
    assert (first.value, first.context) == ("2 of 6", "1 partly, 1 invariant, 2 neither")


def two_heads() -> list[dict[str, Any]]:
    """A trunk of two layers, a head of two layers, and a head of one."""
    after = {"stem": [], "trunk": ["stem"], "a.0": ["trunk"], "a.1": ["a.0"], "b": ["trunk"]}
    r2 = {"stem": 1.0, "trunk": 0.9, "a.0": 0.85, "a.1": 0.95, "b": 0.7}
    return [{"layer": name, "after": a, "r2": r2[name]} for name, a in after.items()]


def test_parallel_heads_are_compared_with_the_trunk_and_not_with_each_other() -> None:
    layers = two_heads()
    text = lead({"layers": layers})
    assert "ends in 2 parallel branches: a.1 and b." in text
    assert "R² falls most at b, from 0.900 to 0.700" in text
    layers[-1]["r2"] = 0.88
    assert "R² falls most at trunk, from 1.000 to 0.900" in lead({"layers": layers})


def test_where_branches_join_nothing_is_lost_that_one_of_them_lacks() -> None:
    layers = two_heads()
    layers.append({"layer": "join", "after": ["a.1", "b"], "r2": 0.69})
    assert "falls most at b, from 0.900" in lead({"layers": layers})
    assert "parallel" not in lead({"layers": layers})


def test_a_layer_without_a_figure_is_passed_over_along_its_branch() -> None:
    layers = two_heads()
    layers[2]["r2"] = layers[3]["r2"] = None
    layers.append({"layer": "a.2", "after": ["a.1"], "r2": 0.5})
    assert "falls most at a.2, from 0.900 to 0.500" in lead({"layers": layers})


def test_each_end_of_a_network_has_its_share_that_does_not_move() -> None:
    layers = two_heads()
    for layer, share in zip(layers, (0.1, 0.2, 0.3, 0.75, 0.5), strict=True):
        layer["spectrum"] = [share, 1 - share]
    record = {"layers": layers, "group": {"irreps": [{"name": "trivial"}, {"name": "1d#1"}]}}
    assert "leaves unchanged is 10.0% at stem, 75.0% at a.1 and 50.0% at b." in lead(record)
    line = next(line for line in headlines(record) if "Energy" in line.title)
    assert (line.value, line.context) == ("10% → 50% to 75%", "from stem to the 2 ends")


def test_an_order_that_could_not_be_found_is_said_and_taken_as_successive() -> None:
    layers = [{"layer": name, "after": None, "r2": r2} for name, r2 in (("a", 0.9), ("b", 0.5))]
    assert "falls most at b, from 0.900 to 0.500" in lead({"layers": layers})
    assert "could not be found which layers feed which" in notices({"layers": layers})[0]
