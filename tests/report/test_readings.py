"""The sentences say what the figures say."""

import re
from typing import Any

import pytest
import torch

from orbitlens.report import FeatureCard
from orbitlens.report._notation import element_label, sae_styles
from orbitlens.report._readings import (
    best_sae,
    feature_reading,
    final_error,
    headlines,
    notices,
    summary,
    transport_readings,
    turning_reading,
)


@pytest.mark.parametrize(
    ("r2", "identity_r2", "says"),
    [
        (0.99, 0.3, "predicts how"),
        (0.99, 0.97, "close to invariant"),
        (0.7, 0.69, "adds little"),
        (0.2, 0.1, "with care"),
    ],
)
def test_transport_is_read_by_r2(r2: float, identity_r2: float, says: str) -> None:
    (sentence,) = transport_readings({"r2": r2, "identity_r2": identity_r2})
    assert says in sentence


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (1e-6, "undoes each"),
        (0.05, "almost multiply as the group does: .* at most 5.0%"),
        (0.87, "do not multiply as the group does: .* up to 87.0%"),
    ],
)
def test_relation_error_is_read_in_plain_words(error: float, says: str) -> None:
    (sentence,) = transport_readings({"relation_error": error})
    assert re.search(says, sentence)


def test_figures_that_are_not_finite_are_not_read() -> None:
    assert (
        transport_readings({"r2": float("nan"), "identity_r2": 0.1, "relation_error": None}) == []
    )


def test_each_sae_is_judged_by_what_it_gives_in_the_end() -> None:
    saes: dict[str, Any] = {
        "vanilla": {"normalised_mse": 0.06, "transported_normalised_mse": None},
        "a": {"normalised_mse": 0.01, "transported_normalised_mse": 0.05},
        "b": {"normalised_mse": 0.9, "transported_normalised_mse": 0.02, "status": "diverged"},
        "c": {"normalised_mse": 0.9, "transported_normalised_mse": 0.04, "status": "completed"},
    }
    assert best_sae(saes) == "c"
    assert best_sae({**saes, "orbit": {"normalised_mse": 0.03}}) == "orbit"
    assert best_sae({"vanilla": saes["vanilla"]}) == "vanilla"
    assert best_sae({"b": saes["b"], "d": None}) is None


def test_what_each_kind_of_sae_promises_has_its_headline() -> None:
    saes: dict[str, Any] = {
        "vanilla": {"normalised_mse": 0.2},
        "a": {"transported_normalised_mse": 0.1, "orientation_accuracy": 0.8},
        "b": {"transported_normalised_mse": 0.3, "orientation_accuracy": 0.9},
        "orbit": {"normalised_mse": 0.05, "moved_codes": 0.97},
    }
    lines = [
        (line.title, line.value, line.context)
        for line in headlines({"saes": saes}, sae_styles(saes))
    ]
    assert lines == [
        ("Lowest normalised MSE", "0.0500", "Orbit; vanilla 0.200"),
        ("Orientation found", "90.0%", "of samples, by b"),
        ("Codes that move as predicted", "97.0%", "of codes, by Orbit"),
    ]


def test_a_run_with_a_vanilla_sae_alone_has_its_headline() -> None:
    saes = {"vanilla": {"normalised_mse": 0.123}}
    (line,) = headlines({"saes": saes}, sae_styles(saes))
    assert (line.title, line.value, line.context) == ("Lowest normalised MSE", "0.123", "Vanilla")


def test_the_summary_leaves_out_what_is_not_known(metrics: dict[str, Any]) -> None:
    metrics["model"]["dim"] = None
    metrics["data"]["held_out"] = None
    sentence = summary(metrics)
    assert "trained on activations of layer encoder of shapes-mlp" in sentence
    assert "None" not in sentence
    assert "held-out" not in sentence


def test_a_summary_of_one_sae_is_in_the_singular() -> None:
    record = {
        "saes": {"vanilla": {}},
        "group": {"name": "C2", "elements": ["e", "r"]},
        "data": None,
    }
    assert summary(record) == (
        "1 sparse autoencoder was trained on activations along the orbits of C2 (2 elements)."
    )


def test_the_transport_completes_an_sae() -> None:
    both = {"normalised_mse": 0.9, "transported_normalised_mse": 0.1}
    assert final_error(both) == (0.1, "transported_normalised_mse")
    assert final_error({}) == (None, "normalised_mse")


