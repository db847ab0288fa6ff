"""The boosted probe: what it can learn, and that it is XGBoost and nothing else."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from xgboost import XGBClassifier

from orbitlens.errors import OrbitLensError
from orbitlens.probe import binary_f1, boosted_f1
from orbitlens.probe._boosted import boosted_f1_by_task


def sparse_task(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two of five columns decide, most rows are zero, and one label in ten is wrong."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(n, 1, generator=generator) - 0.5).relu() * torch.randn(
        n, 5, generator=generator
    )
    labels = (x[:, 1] > 0) ^ (x[:, 3] > 0.5)
    return x, labels ^ (torch.rand(n, generator=generator) < 0.1)


def test_a_separable_task_is_solved_and_an_unrelated_one_is_not() -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    labels = (x[:, 0] > 0) ^ (x[:, 2] > 0)
    assert boosted_f1(x[:150], labels[:150], x[150:], labels[150:]) > 0.85
    unrelated = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    assert boosted_f1(unrelated[:150], labels[:150], unrelated[150:], labels[150:]) < 0.7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_the_classifier_of_xgboost(seed: int) -> None:
    train_x, train_y = sparse_task(200, seed)
    test_x, test_y = sparse_task(200, seed + 10)
    assert len(np.unique(train_x.numpy(), axis=0)) < 100
    reference = XGBClassifier(
        n_estimators=100,
        max_depth=6,
        learning_rate=0.3,
        reg_lambda=1,
        tree_method="hist",
        max_bin=64,
        base_score=0.5,
        n_jobs=1,
    )
    reference.fit(train_x.numpy(), train_y.numpy())
    predicted = torch.from_numpy(reference.predict(test_x.numpy())) == 1
    assert boosted_f1(train_x, train_y, test_x, test_y) == binary_f1(predicted, test_y)


def test_a_rare_class_that_one_feature_tells_apart_is_found() -> None:
    labels = torch.arange(1000) < 30
    feature = labels.float()[:, None]
    assert boosted_f1(feature, labels, feature, labels) == 1.0


def test_order_of_samples_and_number_of_threads_change_nothing() -> None:
    train_x, train_y = sparse_task(200, 0)
    test_x, test_y = sparse_task(200, 1)
    expected = boosted_f1(train_x, train_y, test_x, test_y)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert boosted_f1(train_x[order], train_y[order], test_x, test_y) == expected
    assert boosted_f1(train_x, train_y, test_x, test_y, threads=2) == expected


def test_tasks_scored_together_score_as_each_does_alone() -> None:
    train_x, labels = sparse_task(300, 0)
    test_x, test_labels = sparse_task(300, 1)
    train_y = torch.stack([labels, train_x[:, 0] > 0.3, labels & False, ~labels], dim=1)
    test_y = torch.stack([test_labels, test_x[:, 0] > 0.3, test_labels, ~test_labels], dim=1)
    together = boosted_f1_by_task(train_x, train_y, test_x, test_y)
    alone = [boosted_f1(train_x, train_y[:, k], test_x, test_y[:, k]) for k in range(4)]
    assert together == alone
    assert len(set(together)) == 4
    assert together[2] == 0


@pytest.mark.parametrize("label", [False, True])
def test_equal_training_labels_score_zero(label: bool) -> None:
    x, labels = sparse_task(50, 0)
    assert boosted_f1(x, torch.full((50,), label), x, labels) == 0


def test_without_xgboost_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    x, labels = sparse_task(50, 0)
    with pytest.raises(OrbitLensError, match=r"orbitlens\[probe\]"):
        boosted_f1(x, labels, x, labels)


def test_binary_f1_by_hand() -> None:
    predicted = torch.tensor([True, True, True, False, False])
    assert binary_f1(predicted, torch.tensor([True, True, False, True, False])) == pytest.approx(
        2 / 3
    )
    assert binary_f1(predicted, predicted) == 1
    assert binary_f1(predicted, ~predicted) == 0
    assert binary_f1(predicted & False, predicted & False) == 0
