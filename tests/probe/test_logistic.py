"""The logistic probe."""

import sys

import pytest
import torch
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.probe import logistic_predictions, logistic_scores

CLASSES = torch.tensor([4, -2, 9])


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three classes that latents 1 and 3 tell apart; latents 0 and 2 are noise."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(0, 3, (n,), generator=generator)
    codes = torch.randn(n, 4, generator=generator)
    codes[:, 1] += 20.0 * (which == 1)
    codes[:, 3] += 20.0 * (which == 2)
    return codes, CLASSES[which]


def scores_of(kept: list[int], scale: float = 1.0) -> tuple[float, float]:
    train, test = blobs(200, 0), blobs(100, 1)
    scores = logistic_scores(
        scale * train[0], train[1], scale * test[0], test[1], torch.tensor(kept)
    )
    return scores.accuracy, scores.macro_f1


def test_the_right_latents_tell_the_classes_apart() -> None:
    assert scores_of([3, 1]) == (1, 1)
    assert scores_of([0, 2])[0] < 0.6
    assert 0.5 < scores_of([1])[0] < 0.9


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_codes_changes_nothing(scale: float) -> None:
    assert scores_of([0, 1], scale) == scores_of([0, 1])


def test_macro_f1_weighs_classes_equally() -> None:
    codes = torch.tensor([[0.0]] * 9 + [[0.0]] * 1 + [[1.0]])
    labels = torch.tensor([0] * 9 + [1] * 2)
    # The zero codes are called class 0, so that class 1 is found once in two.
    scores = logistic_scores(codes, labels, codes, labels, torch.tensor([0]))
    assert scores.accuracy == pytest.approx(10 / 11)
    assert scores.macro_f1 == pytest.approx((18 / 19 + 2 / 3) / 2)


def test_dead_latents_and_separable_classes_give_no_warning() -> None:
    train, test = blobs(200, 0), blobs(50, 1)
    dead = torch.cat([1e4 * train[0], torch.zeros(200, 3)], dim=1)
    dead_test = torch.cat([1e4 * test[0], torch.ones(50, 3)], dim=1)
    predicted = logistic_predictions(dead, train[1], dead_test, torch.arange(7))
    assert predicted.dtype == train[1].dtype
    assert set(predicted.tolist()) <= set(CLASSES.tolist())


def test_one_class_is_rejected() -> None:
    codes, labels = blobs(20, 0)
    with pytest.raises(OrbitLensError, match=r"at least two classes, received only \[5\]"):
        logistic_scores(codes, 0 * labels + 5, codes, labels, torch.tensor([0]))


def test_without_scikit_learn_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    codes, labels = blobs(20, 0)
    with pytest.raises(OrbitLensError, match=r"orbitlens\[probe\]"):
        logistic_scores(codes, labels, codes, labels, torch.tensor([0]))
