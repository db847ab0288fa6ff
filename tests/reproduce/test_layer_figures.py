"""The layer report of symmetrized networks: means over frames, and networks as they are."""

import pytest
import torch
from torch import Tensor, nn

from orbitlens.actions import own, relabelling, set_permutation
from orbitlens.errors import OrbitLensError
from orbitlens.models import LiftingLinear
from orbitlens.reproduce import layer_figures, layer_table
from orbitlens.reps import direct_sum, irreps, regular
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


class _Half(nn.Module):
    """Sets the first four numbers to zero, as if the units had died."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x[:, :4]), x[:, 4:]], dim=1)


def lifted() -> nn.Sequential:
    """Vectors to two functions on C4, and to one of them alone."""
    layer = LiftingLinear(irreps("C4")[-1], 2)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for each in layer.parameters():
            each.normal_()
    return nn.Sequential(layer, nn.ReLU(), _Half()).double()


def turned(x: Tensor, g: int) -> Tensor:
    return x @ irreps("C4")[-1].matrices[g].T.to(x.dtype)


def test_the_representation_that_is_found_stands_beside_the_promised_one() -> None:
    model, action = lifted(), own("C4", turned, example=clouds()[:8, 0])
    two = direct_sum(regular("C4"), regular("C4"))
    promised = {"given": two, "counted": (2, 2, 2), "less": (1, 1, 1), "dead": two}
    layers = {**dict.fromkeys(["given", "counted", "less", "none"], model[1]), "dead": model[2]}
    rows = layer_figures(
        model, layers, inputs=clouds()[:, 0].double(), action=action, promised=promised
    )
    found = {row["layer"]: row for row in rows}
    agreements = {name: row["agrees"] for name, row in found.items()}
    assert agreements == {
        "given": "yes",
        "counted": "yes",
        "less": "no",
        "none": None,
        "dead": "a part of it",
        "prediction": None,
    }
    assert found["given"]["representation"] == "2 copies of the regular representation"
    assert found["dead"]["representation"] == "1 copy of the regular representation"
    assert found["dead"]["promised"] == "2 copies of the regular representation"
    assert (found["given"]["rank"], found["dead"]["rank"]) == (8, 4)
    assert found["less"]["promised"] == "1 copy of the regular representation"


def test_promises_that_cannot_be_kept_are_refused() -> None:
    found, action = network(), set_permutation("S3")
    for promised, told in (
        ({"hiden": (1, 1, 1)}, "layer in `promised`.*did you mean"),
        ({"hidden": (1, 1)}, "3 numbers, for trivial, 1d#1, 2d#1"),
        ({"hidden": regular("C4")}, "expected a representation of S3, received one of C4"),
    ):
        with pytest.raises(OrbitLensError, match=told):
            layer_figures(
                found, {"hidden": found[1]}, inputs=clouds(), action=action, promised=promised
            )


def test_the_table_names_what_was_found_and_what_was_promised() -> None:
    figures = {"identity_r2": 1.0, "control_r2": 0.0, "r2": 1.0, "verdict": "exactly"}
    figures |= {"relation_error": 0.5, "rank": 4, "promised": None, "agrees": None}
    records = [
        {"layer": "h", **figures, "representation": "1 x trivial"},
        {"layer": "h", **figures, "representation": "2 x trivial", "promised": "p", "agrees": "no"},
    ]
    (row,) = layer_table(records, by=[])
    assert row["representation"] == "1 x trivial; 2 x trivial"
    assert (row["promised"], row["agrees"], row["rank"]) == ("p", "no", "4")
