"""What is doubtful about a record is said once, with what to do."""

from typing import Any

import pytest

from orbitlens.report import (
    layer_doubts,
    network_doubts,
    run_doubts,
    sae_doubts,
    split_doubts,
    transport_doubts,
)


def test_a_good_run_and_a_good_network_leave_no_doubt(
    metrics: dict[str, Any], network: dict[str, Any]
) -> None:
    assert run_doubts(metrics) == []
    assert network_doubts(network) == []
    assert run_doubts({}) == network_doubts({}) == []


@pytest.mark.parametrize(("held_out", "count"), [(49, 1), (50, 0), (None, 0), (1, 1)])
def test_fewer_than_50_held_out_orbits_are_few(held_out: int | None, count: int) -> None:
    doubts = split_doubts(held_out)
    assert len(doubts) == count
    assert all("give at least 250" in doubt for doubt in doubts)


@pytest.mark.parametrize(
    ("variation", "says"), [(0.0, "they are constant"), (1e-9, "of their energy"), (1e-5, "")]
)
def test_a_layer_that_hardly_varies_says_nothing(variation: float, says: str) -> None:
    doubts = layer_doubts("encoder", variation)
    assert bool(doubts) == bool(says)
    assert all(says in doubt and "choose another layer" in doubt for doubt in doubts)


def test_a_transport_below_0_explains_nothing() -> None:
    assert transport_doubts({"r2": 0.0, "variable": 3}) == []
    (doubt,) = transport_doubts({"r2": -0.1, "variable": 3})
    assert "explains nothing" in doubt
    (doubt,) = transport_doubts({"r2": None, "variable": 0})
    assert "no direction" in doubt


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"status": "diverged"}, "Vanilla: training diverged"),
        ({"status": "completed", "loss_blew_up": True}, "Vanilla: training blew up"),
        ({"loss_still_falls": True}, "give more --epochs"),
        ({"normalised_mse": 1.01}, "explain nothing"),
        ({"normalised_mse": 0.2, "transported_normalised_mse": 1.3}, "is −0.300"),
        ({"d_sae": 30, "dead_latents": 11}, "11 of 30 latents never fire"),
        ({"d_sae": 64, "alike_atoms": 1}, "1 pair of atoms is alike"),
        ({"d_sae": 800, "atoms": 200, "alike_atoms": 3}, "3 pairs of atoms are alike"),
    ],
)
def test_each_doubt_about_an_sae_says_what_to_do(figures: dict[str, Any], says: str) -> None:
    (doubt,) = sae_doubts("vanilla", figures)
    assert doubt.startswith("Vanilla: ")
    assert says in doubt
    assert "; give " in doubt


@pytest.mark.parametrize(
    "figures",
    [
        {},
        None,
        {"d_sae": 30, "dead_latents": 10},
        {"normalised_mse": 1.0},
        {"d_sae": 800, "atoms": 200, "alike_atoms": 2},
        {"loss_still_falls": None, "alike_atoms": None, "d_sae": None},
    ],
)
def test_what_is_usual_or_unknown_is_no_doubt(figures: dict[str, Any] | None) -> None:
    assert list(sae_doubts("vanilla", figures)) == []


def test_layers_of_one_doubt_share_a_sentence(network: dict[str, Any]) -> None:
    network["inputs"]["held_out"] = 10
    network["layers"][1]["r2"] = network["layers"][2]["r2"] = -0.2
    network["layers"][3]["rank"] = 0
    few, constant, nothing = network_doubts(network)
    assert "10 of them" in few
    assert constant.startswith("1 of 4 rows (head): the activations are constant")
    assert nothing.startswith("2 of 4 rows (encoder.1, pool): R² of the exact transport is below 0")


def test_groups_of_one_layer_are_told_apart() -> None:
    rows = [{"layer": "pool", "group": name, "r2": r2} for name, r2 in (("C2", 0.9), ("C4", -1.0))]
    (doubt,) = network_doubts({"ranking": rows})
    assert "(pool under C4)" in doubt
