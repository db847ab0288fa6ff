"""The exports of the room, on numbers that are worked out by hand."""

import torch

from orbitlens.kernels import (
    Block,
    Form,
    Memory,
    Pattern,
    RunningLargest,
    SparseCodes,
    empty,
    entry_products,
    per_batch,
    per_sample,
    selected,
    shifted,
    starts_of,
    tiled_products,
    tiled_sums,
)

PRE = torch.tensor([[[1.0, 5.0, 2.0], [-4.0, -9.0, -8.0]]])
FORM = Form(torch.tensor([[1.0, -1.0]]), ((slice(0, 2), slice(0, 2)),))


def test_the_largest_of_a_stream() -> None:
    running = RunningLargest(2)
    running.add(torch.tensor([[1.0, 5.0]]), first=0, stride=2)
    running.add(torch.tensor([[-1.0, 3.0]]), first=2, stride=2)
    values, places = running.finish()
    assert (values.tolist(), places.tolist()) == ([5.0, 3.0], [1, 3])


def test_rows_and_transpose_of_a_pattern() -> None:
    pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([4, 0, 4]), 5)
    assert pattern.rows.tolist() == [0, 0, 1]
    assert pattern.transposed.starts.tolist() == [0, 1, 1, 1, 1, 3]


def test_starts_of_rows_in_any_order() -> None:
    assert starts_of(torch.tensor([2, 0, 2]), 3).tolist() == [0, 1, 1, 3]


def test_products_at_entries() -> None:
    pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1]), 2)
    products = entry_products(pattern, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(2))
    assert products.tolist() == [2.0, 1.0, 4.0]


def test_products_in_two_orientations() -> None:
    products = tiled_products(FORM, torch.ones(1, 1, 2), torch.ones(1, 1, 2))
    assert products.flatten().tolist() == [2.0, -2.0]


def test_sums_in_two_orientations() -> None:
    z = torch.tensor([[[[5.0], [2.0]]]])
    assert tiled_sums(FORM, z, torch.ones(1, 1, 2), 2).flatten().tolist() == [3.0, 3.0]


def test_a_buffer_is_used_again_once_its_tensor_is_gone() -> None:
    memory, like = Memory(), torch.zeros(())
    with memory:
        first = empty(2**19, like=like)
        place = first.data_ptr()
        assert empty(2**19, like=like).data_ptr() != place
        del first
        assert empty(2**19, like=like).data_ptr() == place


def test_an_empty_tensor_has_the_shape_that_is_asked_for() -> None:
    assert empty(2, 3, like=torch.zeros(1)).shape == (2, 3)


def test_the_largest_of_each_sample_has_either_sign() -> None:
    search = per_sample(torch.zeros(1), (1, 2, 3), k=1, width=3, ordered=True)
    search.add(Block(PRE, 0, 0))
    values, pattern = search.finish()
    assert (values.tolist(), pattern.columns.tolist()) == ([5.0, -4.0], [1, 0])


def test_the_largest_of_a_batch_are_positive() -> None:
    search = per_batch(torch.zeros(1), (1, 2, 3), k=1)
    search.add(Block(PRE, 0, 0))
    values, pattern = search.finish()
    assert (values.tolist(), pattern.starts.tolist()) == ([5.0, 2.0], [0, 2, 2])


def test_dense_codes_and_a_count_without_zeros() -> None:
    pattern = Pattern(torch.tensor([0, 1, 2]), torch.tensor([2, 0]), 3)
    codes = SparseCodes(torch.tensor([5.0, 0.0]), pattern, (1, 2, 3))
    assert codes.dense().tolist() == [[[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]]]
    assert codes.fired().tolist() == [[0.0, 0.0, 1.0]]


def test_the_gradient_of_a_selected_value_is_the_row_of_features() -> None:
    pattern, vectors = Pattern(torch.tensor([0, 1]), torch.tensor([1]), 2), torch.eye(2)
    vectors.requires_grad_()
    found = selected(
        torch.tensor([4.0]), torch.tensor([[3.0, 4.0]]), vectors, torch.zeros(2), pattern
    )
    found.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.tolist() == [[0.0, 0.0], [3.0, 4.0]]


def test_the_gradient_of_the_centre_is_minus_the_sum_of_the_vectors() -> None:
    centre = torch.zeros(1, 2, requires_grad=True)
    shifted(torch.zeros(1, 2), 3 * torch.eye(2)[None], centre).sum().backward()
    assert centre.grad is not None
    assert centre.grad.tolist() == [[-3.0, -3.0]]
