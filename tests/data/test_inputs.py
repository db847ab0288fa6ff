"""The record of inputs, and the digits."""

import numpy as np
import pytest
import torch

from orbitlens.data import Inputs, digits
from orbitlens.errors import OrbitLensError


def labelled(values: torch.Tensor, labels: list[int]) -> Inputs:
    return Inputs("x", values, np.array(labels, dtype=np.int64), ("a", "b"))


def test_the_digest_changes_with_values_shape_type_and_labels_only() -> None:
    values = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    changed = values.clone()
    changed[3, 0, 1, 1] += 1e-6
    digests = [
        Inputs("x", values).digest,
        Inputs("x", changed).digest,
        Inputs("x", values.reshape(4, 1, 4, 1)).digest,
        Inputs("x", values.double()).digest,
        labelled(values, [0, 1, 0, 1]).digest,
        labelled(values, [0, 1, 1, 1]).digest,
    ]
    assert len(set(digests)) == 6
    assert Inputs("another name", values.clone()).digest == digests[0]
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)


def test_the_digest_reads_values_in_order_whatever_their_strides() -> None:
    values = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    strided = values.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert Inputs("x", strided).digest == Inputs("x", values).digest


def test_labels_and_files_must_fit_the_values() -> None:
    values = torch.zeros(2, 1, 4, 4)
    with pytest.raises(OrbitLensError, match="`labels`: expected one per sample, 2, received 3"):
        labelled(values, [0, 1, 0])
    with pytest.raises(OrbitLensError, match="indices of the 2 class names, received 0 to 2"):
        labelled(values, [0, 2])
    with pytest.raises(OrbitLensError, match="`files`: expected one per sample, 2, or none"):
        Inputs("x", values, files=("a.png",))


@pytest.mark.parametrize("size", [8, 32])
def test_digits_are_real_images_with_enlarged_pixels(size: int) -> None:
    inputs = digits(size)
    assert inputs.values.shape == (1797, 1, size, size)
    assert inputs.values.dtype == torch.float32
    assert inputs.values.aminmax() == (0.0, 1.0)
    blocks = inputs.values.reshape(1797, 8, size // 8, 8, size // 8)
    assert torch.equal(blocks.amin((2, 4)), blocks.amax((2, 4)))
    assert torch.equal(blocks.amax((2, 4)), digits(8).values[:, 0])


def test_the_first_digits_are_zero_to_nine_and_classes_are_balanced() -> None:
    inputs = digits(8)
    assert inputs.labels is not None
    assert inputs.labels[:10].tolist() == list(range(10))
    assert np.bincount(inputs.labels).min() > 170
    assert inputs.class_names[7] == "7"


@pytest.mark.parametrize("size", [0, 12])
def test_a_size_that_is_no_multiple_of_eight_is_rejected(size: int) -> None:
    with pytest.raises(OrbitLensError, match=f"multiple of 8 pixels, such as 32, received {size}"):
        digits(size)
