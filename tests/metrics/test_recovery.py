"""Matching of latents and features, with and without a group."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitlens import groups, reps
from orbitlens.errors import OrbitLensError
from orbitlens.metrics import feature_recovery, feature_recovery_rate, max_cosine_similarity

D4 = reps.regular(groups.dihedral(4)).matrices


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 10_000), st.integers(0, 6))
@settings(deadline=None, max_examples=25)
def test_a_shuffled_and_rescaled_dictionary_is_recovered(seed: int, spare: int) -> None:
    features = torch.randn(5, 8, generator=generator(seed))
    order = torch.randperm(5 + spare, generator=generator(seed + 1))
    rows = torch.cat([3.7 * features, torch.zeros(spare, 8)])[order]
    recovery = feature_recovery(rows, features)
    assert recovery.score == pytest.approx(1)
    assert order[recovery.latents].tolist() == [0, 1, 2, 3, 4]


def test_matching_is_one_to_one_and_best_in_total() -> None:
    # Greedy matching would give both their nearest latent 0; the best pair is (1, 0).
    W_dec = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    features = torch.tensor([[1.0, 0.0], [0.96, -0.28]])
    recovery = feature_recovery(W_dec, features)
    assert recovery.latents.tolist() == [1, 0]
    assert recovery.similarities.tolist() == pytest.approx([0.8, 0.96])
    assert recovery.score == pytest.approx(0.88)


def test_features_without_a_latent_count_zero() -> None:
    recovery = feature_recovery(torch.eye(4)[:1], torch.eye(4)[[2, 0, 3]])
    assert recovery.latents.tolist() == [-1, 0, -1]
    assert recovery.score == pytest.approx(1 / 3)


def test_zero_rows_and_opposite_rows_do_not_count_as_similar() -> None:
    assert feature_recovery(torch.zeros(2, 3), torch.eye(3)[:2]).score == 0
    assert feature_recovery(-torch.eye(3), torch.eye(3)[:1]).score == 0
    assert feature_recovery(-torch.eye(3)[:1], torch.eye(3)[:1]).score == -1


def test_a_random_dictionary_recovers_little() -> None:
    features = torch.randn(16, 128, generator=generator(0))
    assert feature_recovery(torch.randn(16, 128, generator=generator(1)), features).score < 0.3


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_modulo_the_group_a_moved_dictionary_is_recovered(seed: int) -> None:
    features = torch.randn(4, 8, generator=generator(seed), dtype=torch.float64)
    elements = torch.randint(1, 8, (4,), generator=generator(seed + 1))
    # A learned representation need not be orthogonal: another basis.
    basis = torch.eye(8) + 0.1 * torch.randn(8, 8, generator=generator(seed), dtype=torch.float64)
    matrices = basis @ D4 @ torch.linalg.inv(basis)
    moved = torch.stack([matrices[g] @ row for g, row in zip(elements, features, strict=True)])
    recovery = feature_recovery(moved, features, matrices)
    assert recovery.score == pytest.approx(1)
    assert recovery.latents.tolist() == [0, 1, 2, 3]


def test_matching_modulo_the_group_is_a_courtesy_and_never_a_loss() -> None:
    features = torch.randn(6, 8, generator=generator(0))
    W_dec = torch.randn(9, 8, generator=generator(1))
    plain = feature_recovery(W_dec, features).score
    assert feature_recovery(W_dec, features, torch.eye(8)[None]).score == pytest.approx(plain)
    assert plain < feature_recovery(W_dec, features, D4.float()).score < 1


def test_bad_input_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`features`: .* with features at least 1"):
        feature_recovery(torch.eye(3), torch.zeros(0, 3))
    with pytest.raises(OrbitLensError, match="`W_dec`: expected finite numbers"):
        feature_recovery(torch.full((2, 3), torch.nan), torch.eye(3))


def test_without_scipy_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(OrbitLensError, match=r"orbitlens\[metrics\]"):
        feature_recovery(torch.eye(3), torch.eye(3))


def test_the_recovery_rate_counts_features_with_a_latent_near_by() -> None:
    # Cosines of the nearest latents: 1, 0.8 and 0.6. Both latents may serve one feature.
    W_dec = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.8, 0.6]])
    features = torch.eye(3)
    assert feature_recovery_rate(W_dec, features, threshold=0.7) == pytest.approx(2 / 3)
    assert feature_recovery_rate(W_dec, features, threshold=0.9) == pytest.approx(1 / 3)
    assert feature_recovery_rate(-W_dec, features, threshold=0.5) == 0
    assert feature_recovery_rate(torch.zeros(0, 3), features, threshold=0.5) == 0


def test_the_similarity_of_runs_is_that_of_the_nearest_latent_and_not_symmetric() -> None:
    one, other = torch.eye(2), torch.tensor([[0.0, 3.0]])
    assert max_cosine_similarity(one, other).tolist() == [0, 1]
    assert max_cosine_similarity(other, one).tolist() == [1]


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=10)
def test_modulo_the_group_a_moved_dictionary_is_the_same(seed: int) -> None:
    W_dec = torch.randn(5, 8, generator=generator(seed), dtype=torch.float64)
    moved = torch.stack([D4[i % 8].double() @ row for i, row in enumerate(W_dec)])
    similar = max_cosine_similarity(W_dec, moved, matrices=D4)
    torch.testing.assert_close(similar, torch.ones(5, dtype=torch.float64))
    rate = feature_recovery_rate(moved, W_dec, threshold=0.999, matrices=D4)
    assert rate == 1


def test_equal_directions_count_at_every_threshold_and_every_length() -> None:
    W_dec = torch.randn(200, 37, generator=torch.Generator().manual_seed(0))
    assert feature_recovery_rate(W_dec, W_dec, threshold=1.0) == 1
    longest = 1e200 * W_dec.double()
    assert feature_recovery_rate(longest, longest / 1e300, threshold=1.0) == 1


def test_a_threshold_out_of_range_and_missing_rows_are_rejected() -> None:
    for threshold in (0, 1.1):
        with pytest.raises(OrbitLensError, match="`threshold`: expected above 0 and up to 1"):
            feature_recovery_rate(torch.eye(3), torch.eye(3), threshold=threshold)
    with pytest.raises(OrbitLensError, match="`features`: expected shape .features, dim = 3."):
        feature_recovery_rate(torch.eye(3), torch.eye(4), threshold=0.9)
    with pytest.raises(OrbitLensError, match="`W_dec`: expected shape .features, dim = 4."):
        max_cosine_similarity(torch.eye(3), torch.eye(4))
    with pytest.raises(OrbitLensError, match="`other`: .* with latents at least 1"):
        max_cosine_similarity(torch.eye(3), torch.zeros(0, 3))
    with pytest.raises(OrbitLensError, match="`W_dec`: .* with features at least 1"):
        max_cosine_similarity(torch.zeros(0, 3), torch.eye(3))
