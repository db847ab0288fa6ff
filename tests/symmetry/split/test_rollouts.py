"""Ranks and errors of roll-outs: perfect, collapsed and hand-made predictions."""

import math

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens.actions import images
from orbitlens.data import block_episodes
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.split import (
    distance_invariance_error,
    embedding_error,
    hits_at_k,
    mean_reciprocal_rank,
    strict_ranks,
)


def latents(n: int, seed: int = 0) -> Float[Tensor, "n 2 4"]:
    return torch.randn(n, 2, 4, generator=torch.Generator().manual_seed(seed))


def test_a_perfect_predictor_always_hits() -> None:
    z = latents(300)
    assert hits_at_k(z, z, 1) == mean_reciprocal_rank(z, z) == 1


def test_a_collapsed_model_never_hits() -> None:
    z = torch.ones(20, 2, 4)
    assert hits_at_k(z, z, 1) == hits_at_k(z, z, 19) == 0
    assert mean_reciprocal_rank(z, z) == 1 / 20


def test_two_equal_predictions_are_no_hits_of_each_other() -> None:
    z = torch.tensor([[0.0], [0.0], [1.0]])
    assert strict_ranks(z, z).tolist() == [2, 2, 1]


def test_ranks_by_hand() -> None:
    target = torch.tensor([[0.0], [10.0], [20.0]])
    predicted = torch.tensor([[4.0], [3.0], [21.0]])
    # 3 is nearer to 0 than 4 is; 4 is nearer to 10 than 3 is.
    assert strict_ranks(predicted, target).tolist() == [2, 2, 1]
    assert hits_at_k(predicted, target, 1) == pytest.approx(1 / 3)
    assert hits_at_k(predicted, target, 2) == 1
    assert mean_reciprocal_rank(predicted, target) == pytest.approx(2 / 3)


@given(seed=st.integers(0, 1000))
def test_the_order_of_the_episodes_does_not_matter(seed: int) -> None:
    z, other = latents(12), latents(12, seed + 1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(strict_ranks(z, other)[order], strict_ranks(z[order], other[order]))


@given(seed=st.integers(0, 1000), k=st.integers(1, 11))
def test_more_hits_among_more(seed: int, k: int) -> None:
    z, other = latents(12), latents(12, seed + 1)
    hits = hits_at_k(z, other, k)
    assert hits <= hits_at_k(z, other, k + 1)
    assert hits_at_k(z, other, 1) <= mean_reciprocal_rank(z, other)


@pytest.mark.parametrize("group", ["C4", "D4"])
def test_errors_of_a_hand_made_equivariant_embedding_are_zero(group: str) -> None:
    turns, grids = images(group), block_episodes(40, seed=0).grids
    now, after = grids[:, 0], grids[:, 1]
    for g in range(turns.group.order):
        error = distance_invariance_error(now, after, turns(now, g), turns(after, g))
        assert error == 0
        assert embedding_error(turns(now, g), turns(now, g)) == 0


def test_errors_of_an_embedding_that_is_not_equivariant_are_not_zero() -> None:
    turns, grids = images("C4"), block_episodes(40, seed=0).grids
    ramp = torch.arange(25.0).reshape(5, 5)
    now, after = grids[:, 0] * ramp, grids[:, 1] * ramp
    turned = turns(grids[:, 0], 1) * ramp, turns(grids[:, 1], 1) * ramp
    assert distance_invariance_error(now, after, *turned) > 0.05
    assert embedding_error(turns(now, 1), turned[0]) > 0.5


def test_the_distance_error_by_hand() -> None:
    # Two episodes: whoever is whose partner, all distances double, from 0 or 3.
    z, twice = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [6.0]])
    seeds = {distance_invariance_error(z, z, twice, twice, seed=seed) for seed in range(8)}
    assert seeds == {0.0, 2.0}


@pytest.mark.parametrize("one", [torch.zeros(2, 4), latents(1)[0]])
def test_nothing_is_known_of_a_collapsed_model(one: Tensor) -> None:
    z, same = latents(6), one.expand(6, 2, 4)
    assert math.isnan(distance_invariance_error(z, same, z, same))
    assert math.isnan(embedding_error(same, z))


@pytest.mark.parametrize("twins", [latents(5), latents(6)[:, :1]])
def test_twins_that_are_missing_or_of_another_length_are_refused(
    monkeypatch: pytest.MonkeyPatch, twins: Tensor
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    z = latents(6)
    with pytest.raises(OrbitLensError, match=r"`target_moved`: .*one row for each episode"):
        distance_invariance_error(z, z, z, twins)
    with pytest.raises(OrbitLensError, match=r"`of_moved`: .*its twin"):
        embedding_error(z, twins)


def test_wrong_numbers_are_refused() -> None:
    z = latents(4)
    with pytest.raises(OrbitLensError, match="`k`"):
        hits_at_k(z, z, 5)
    with pytest.raises(OrbitLensError, match=r"`predicted`: expected shape \[n, \.\.\., dim\]"):
        strict_ranks(z[:, 0, 0], z[:, 0, 0])
    with pytest.raises(OrbitLensError, match="at least 2"):
        strict_ranks(z[:1], z[:1])
    with pytest.raises(OrbitLensError, match="NaN"):
        strict_ranks(z / 0, z)
