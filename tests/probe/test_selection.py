"""Choice of latents: planted cases, ties, many tasks at once."""

import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.probe import (
    largest_between_class_variance,
    largest_mean_difference,
    rank_latents,
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_planted_latents_come_in_the_order_of_their_difference() -> None:
    labels = torch.rand(200, generator=generator(0)) < 0.3
    codes = 0.01 * torch.rand(200, 6, generator=generator(1))
    codes[:, 4] += labels
    codes[:, 2] += 3 * ~labels
    assert largest_mean_difference(codes, labels, t=2).tolist() == [2, 4]


def test_a_common_offset_changes_nothing_and_a_weight_does() -> None:
    labels = torch.rand(100, generator=generator(0)) < 0.5
    codes = torch.rand(100, 8, generator=generator(1))
    before = largest_mean_difference(codes, labels, t=8)
    assert largest_mean_difference(codes + 5, labels, t=8).tolist() == before.tolist()
    codes[:, before[-1]] *= 1000
    assert largest_mean_difference(codes, labels, t=1).tolist() == [before[-1]]


def test_ties_go_to_the_lower_latent() -> None:
    codes = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 3.0]])
    labels = torch.tensor([True, False])
    assert largest_mean_difference(codes, labels, t=4).tolist() == [3, 1, 2, 0]
    assert largest_between_class_variance(codes, labels.long(), t=4).tolist() == [3, 1, 2, 0]


def test_dead_latents_come_last_and_in_order() -> None:
    codes = torch.zeros(10, 400)
    codes[0, 399] = 1
    ranking = largest_mean_difference(codes, torch.arange(10) < 3, t=400)
    assert ranking.tolist() == [399, *range(399)]


def test_tasks_are_ranked_independently() -> None:
    codes = torch.rand(60, 9, generator=generator(0))
    labels = torch.rand(60, 5, generator=generator(1)) < 0.4
    ranking = rank_latents(codes, labels)
    for task in range(5):
        alone = largest_mean_difference(codes, labels[:, task], t=9)
        assert ranking[task].tolist() == alone.tolist()
        opposite = largest_mean_difference(codes, ~labels[:, task], t=9)
        assert opposite.tolist() == alone.tolist()


def test_a_constant_task_keeps_the_order_of_the_latents() -> None:
    codes = torch.rand(10, 4, generator=generator(0))
    labels = torch.tensor([True, False]).expand(10, 2)
    assert rank_latents(codes, labels).tolist() == [[0, 1, 2, 3]] * 2


def test_for_two_classes_both_rules_agree() -> None:
    codes = torch.rand(80, 12, generator=generator(0))
    labels = torch.rand(80, generator=generator(1)) < 0.3
    by_variance = largest_between_class_variance(codes, 7 * labels.long() - 3, t=12)
    assert by_variance.tolist() == largest_mean_difference(codes, labels, t=12).tolist()


def test_between_class_variance_weighs_classes_by_their_size() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    codes = torch.zeros(10, 3)
    codes[:6, 1] = 1  # variance .24
    codes[9, 2] = 1.5  # variance .2025, though its class mean lies furthest out
    codes[:, 0] = torch.linspace(-9, 9, 10)[[0, 9, 1, 8, 2, 7, 3, 6, 5, 4]]  # varies within classes
    codes[:, 0] *= 0.01
    assert largest_between_class_variance(codes, labels, t=2).tolist() == [1, 2]


@pytest.mark.parametrize("t", [0, 5])
def test_too_few_or_too_many_are_rejected(t: int) -> None:
    with pytest.raises(OrbitLensError, match=f"`t`: expected from 1 to 4 latents, received {t}"):
        largest_mean_difference(torch.ones(3, 4), torch.tensor([True, False, True]), t)
    with pytest.raises(OrbitLensError, match="`t`"):
        largest_between_class_variance(torch.ones(3, 4), torch.tensor([0, 1, 2]), t)


def test_classes_of_large_numbers_are_not_merged() -> None:
    codes = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    large = torch.tensor([2**53, 2**53 + 1])
    assert largest_between_class_variance(codes, large, t=1).tolist() == [1]
