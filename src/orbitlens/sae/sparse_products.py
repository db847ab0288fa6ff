"""Products with a sparse matrix of which only the entries are stored.

Codes are such a matrix S, [rows, columns] with k entries per row. A step of training needs three
products with it, and each costs as much as there are entries:

    S W          a sum of k directions for each row: decoding
    S^T X        for each column the rows that use it: the gradient of a dictionary or an encoder
    <X_r, W_c>   at the entries alone: the gradient of the codes
"""

import warnings
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch.nn.functional import embedding_bag

from orbitlens.typing import Float, Int, Tensor

Values = Float[Tensor, " entries"]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the entries of a sparse matrix are, row after row.

    Args:
        starts: Of each row, the number of entries before it; at the end that of all entries, shape
            [rows + 1].
        columns: The column of each entry, shape [entries].
        width: Number of columns.

    Example:
        >>> pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([4, 0, 4]), 5)
        >>> pattern.rows.tolist(), pattern.transposed.starts.tolist()
        ([0, 0, 1], [0, 1, 1, 1, 1, 3])
    """

    starts: Int[Tensor, " ends"]
    columns: Int[Tensor, " entries"]
    width: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @cached_property
    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry, shape [entries]."""
        rows = torch.arange(self.height, device=self.columns.device)
        return rows.repeat_interleave(self.starts.diff(), output_size=len(self.columns))

    @cached_property
    def order(self) -> Int[Tensor, " entries"]:
        """The entries column after column, shape [entries]."""
        return self.columns.argsort(stable=True)

    @cached_property
    def transposed(self) -> "Pattern":
        """The pattern of the transpose, whose entries come in `order`; sorted once, used often."""
        starts = starts_of(self.columns, self.width)
        return Pattern(starts, self.rows[self.order], self.height)


def starts_of(rows: Int[Tensor, " entries"], height: int) -> Int[Tensor, " ends"]:
    """Return the number of entries before each row, and in all; see `Pattern`.

    Args:
        rows: The row of each entry, in any order.
        height: Number of rows.

    Example:
        >>> starts_of(torch.tensor([2, 0, 2]), 3).tolist()
        [0, 1, 1, 3]
    """
    counts = torch.bincount(rows, minlength=height)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def weighted_sums(
    pattern: Pattern, values: Values, vectors: Float[Tensor, "columns dim"]
) -> Float[Tensor, "rows dim"]:
    """Return S W, out[r] = sum of values[e] W[column of e] over the entries e of row r.

    Args:
        pattern: Where the entries of S are.
        values: What they are, shape [entries].
        vectors: W, shape [columns, dim].

    Returns:
        Shape [rows, dim].

    Example:
        >>> pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1]), 2)
        >>> weighted_sums(pattern, torch.tensor([1.0, 2.0, 3.0]), torch.eye(2)).tolist()
        [[2.0, 1.0], [0.0, 3.0]]
    """
    return embedding_bag(
        pattern.columns,
        vectors,
        pattern.starts,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )


def gathered_sums(
    pattern: Pattern, values: Values, vectors: Float[Tensor, "rows dim"]
) -> Float[Tensor, "columns dim"]:
    """Return S^T X, out[c] = sum of values[e] X[row of e] over the entries e of column c.

    Args:
        pattern: Where the entries of S are.
        values: What they are, shape [entries].
        vectors: X, shape [rows, dim].

    Returns:
        Shape [columns, dim].

    Example:
        >>> pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1]), 2)
        >>> gathered_sums(pattern, torch.tensor([1.0, 2.0, 3.0]), torch.eye(2)).tolist()
        [[2.0, 0.0], [1.0, 3.0]]
    """
    return weighted_sums(pattern.transposed, values[pattern.order], vectors)


def entry_products(
    pattern: Pattern, left: Float[Tensor, "rows dim"], right: Float[Tensor, "columns dim"]
) -> Values:
    """Return <X_r, W_c> at every entry, that is X W^T where S is not zero.

    Args:
        pattern: Where the entries of S are.
        left: X, shape [rows, dim].
        right: W, shape [columns, dim].

    Returns:
        Shape [entries].

    Example:
        >>> pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1]), 2)
        >>> entry_products(pattern, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(2)).tolist()
        [2.0, 1.0, 4.0]
    """
    _know_sparse_tensors()
    empty = left.new_zeros(len(pattern.columns))
    size = (pattern.height, pattern.width)
    entries = torch.sparse_csr_tensor(pattern.starts, pattern.columns, empty, size)
    return torch.sparse.sampled_addmm(entries, left, right.mT, beta=0.0).values()


@cache
def _know_sparse_tensors() -> None:
    """Torch says once in each process that its sparse tensors are a beta feature."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1))
