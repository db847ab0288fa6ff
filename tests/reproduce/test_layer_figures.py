"""The layer report of symmetrized networks: means over frames, and networks as they are."""

import pytest
import torch
from torch import Tensor, nn

from orbitlens.actions import relabelling, set_permutation
from orbitlens.reproduce import layer_figures, layer_table
from orbitlens.symmetry import symmetrize


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))


def clouds() -> Tensor:
    return torch.randn(80, 3, 2, generator=torch.Generator().manual_seed(0))


def test_means_over_many_frames_are_invariant_and_single_layers_are_not() -> None:
    found, action = network(), relabelling(3, pairs=False)
    plain = layer_figures(
        found, {"hidden": found[1]}, inputs=clouds(), action=set_permutation("S3")
    )
    model = symmetrize(found, action, "average", n_samples=100)
    means = layer_figures(
        model, {"hidden": found[1]}, inputs=clouds(), action=set_permutation("S3")
    )
    assert [row["layer"] for row in plain] == ["hidden", "prediction"]
    assert all(row["identity_r2"] < 0.5 for row in plain)
    assert all(row["identity_r2"] > 0.9 for row in means)
    assert all(row["verdict"].endswith("invariant") for row in means)


def test_the_network_is_left_without_hooks() -> None:
    found = network()
    layer_figures(found, {"hidden": found[1]}, inputs=clouds(), action=set_permutation("S3"))
    assert not any(module._forward_hooks for module in found.modules())


def test_the_table_has_means_over_seeds_and_each_verdict_once() -> None:
    figures = {"identity_r2": 1.0, "control_r2": 0.0}
    records = [
        {"arm": "a", "layer": "h", "r2": 0.25, "verdict": "exactly", **figures},
        {"arm": "a", "mse": 3.0},
        {"arm": "a", "layer": "h", "r2": 0.75, "verdict": "nearly", **figures},
        {"arm": "a", "layer": "h", "r2": 0.5, "verdict": "exactly", **figures},
    ]
    (row,) = layer_table(records, by=["arm"])
    assert row["r2_mean"] == pytest.approx(0.5)
    assert row["r2_std"] == pytest.approx(0.25)
    assert (row["arm"], row["layer"], row["n"]) == ("a", "h", 3)
    assert row["verdicts"] == "exactly; nearly"
