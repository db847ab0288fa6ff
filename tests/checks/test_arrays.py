"""Arguments at the door: one clear meaning is converted, the rest is refused in a line."""

import numpy as np
import pytest
import torch

from orbitlens.checks import (
    as_count,
    as_labels,
    as_number,
    as_samples,
    as_switch,
    as_tensor,
    as_texts,
)
from orbitlens.errors import OrbitLensError

MASK = np.array([True, False, False, True])


@pytest.mark.parametrize("mask", [MASK, MASK.tolist(), torch.from_numpy(MASK)])
def test_a_mask_chooses_the_samples_where_it_is_true(mask: object) -> None:
    assert as_samples(mask, 4).tolist() == [0, 3]


@pytest.mark.parametrize("samples", [[2, 0], (2, 0), np.array([2, 0], "u1"), torch.tensor([2, 0])])
def test_indices_of_any_kind_keep_their_order(samples: object) -> None:
    chosen = as_samples(samples, 4)
    assert chosen.tolist() == [2, 0]
    assert chosen.dtype == np.int64


def test_no_samples_are_no_indices() -> None:
    assert as_samples([], 4).tolist() == []


@pytest.mark.parametrize(
    "samples", [MASK[:3], [0.0, 1.0], [[0], [1]], [4], [-1], 2, ["a"], [None], [[1], [1, 2]]]
)
def test_samples_without_a_clear_meaning_are_refused(samples: object) -> None:
    with pytest.raises(OrbitLensError, match="samples"):
        as_samples(samples, 4)


@pytest.mark.parametrize("labels", [[0, 2, 1], np.array([0, 2, 1], "u1"), torch.tensor([0, 2, 1])])
def test_labels_of_any_whole_type_are_taken(labels: object) -> None:
    assert as_labels(labels, 3).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    "labels",
    [
        [0.0, 1.7, 0.2],
        [0.0, np.nan, 1.0],
        [[0], [1], [0]],
        np.eye(3, dtype=int),
        list("abc"),
        [0, 1],
        [0, 1, -1],
        np.ma.masked_array([0, 1, 2], [False, True, False]),
    ],
)
def test_other_labels_are_refused(labels: object) -> None:
    with pytest.raises(OrbitLensError, match="labels"):
        as_labels(labels, 3)


def test_boolean_labels_are_two_classes() -> None:
    assert as_labels([True, False], 2).tolist() == [1, 0]


def test_labels_beyond_the_class_names_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="indices into the 2 class names"):
        as_labels([0, 1, 2], 3, ("a", "b"))


@pytest.mark.parametrize(
    "value",
    [[[1, 2]], np.array([[1, 2]], ">f8"), np.array([[1, 2]], "u2"), torch.tensor([[1, 2]])],
)
def test_numbers_of_any_kind_become_a_tensor(value: object) -> None:
    tensor = as_tensor("x", value)
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "value", [["a"], [None], [[1], [1, 2]], [1j], [np.inf], [np.nan], {"a": 1}, 1e300]
)
def test_what_is_not_a_finite_number_is_refused(value: object) -> None:
    with pytest.raises(OrbitLensError, match="x"):
        as_tensor("x", value)


def test_a_masked_entry_is_refused() -> None:
    with pytest.raises(OrbitLensError, match="1 masked"):
        as_tensor("x", np.ma.masked_array([1.0, 2.0], [False, True]))


def test_a_tensor_of_the_right_type_is_not_copied() -> None:
    tensor = torch.ones(2)
    assert as_tensor("x", tensor) is tensor


@pytest.mark.parametrize("value", [3, np.int64(3), 3.0, np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_any_kind_are_counts(value: object) -> None:
    assert as_count("k", value) == 3


@pytest.mark.parametrize("value", [True, 2.5, "3", None, 0, 9, float("nan")])
def test_other_counts_are_refused(value: object) -> None:
    with pytest.raises(OrbitLensError, match="`k`"):
        as_count("k", value, most=8)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, 2, device="meta"),
        torch.eye(2).to_sparse(),
    ],
)
def test_tensors_whose_numbers_cannot_be_read_are_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(OrbitLensError, match="x"):
        as_tensor("x", tensor, finite=False)
    with pytest.raises(OrbitLensError, match="labels"):
        as_labels(tensor[0] if tensor.is_meta else tensor, 2)


def test_numbers_without_a_finite_value_are_refused() -> None:
    for value in (torch.tensor(1.0, device="meta"), 10**400, float("nan"), "1", True):
        with pytest.raises(OrbitLensError, match="lr"):
            as_number("lr", value)


def test_truth_and_texts_are_not_guessed() -> None:
    assert as_switch("on", np.True_) is True
    assert as_texts("names", ["a", "b"]) == ("a", "b")
    for value in ("no", 1, None):
        with pytest.raises(OrbitLensError, match="on"):
            as_switch("on", value)
    for names in ("ab", None, ["a", 1]):
        with pytest.raises(OrbitLensError, match="names"):
            as_texts("names", names)


def test_labels_that_are_no_class_indices_are_refused_before_they_are_counted() -> None:
    with pytest.raises(OrbitLensError, match="class indices below 1048576, received 3000000000"):
        as_labels([0, 3_000_000_000], 2)
