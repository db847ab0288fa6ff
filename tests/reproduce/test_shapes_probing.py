"""The tables of probing on Shapes, by hand."""

from typing import Any

import pytest

from orbitlens.reproduce.shapes_probing import chosen_tasks, order_table, probing_table


def record(sae: str, orientation: str, f1: float, **other: Any) -> dict[str, Any]:
    row = {"topk": 4, "probe_latents": 2, "group": "C4", "task": "S", "model": "mlp", "seed": 0}
    return {**row, "sae": sae, "orientation": orientation, "f1": f1, **other}


RECORDS = [
    record("vanilla", "none", 0.2),
    record("vanilla", "none", 0.4, model="cnn"),
    record("vanilla_wide", "none", 0.5),
    record("vanilla_wide", "none", 0.7, model="cnn"),
    record("equivariant_latent", "oracle", 0.6),
    record("equivariant_latent", "oracle", 0.5, model="cnn"),
    record("equivariant_latent", "inferred", 0.3),
    record("equivariant_latent", "inferred", 0.1, model="cnn"),
    {"sae": "vanilla", "normalised_mse": 0.1},
]


def test_a_mean_is_over_networks_and_an_sae_without_transport_stands_under_both_orientations() -> (
    None
):
    table = {
        (row["sae"], row["model"], row["orientation"]): row["f1_mean"]
        for row in probing_table(RECORDS)
    }
    assert table["vanilla", "mean", "oracle"] == pytest.approx(0.3)
    assert table["vanilla", "mean", "inferred"] == pytest.approx(0.3)
    assert table["vanilla", "cnn", "oracle"] == 0.4
    assert table["equivariant_latent", "mean", "oracle"] == pytest.approx(0.55)
    assert table["equivariant_latent", "mean", "inferred"] == pytest.approx(0.2)


def test_the_order_is_asked_of_all_baselines_and_of_those_of_equal_width() -> None:
    table = {(row["orientation"], row["model"]): row for row in order_table(RECORDS)}
    assert len(table) == 6
    verdicts = {key: (row["holds"], row["holds_equal_width"]) for key, row in table.items()}
    assert verdicts["oracle", "mlp"] == (True, True)
    assert verdicts["oracle", "mean"] == (False, True)
    assert verdicts["inferred", "mean"] == (False, False)
    assert table["oracle", "mean"]["highest_baseline"] == "vanilla_wide"


def test_a_row_without_equivariant_saes_has_no_order() -> None:
    assert order_table([record("vanilla", "none", 0.2)]) == []


def test_chosen_tasks_are_spread_over_the_families_and_always_the_same() -> None:
    families = ["S"] * 8 + ["SO"] * 28 + ["SP"] * 32 + ["SPO"] * 112
    chosen = chosen_tasks(families, 3)
    assert chosen == sorted(set(chosen)) == chosen_tasks(families, 3)
    counts = {name: sum(families[task] == name for task in chosen) for name in set(families)}
    assert counts == {"S": 4, "SO": 10, "SP": 11, "SPO": 38}
    assert chosen_tasks(families, 1) == list(range(180))
