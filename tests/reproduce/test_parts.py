"""The code that recipes share, on small cases."""

import numpy as np
import torch

import orbitlens as ol
from orbitlens.reproduce import (
    COLUMNS,
    Comparison,
    build_column,
    centroids,
    column_objective,
    compare,
    comparison_lines,
    locate,
    names,
    oriented_reconstruction,
    summarise,
)


def test_centroids_are_as_many_as_asked_for() -> None:
    toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=50, seed=0)
    store = ol.store_from_array(toy.orbits, group=toy.group)
    assert centroids(store, np.arange(40), 4, seed=0).shape == (4, 16)


def test_mean_and_standard_error_of_two() -> None:
    records = [{"sae": "a", "f1": 1.0}, {"sae": "a", "f1": 3.0}]
    expected = [{"sae": "a", "f1_mean": 2.0, "f1_stderr": 1.0, "n": 2}]
    assert summarise(records, ["sae"], {"f1": "stderr"}) == expected


def test_a_wide_column_has_four_times_the_latents() -> None:
    assert build_column(COLUMNS["vanilla_wide"], 16, 8, 3, hidden=64, group_order=4).d_sae == 32


def test_an_orbit_column_without_weight_reconstructs() -> None:
    assert column_objective(COLUMNS["orbit"], 0.0).__name__ == "reconstruction"


def test_an_oriented_reconstruction_is_one_row_per_sample() -> None:
    toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=50, seed=0)
    rho = ol.fit_transport(ol.store_from_array(toy.orbits, group=toy.group))
    column, turned = COLUMNS["equivariant_canonical"], torch.ones(50, dtype=torch.long)
    sae = build_column(column, 16, 8, 3, hidden=64, group_order=4)
    moved = oriented_reconstruction(column, sae, toy.orbits, turned, rho)
    torch.testing.assert_close(moved, rho(sae(toy.orbits[:, 1]).x_hat, turned))


def test_a_mean_above_both_spreads_is_better() -> None:
    ours = [{"sae": "a", "canonical": "random", "f1_mean": 0.5, "f1_std": 0.1}]
    paper = [{"sae": "a", "f1_mean": 0.3, "f1_std": 0.05}]
    assert compare(ours, paper, where={"canonical": "random"})[0].verdict == "better"


def test_a_line_of_a_comparison() -> None:
    same = Comparison({"sae": "a"}, "f1", 0.5, 0.1, 0.45, 0.1, "within the spread")
    line = "a f1    0.500 +- 0.100    0.450 +- 0.100    +0.050  within the spread"
    assert comparison_lines([same])[1] == line


def test_recipes_are_found_by_name() -> None:
    assert "toy" in names()
    assert locate("toy").name == "toy"
