"""Sorting as a matrix, hard and soft: cases worked by hand, and what holds of all scores."""

from math import log

import pytest
import torch
from torch import Tensor

from orbitlens.symmetry.symmetrize._sinkhorn import (
    hard_permutations,
    permutation_entropy,
    sinkhorn,
    soft_permutations,
    straight_through,
)


def wide(numbers: list[list[float]]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def some_scores(batch: int, nodes: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, nodes, generator=generator, dtype=torch.float64)


def test_rows_and_columns_sum_to_one() -> None:
    soft = sinkhorn(some_scores(7, 25).unflatten(1, (5, 5)), steps=200)
    ones = torch.ones(7, 5, dtype=torch.float64)
    assert torch.allclose(soft.sum(1), ones, rtol=0, atol=1e-12)
    assert torch.allclose(soft.sum(2), ones, rtol=0, atol=1e-12)


def test_after_one_step_columns_sum_to_one() -> None:
    # Rows first: 1/4, 3/4 and 1/2, 1/2. Their columns sum to 3/4 and 5/4.
    soft = sinkhorn(wide([[1, 3], [1, 1]]).log(), steps=1)
    assert torch.allclose(soft, wide([[1 / 3, 3 / 5], [2 / 3, 2 / 5]]), rtol=0, atol=1e-15)


def test_two_by_two_keeps_the_ratio_of_the_diagonals() -> None:
    # p^2 / (1 - p)^2 = 4 for rows p, 1 - p and 1 - p, p.
    soft = sinkhorn(wide([[4, 1], [1, 1]]).log(), steps=100)
    assert torch.allclose(soft, wide([[2 / 3, 1 / 3], [1 / 3, 2 / 3]]), rtol=0, atol=1e-12)


def test_a_matrix_with_sums_of_one_returns_from_scaled_rows_and_columns() -> None:
    known = wide([[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 2, 1 / 4], [1 / 4, 1 / 4, 1 / 2]])
    scaled = wide([[1], [2], [5]]) * known * wide([[3, 1, 7]])
    assert torch.allclose(sinkhorn(scaled.log(), steps=100), known, rtol=0, atol=1e-12)


def test_the_highest_score_has_rank_0() -> None:
    hard = hard_permutations(wide([[3, 1, 2]]))
    assert hard.tolist() == [[[1, 0, 0], [0, 0, 1], [0, 1, 0]]]
    sorted_scores = wide([[3, 1, 2]]) @ hard[0]
    assert sorted_scores.tolist() == [[3, 2, 1]]


def test_equal_scores_keep_the_order_of_their_nodes() -> None:
    hard = hard_permutations(wide([[1, 2, 1]]))
    assert hard.tolist() == [[[0, 1, 0], [1, 0, 0], [0, 0, 1]]]


def test_soft_permutation_of_two_scores() -> None:
    # exp(-|1 - 0| / tau) = 1/2, so the ratio of the diagonals is 4.
    scores = wide([[0, 1]])
    soft = soft_permutations(scores, hard_permutations(scores), tau=1 / log(2), steps=100)
    assert torch.allclose(soft[0], wide([[1 / 3, 2 / 3], [2 / 3, 1 / 3]]), rtol=0, atol=1e-12)


def test_a_cold_soft_permutation_is_the_hard_one() -> None:
    scores = some_scores(20, 6)
    hard = hard_permutations(scores)
    soft = soft_permutations(scores, hard, tau=1e-4, steps=3)
    assert torch.allclose(soft, hard, rtol=0, atol=1e-6)
    assert float(permutation_entropy(soft).max()) < 1e-4


def test_padding_keeps_its_place_and_changes_nothing() -> None:
    scores = some_scores(3, 4)
    hard = hard_permutations(scores)
    alone = soft_permutations(scores, hard, tau=0.5, steps=4)
    valid = torch.tensor([[True] * 4 + [False] * 2] * 3)
    padded = torch.nn.functional.pad(scores, (0, 2)).requires_grad_()
    wider = torch.stack([torch.block_diag(each, torch.eye(2)) for each in hard])
    soft = soft_permutations(padded, wider, tau=0.5, steps=4, valid=valid)
    assert torch.allclose(soft[:, :4, :4], alone, rtol=0, atol=1e-12)
    assert torch.equal(soft[:, 4:, 4:], torch.eye(2).double().expand(3, 2, 2))
    assert not bool(soft[:, :4, 4:].any())
    assert not bool(soft[:, 4:, :4].any())
    (soft**2).sum().backward()
    assert padded.grad is not None
    assert bool(torch.isfinite(padded.grad).all())
    assert not bool(padded.grad[:, 4:].any())


def test_straight_through_has_the_hard_value_and_the_soft_gradient() -> None:
    scores = some_scores(1, 4).requires_grad_()
    hard = hard_permutations(scores.detach())
    weights = some_scores(4, 4)
    soft = soft_permutations(scores, hard, tau=0.5, steps=5)
    used = straight_through(hard, soft)
    assert torch.equal(used, hard)
    (through,) = torch.autograd.grad((weights * used).sum(), scores, retain_graph=True)
    (wanted,) = torch.autograd.grad((weights * soft).sum(), scores)
    assert torch.equal(through, wanted)
    assert float(through.abs().max()) > 0


def test_entropy_is_zero_at_a_hard_permutation() -> None:
    assert torch.equal(permutation_entropy(hard_permutations(some_scores(5, 7))), torch.zeros(5))


@pytest.mark.parametrize(
    ("matrix", "entropy"),
    [
        ([[1 / 2, 1 / 2], [1 / 2, 1 / 2]], 4 * log(2)),
        # Each of 3 rows and 3 columns: 1/2 log 2 + 2 * 1/4 log 4.
        ([[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 2, 1 / 4], [1 / 4, 1 / 4, 1 / 2]], 9 * log(2)),
        # Two rows and two columns of log 2, the others 0.
        ([[1, 0, 0], [0, 1 / 2, 1 / 2], [0, 1 / 2, 1 / 2]], 4 * log(2)),
    ],
)
def test_entropy_of_rows_and_columns_by_hand(matrix: list[list[float]], entropy: float) -> None:
    assert float(permutation_entropy(wide(matrix))) == pytest.approx(entropy, abs=1e-12)


def test_entropy_has_a_finite_gradient_at_zero() -> None:
    soft = wide([[1, 0], [0, 1]]).requires_grad_()
    permutation_entropy(soft).backward()
    assert soft.grad is not None
    assert bool(torch.isfinite(soft.grad).all())
