"""Products with a sparse matrix, held against the dense matrix in float64."""

import math
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitlens.kernels import _pattern as pattern_module
from orbitlens.kernels._gpu import PIECE, further_pieces
from orbitlens.kernels._pattern import Pattern, starts_of
from orbitlens.kernels._products import column_sums, entry_products, gathered_sums, weighted_sums
from orbitlens.typing import Tensor

TOLERANCE = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
}
DTYPES = sorted(TOLERANCE, key=str)
patterns = {
    "rows": st.integers(1, 9),
    "columns": st.integers(1, 9),
    "most": st.integers(0, 9),
    "seed": st.integers(0, 999),
}


def random_pattern(rows: int, columns: int, most: int, seed: int) -> Pattern:
    """Up to `most` entries a row, of any columns: unsorted, some twice, some never."""
    generator = torch.Generator().manual_seed(seed)
    # Torch knows no more entries than there are places.
    counts = torch.randint(min(most, columns) + 1, (rows,), generator=generator)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Pattern(starts, torch.randint(columns, (int(starts[-1]),), generator=generator), columns)


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def dense(pattern: Pattern, values: Tensor) -> Tensor:
    """The matrix, entry after entry."""
    matrix = torch.zeros(pattern.height, pattern.width, dtype=torch.float64)
    for row in range(pattern.height):
        for entry in range(int(pattern.starts[row]), int(pattern.starts[row + 1])):
            matrix[row, pattern.columns[entry]] += values[entry].double()
    return matrix


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(dim=st.integers(1, 20), **patterns)
def test_all_three_products_are_those_with_the_dense_matrix(
    dtype: torch.dtype, dim: int, rows: int, columns: int, most: int, seed: int
) -> None:
    pattern = random_pattern(rows, columns, most, seed)
    values = random(len(pattern.columns), seed=seed + 1, dtype=dtype)
    left = random(rows, dim, seed=seed + 2, dtype=dtype)
    right = random(columns, dim, seed=seed + 3, dtype=dtype)
    matrix = dense(pattern, values)
    of_rows = weighted_sums(pattern, values, right)
    of_columns = gathered_sums(pattern, values, left)
    at_entries = entry_products(pattern, left, right)
    assert of_rows.dtype == of_columns.dtype == at_entries.dtype == dtype
    expected = (
        matrix @ right.double(),
        matrix.T @ left.double(),
        (left.double() @ right.double().T)[pattern.rows, pattern.columns],
    )
    for received, value in zip((of_rows, of_columns, at_entries), expected, strict=True):
        torch.testing.assert_close(received.double(), value, **TOLERANCE[dtype])


@pytest.mark.parametrize("worth", [0, math.inf], ids=["by a kernel", "by torch"])
@given(**patterns)
def test_the_transpose_has_the_same_entries_column_after_column(
    worth: float, rows: int, columns: int, most: int, seed: int
) -> None:
    pattern = random_pattern(rows, columns, most, seed)
    with patch.object(pattern_module, "_WORTH_IT", worth):
        _ = pattern.across, pattern.transposed.across
    values = torch.arange(1.0, 1.0 + len(pattern.columns))
    transposed = pattern.transposed
    assert (transposed.height, transposed.width) == (columns, rows)
    assert torch.equal(dense(transposed, values[pattern.across[0]]), dense(pattern, values).T)


@pytest.mark.parametrize("worth", [0, math.inf], ids=["by a kernel", "by torch"])
@given(**patterns)
def test_transposed_twice_it_is_itself_with_the_columns_of_each_row_in_order(
    worth: float, rows: int, columns: int, most: int, seed: int
) -> None:
    pattern = random_pattern(rows, columns, most, seed)
    with patch.object(pattern_module, "_WORTH_IT", worth):
        _ = pattern.across, pattern.transposed.across
    values = torch.arange(1.0, 1.0 + len(pattern.columns))
    twice, order = pattern.transposed.transposed, pattern.across[0][pattern.transposed.across[0]]
    assert torch.equal(twice.starts, pattern.starts)
    assert torch.equal(twice.rows, pattern.rows)
    assert torch.equal(dense(twice, values[order]), dense(pattern, values))
    for row in twice.columns.split(twice.starts.diff().tolist()):
        assert (row.diff() >= 0).all()


@given(rows=st.lists(st.integers(0, 6), max_size=30))
def test_starts_count_the_entries_before_each_row(rows: list[int]) -> None:
    starts = starts_of(torch.tensor(rows, dtype=torch.int64), 7).tolist()
    assert starts == [sum(row < r for row in rows) for r in range(8)]


def test_by_hand_with_an_empty_row_a_column_without_entries_and_a_column_twice() -> None:
    pattern = Pattern(torch.tensor([0, 3, 3, 4]), torch.tensor([2, 0, 2, 0]), 3)
    values, eye = torch.tensor([1.0, 10.0, 100.0, 5.0]), torch.eye(3)
    assert pattern.rows.tolist() == [0, 0, 0, 2]
    assert weighted_sums(pattern, values, eye).tolist() == [[10, 0, 101], [0, 0, 0], [5, 0, 0]]
    assert gathered_sums(pattern, values, eye).tolist() == [[10, 0, 5], [0, 0, 0], [101, 0, 0]]
    products = entry_products(pattern, torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.ones(3, 3))
    assert products.tolist() == [1.0, 1.0, 1.0, 3.0]


def test_sums_of_columns_by_hand() -> None:
    pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1]), 3)
    assert column_sums(pattern, torch.tensor([1.0, 2.0, 3.0])).tolist() == [2.0, 4.0, 0.0]


@given(**patterns)
def test_sums_of_columns_are_those_of_the_dense_matrix(
    rows: int, columns: int, most: int, seed: int
) -> None:
    pattern = random_pattern(rows, columns, most, seed)
    values = random(len(pattern.columns), seed=seed + 1)
    expected = dense(pattern, values).sum(0)
    torch.testing.assert_close(column_sums(pattern, values), expected, **TOLERANCE[torch.float64])


@given(pieces=st.lists(st.integers(0, 4), min_size=1, max_size=6), data=st.data())
def test_rows_are_cut_into_pieces_of_which_the_first_is_not_counted(
    pieces: list[int], data: st.DataObject
) -> None:
    lengths = [n and PIECE * (n - 1) + data.draw(st.integers(1, PIECE)) for n in pieces]
    starts = torch.tensor([0, *lengths]).cumsum(0)
    owners, firsts = further_pieces(starts, sum(lengths))
    expected = [row for row, n in enumerate(pieces) for _ in range(n - 1)]
    assert owners.tolist() == expected + [len(pieces)] * (len(owners) - len(expected))
    assert firsts.tolist() == [sum(row < r for row in expected) for r in range(len(pieces) + 1)]


def test_products_with_one_pattern_cut_its_rows_once() -> None:
    starts = torch.tensor([0, PIECE + 1])
    owners, firsts = further_pieces(starts, PIECE + 1)
    again = further_pieces(starts, PIECE + 1)
    assert again[0] is owners
    assert again[1] is firsts
    other = further_pieces(starts.clone(), PIECE + 1)
    assert other[0] is not owners
    assert torch.equal(other[0], owners)
