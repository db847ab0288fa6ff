"""How far layers have left their symmetry: hand-worked cases, and where the penalties are zero."""

import math

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.reps import regular
from orbitlens.symmetry.relax._largest_spread import largest_spread
from orbitlens.symmetry.relax.relaxation import (
    group_penalty,
    relaxation_penalty,
    relaxation_spread,
    tap_penalty,
)
from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear, RelaxedLiftingLinear
from orbitlens.symmetry.relax.relaxed_steerable import RelaxedSteerableConv2d
from orbitlens.symmetry.relax.use import SymmetryUse, symmetry_uses

NAMES = ("C1", "C2", "C4", "D4", "S3")


def test_the_spread_is_the_largest_weight_less_the_smallest() -> None:
    weights = torch.tensor([[1.0, 0.5, 0.25, 1.0], [2.0, 2.0, 2.0, 2.0]])
    assert relaxation_spread(weights).tolist() == [0.75, 0.0]


def test_the_penalty_of_a_group_is_the_mean_over_its_neighbours() -> None:
    # Round the four turns: 0 - 1 - 3 - 6 - 0.
    weights = torch.tensor([[0.0, 1.0, 3.0, 6.0]])
    assert group_penalty(weights, "C4").item() == (1 + 2 + 3 + 6) / 4


def test_the_penalty_of_taps_is_the_mean_over_rows_and_columns() -> None:
    weights = torch.tensor([[[0.0, 1.0, 3.0], [0.0, 1.0, 7.0]]])
    assert tap_penalty(weights).item() == pytest.approx((1 + 2 + 1 + 6 + 0 + 0 + 4) / 7)
    assert tap_penalty(torch.ones(2, 1, 1)).item() == 0


@settings(max_examples=30)
@given(st.sampled_from(NAMES), st.integers(0, 100))
def test_penalties_are_zero_at_constant_weights_and_nowhere_else(name: str, seed: int) -> None:
    group = groups.from_name(name)
    weights = torch.randn(2, group.order, generator=torch.Generator().manual_seed(seed))
    constant = weights[:, :1].expand_as(weights)
    assert group_penalty(constant, group) == 0
    assert tap_penalty(constant[:, None]) == 0
    assert relaxation_spread(constant).tolist() == [0.0, 0.0]
    if group.order > 1:
        assert group_penalty(weights, group) > 0
        assert tap_penalty(weights) > 0


@pytest.mark.parametrize("name", NAMES)
def test_renaming_the_elements_from_the_left_keeps_the_penalty(name: str) -> None:
    group, weights = groups.from_name(name), torch.rand(2, groups.from_name(name).order).double()
    for k in range(group.order):
        moved = weights[:, torch.from_numpy(group.table[k].copy())]
        torch.testing.assert_close(group_penalty(moved, group), group_penalty(weights, group))


def test_a_network_has_the_penalties_and_uses_of_all_its_relaxed_layers() -> None:
    network = nn.Sequential(
        RelaxedLiftingLinear(regular("C2"), 1), nn.ReLU(), RelaxedGroupLinear("C2", 1, 1, banks=1)
    )
    steerable = RelaxedSteerableConv2d(regular("C2"), regular("C2"), 1, 1)
    network[0].weights.data[0, 0] += 1.0
    network[2].weights.data[0, 0] += 2.0
    steerable.weights.data[..., 0, 0] += 1.0
    network.append(steerable)
    expected = 0.5 + 2.0 + 2 / 12  # of the 12 steps in a kernel, 2 lead to the corner
    assert relaxation_penalty(network).item() == pytest.approx(expected)
    uses = symmetry_uses(network)
    assert list(uses) == ["0", "2", "3"]
    assert uses["0"].parts == pytest.approx({"bank 1": 1.0, "bank 2": 0.0})
    assert uses["2"].parts == pytest.approx({"bank 1": 2.0})
    assert list(uses["3"].parts.values()) == pytest.approx([1.0] * len(uses["3"].parts))


def test_the_penalty_pulls_weights_together() -> None:
    layer = RelaxedGroupLinear("C4", 1, 1)
    layer.weights.data = torch.rand(2, 4)
    before = layer.weight_spread().max()
    optimizer = torch.optim.SGD([layer.weights], lr=0.02)
    for _ in range(50):
        optimizer.zero_grad()
        relaxation_penalty(layer).backward()
        optimizer.step()
    assert layer.weight_spread().max() < before / 2


def test_the_largest_spread_is_nan_where_a_weight_is_and_counts_no_other_use() -> None:
    layer = RelaxedGroupLinear("C4", 1, 1)
    with torch.no_grad():
        layer.weights[0, 1] = 0.75
    assert largest_spread(layer) == 0.25
    with torch.no_grad():
        layer.weights[1, 0] = float("nan")
    assert math.isnan(largest_spread(nn.Sequential(RelaxedGroupLinear("C4", 1, 1), layer)))

    class Path(nn.Module):
        def symmetry_use(self) -> SymmetryUse:
            return SymmetryUse("effective", {"conv": 0.5})

    assert largest_spread(Path()) == 0


def test_a_network_without_relaxed_layers_has_no_penalty() -> None:
    assert relaxation_penalty(nn.Linear(2, 2)).item() == 0


def test_what_is_no_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`network`: expected an object Module"):
        relaxation_penalty("network")  # type: ignore[arg-type]


def test_weights_of_another_group_are_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"each of the 4 elements of C4.*shape \[2, 3\]"):
        group_penalty(torch.ones(2, 3), "C4")