def test_an_sae_that_explains_nothing_is_neither_best_nor_in_a_headline() -> None:
    saes: dict[str, Any] = {
        "a": {"transported_normalised_mse": 1.2, "orientation_accuracy": 0.9},
        "b": {"transported_normalised_mse": 1.1, "orientation_accuracy": 0.8},
    }
    assert best_sae(saes) is None
    assert headlines({"saes": saes}, sae_styles(saes)) == []
    saes["c"] = {"transported_normalised_mse": 0.9, "orientation_accuracy": 0.3}
    assert best_sae(saes) == "c"
    assert [line.value for line in headlines({"saes": saes}, sae_styles(saes))] == [
        "0.900",
        "30.0%",
    ]


def test_a_transport_that_explains_nothing_is_called_so() -> None:
    (line,) = transport_readings({"r2": -0.3, "identity_r2": -0.9})
    assert "explain nothing" in line


def test_what_a_reader_should_know_is_said(metrics: dict[str, Any]) -> None:
    assert notices(metrics) == []
    metrics["action"].update(exact=False, error=0.031)
    metrics["data"]["skipped"] = [f"{i}.png" for i in range(7)]
    metrics["notes"] = ["The weights are random."]
    lines = notices(metrics)
    assert lines[0] == "The weights are random."
    assert "3.1%" in lines[1]
    assert lines[2].startswith("7 of the files")
    assert lines[2].endswith("4.png, …")


def card(*rates: float) -> FeatureCard:
    order = len(rates)
    images, activations = torch.zeros(order, 1, 1, 2, 2), torch.zeros(order, 1)
    return FeatureCard("vanilla", 0, torch.tensor(rates), images, activations)


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ((0.30, 0.29, 0.31, 0.30), "about equally"),
        ((0.30, 0.0, 0.31, 0.0), "mostly under e, r²"),
        ((0.30, 0.3, 0.31, 0.1), "in some orientations"),
    ],
)
def test_a_feature_is_read_by_where_it_fires(rates: tuple[float, ...], says: str) -> None:
    assert says in feature_reading(card(*rates), ["e", "r", "r^2", "r^3"])


def test_a_feature_without_a_group_is_read_by_how_often_it_fires() -> None:
    assert feature_reading(card(0.25), ["e"]) == "fires on 25.0% of samples"


def test_the_five_saes_of_a_run_look_the_same_on_every_page() -> None:
    paper = [f"equivariant_{kind}" for kind in ("canonical", "latent", "output")]
    names = ["vanilla", *paper, "orbit"]
    all_five = sae_styles(names)
    assert [style.slot for style in all_five.values()] == [0, 1, 2, 3, 4]
    for name in names:
        assert sae_styles(["mine", name, "yours"])[name] == all_five[name]
    others = sae_styles(["mine", "yours"])
    assert others["mine"].label == "mine"
    assert others["mine"].slot != others["yours"].slot


def test_powers_become_superscripts_and_nothing_else_changes() -> None:
    assert element_label("r^12 s") == "r¹² s"
    assert element_label("x^-1") == "x⁻¹"
    assert element_label("rho2") == "rho2"


ROW: dict[str, Any] = {
    "feature": 3,
    "word": "turns with the image",
    "share": 0.93,
    "low": 0.9,
    "high": 0.95,
    "turns": 0.93,
    "stays": 0.2,
    "by_chance": 0.1,
    "inputs": 213,
    "firing_rate": 0.3,
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {},
            "Turns with the image: 93.0% of its strength moves as predicted "
            "(95% interval 90.0% to 95.0%); 213 inputs.",
        ),
        (
            {"word": "moves with the input"},
            "Moves with the input: 93.0% of its strength moves as predicted "
            "(95% interval 90.0% to 95.0%); 213 inputs.",
        ),
        (
            {"word": "invariant", "stays": 0.93, "turns": 0.2, "inputs": 1},
            "Invariant: 93.0% of its strength stays when the input moves "
            "(95% interval 90.0% to 95.0%); 1 input.",
        ),
        (
            {"word": "neither"},
            "Neither: 93.0% of its strength moves as predicted (95% interval 90.0% to 95.0%), "
            "20.0% stays; 213 inputs.",
        ),
        (
            {"word": "neither", "stays": 0.93, "turns": 0.2},
            "Neither: 93.0% of its strength stays when the input moves (95% interval 90.0% to "
            "95.0%), 20.0% moves as predicted; 213 inputs.",
        ),
        (
            {"word": "too few to tell", "share": None, "low": None, "high": None, "inputs": 4},
            "Too few to tell what it does: it fires on the orbits of 4 inputs.",
        ),
    ],
)
def test_a_feature_is_read_by_what_its_codes_do(changes: dict[str, Any], says: str) -> None:
    assert turning_reading({**ROW, **changes}) == says


def test_a_feature_of_an_earlier_version_says_nothing_of_its_codes() -> None:
    assert turning_reading({}) == ""
