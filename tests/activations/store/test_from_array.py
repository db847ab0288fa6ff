"""Arrays of any floating type become stores; whatever is wrong with one is said at the door."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens.activations import open_store, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic


def test_every_floating_type_is_stored_as_float32() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    arrays = [values.astype(kind) for kind in (np.float16, np.float32, np.float64, ">f8")]
    arrays += [torch.tensor(values, dtype=kind) for kind in (torch.bfloat16, torch.float64)]
    for array in arrays:
        orbits = store_from_array(array, group=cyclic(3)).orbits()
        assert orbits.dtype == torch.float32
        assert np.array_equal(orbits.numpy(), values)


def test_a_view_that_torch_negates_when_it_is_read_is_stored() -> None:
    values = torch.arange(24.0).reshape(2, 3, 4)
    view = torch.complex(values, -values).conj().imag
    assert view.is_neg()
    assert torch.equal(store_from_array(view, group=cyclic(3)).orbits(), values)
    with pytest.raises(OrbitLensError, match="complex numbers"):
        store_from_array(torch.complex(values, values).conj(), group=cyclic(3))


def test_a_view_that_requires_gradients_is_stored() -> None:
    array = torch.ones(4, 3, 2, requires_grad=True)[::2].transpose(1, 2)
    assert store_from_array(array, group=cyclic(2)).orbits().shape == (2, 2, 3)


@pytest.mark.parametrize("shape", [(4, 3), (5, 4, 2), (5, 3, 1, 1, 2), (0, 3, 2), (5, 3, 0)])
def test_a_wrong_shape_names_the_right_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(OrbitLensError, match=r"shape \[n, 3, dim\] or \[n, 3, positions, dim\]"):
        store_from_array(np.zeros(shape, np.float32), group=cyclic(3))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4),
        torch.arange(24).view(2, 3, 4),
        np.arange(24.0).reshape(2, 3, 4).tolist(),
        np.arange(24, dtype=">f4").reshape(2, 3, 4),
        np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        np.arange(24, dtype=np.longdouble).reshape(2, 3, 4),
        np.ma.masked_array(np.arange(24.0).reshape(2, 3, 4)),
        torch.arange(24.0).view(2, 3, 4).requires_grad_(),
    ],
    ids=["whole", "tensor", "lists", "big", "half", "long", "unmasked", "gradient"],
)
def test_numbers_of_any_kind_have_one_meaning(array: object) -> None:
    store = store_from_array(array, group="C3")  # type: ignore[arg-type]
    assert torch.equal(store.orbits(), torch.arange(24.0).view(2, 3, 4))
    assert store.group == cyclic(3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ma.masked_greater(np.arange(24.0).reshape(2, 3, 4), 20), "3 masked entries"),
        (np.zeros((2, 3, 4), complex), "complex"),
        (np.full((2, 3, 4), "a"), "`array`: expected numbers"),
        ([[[1.0, 2.0], [3.0]]], "`array`: expected numbers"),
        (np.full((2, 3, 4), None), "of objects"),
    ],
    ids=["masked", "complex", "text", "ragged", "objects"],
)
def test_what_is_no_number_is_refused(array: object, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        store_from_array(array, group=cyclic(3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "labels", [[0, 1, 1], (0, 1, 1), torch.tensor([0, 1, 1]), [False, True, True]]
)
def test_labels_of_any_whole_kind_have_one_meaning(labels: object) -> None:
    values = np.zeros((3, 2, 4))
    store = store_from_array(values, group="C2", labels=labels)  # type: ignore[arg-type]
    assert store.labels is not None
    assert store.labels.tolist() == [0, 1, 1]
    assert store.labels.dtype == np.int64


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1.5, 1]),
        np.array([0, np.nan, 1]),
        np.eye(3, dtype=int),
        np.array(["a", "b", "a"]),
        [0, -1, 1],
    ],
)
def test_labels_that_would_be_cut_down_are_refused(labels: object) -> None:
    with pytest.raises(OrbitLensError, match="`labels`"):
        store_from_array(np.zeros((3, 2, 4)), group=cyclic(2), labels=labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", [0, 1])
def test_labels_that_are_all_the_same_are_read_back(tmp_path: Path, label: int) -> None:
    labels = np.full(5, label)
    for out in (None, tmp_path / "acts"):
        store = store_from_array(np.ones((5, 2, 4)), group=cyclic(2), labels=labels, out=out)
        assert store.labels is not None
        assert store.labels.tolist() == [label] * 5


@pytest.mark.parametrize(
    ("dtype", "size"), [("float16", 1e-6), ("float16", 1e-9), ("float32", 1e-45)]
)
def test_numbers_too_small_for_their_type_are_refused(dtype: str, size: float) -> None:
    """As are those that are too large: digits, or whole numbers, would be lost."""
    values = size * np.random.default_rng(0).normal(size=(20, 2, 4))
    with pytest.raises(OrbitLensError, match=f"as {dtype}: expected numbers of about .*or more"):
        store_from_array(values, group=cyclic(2), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_small_numbers_among_large_ones_are_rounded(dtype: str) -> None:
    """What is lost is small beside the block: zeros of a ReLU, weights of an attention."""
    values = np.random.default_rng(0).normal(size=(20, 2, 4)).astype(np.float32)
    values[::2] *= 1e-9
    values[1] = 0
    stored = store_from_array(values, group=cyclic(2), dtype=dtype).orbits().numpy()
    assert np.linalg.norm(stored - values) <= 4e-3 * np.linalg.norm(values)
    zeros = store_from_array(np.zeros((3, 2, 4)), group=cyclic(2), dtype=dtype)
    assert not zeros.orbits().any()


def test_bfloat16_holds_what_float16_does_not() -> None:
    values = 1e-9 * np.random.default_rng(0).normal(size=(20, 2, 4)).astype(np.float32)
    stored = store_from_array(values, group=cyclic(2), dtype="bfloat16").orbits().numpy()
    assert np.linalg.norm(stored - values) <= 4e-3 * np.linalg.norm(values)


def test_the_first_value_that_is_not_finite_is_named_and_all_are_counted() -> None:
    values = np.zeros((5, 3, 4))
    values[3, 2, 1] = np.nan
    values[4] = np.inf
    message = r"13 NaN or infinite.*samples 0\.\.4.*sample 3, element 2, dimension 1"
    with pytest.raises(OrbitLensError, match=message):
        store_from_array(values, group=cyclic(3))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_what_overflows_float32_is_said_to_be_too_large(kind: Callable[..., Any]) -> None:
    values = np.zeros((2, 2, 2, 3))
    values[1, 0, 1, 2] = 1e300
    where = "sample 1, element 0, position 1, dimension 2"
    message = rf"as float32: expected numbers up to 3\.4e\+38, received 1e\+300 at {where}; scale"
    with pytest.raises(OrbitLensError, match=message):
        store_from_array(kind(values), group=cyclic(2))
    values[1, 0, 1, 2] = np.inf
    with pytest.raises(OrbitLensError, match=f"1 NaN or infinite values.*{where}"):
        store_from_array(kind(values), group=cyclic(2))


def test_labels_must_fit() -> None:
    values = np.zeros((3, 2, 4))
    with pytest.raises(OrbitLensError, match=r"one per sample, shape \[3\], received shape \[2\]"):
        store_from_array(values, group=cyclic(2), labels=np.array([0, 1]))
    with pytest.raises(OrbitLensError, match=r"2 class names, received labels in 0\.\.2"):
        store_from_array(
            values, group=cyclic(2), labels=np.array([0, 1, 2]), class_names=("cat", "dog")
        )


def test_an_existing_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(OrbitLensError, match="existing one; remove it or choose another"):
        store_from_array(np.zeros((3, 2, 4)), group=cyclic(2), out=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "precious"


def test_missing_parents_are_made_and_impossible_ones_reported(tmp_path: Path) -> None:
    values = np.zeros((3, 2, 4))
    store_from_array(values, group=cyclic(2), out=tmp_path / "a" / "b")
    assert open_store(tmp_path / "a" / "b").n == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(OrbitLensError, match="a place that can be written"):
        store_from_array(values, group=cyclic(2), out=tmp_path / "file" / "b")


def test_digest_changes_with_the_numbers_unless_given() -> None:
    zeros, ones = np.zeros((3, 2, 4)), np.ones((3, 2, 4))
    digests = {store_from_array(a, group=cyclic(2)).digest for a in (zeros, ones, zeros)}
    assert len(digests) == 2
    assert store_from_array(ones, group=cyclic(2), digest="abc").digest == "abc"
