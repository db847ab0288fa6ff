"""Products with a sparse matrix of which only the entries are stored.

Codes are such a matrix S, [rows, columns] with k entries per row. A step of training needs three
products with it, and each costs as much as there are entries:

    S W          a sum of k directions for each row: decoding
    S^T X        for each column the rows that use it: the gradient of a dictionary or an encoder
    <X_r, W_c>   at the entries alone: the gradient of the codes

On a GPU with Triton they are those of `sparse_triton`, otherwise torch's. Nothing here makes the
host wait for a GPU.
"""

import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType

import torch
from torch.nn.functional import embedding_bag

from orbitlens.typing import Float, Int, Tensor

Values = Float[Tensor, " entries"]

PIECE = 256
"""Entries after which a row is cut for the kernels, of which each program sums a piece."""


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
        # Half as long numbers are sorted in little more than half the time.
        return self.columns.int().argsort(stable=True)

    @cached_property
    def transposed(self) -> "Pattern":
        """The pattern of the transpose, whose entries come in `order`; sorted once, used often."""
        starts = starts_of(self.columns, self.width)
        return Pattern(starts, self.rows[self.order], self.height)

    @cached_property
    def further(self) -> tuple[Int[Tensor, " pieces"], Int[Tensor, " ends"]]:
        """Where rows of more than PIECE entries are cut.

        Returns:
            Of each further piece, all but the first of a row, its row; there is room for as many
            as there can be, and the rest has the number of rows. Of each row the number of further
            pieces before it, and at the end that of all.
        """
        counts = (self.starts.diff() - 1).clamp_min(0) // PIECE
        firsts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        most = torch.arange(len(self.columns) // PIECE, device=firsts.device)
        return torch.searchsorted(firsts, most, right=True) - 1, firsts


def starts_of(rows: Int[Tensor, " entries"], height: int) -> Int[Tensor, " ends"]:
    """Return the number of entries before each row, and in all; see `Pattern`.

    Args:
        rows: The row of each entry, in any order.
        height: Number of rows.

    Example:
        >>> starts_of(torch.tensor([2, 0, 2]), 3).tolist()
        [0, 1, 1, 3]
    """
    # As `bincount`, for which a GPU makes the host wait.
    counts = rows.new_zeros(height).scatter_add_(0, rows, torch.ones_like(rows))
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def weighted_sums(
    pattern: Pattern, values: Values, vectors: Float[Tensor, "columns dim"]
) -> Float[Tensor, "rows dim"]:
    """Return S W, out[r] = sum of values[e] W[column of e] over the entries e of row r.

    Without a gradient, as the other two; `SparseCodes` has the gradients.

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
    if (fast := _kernels(vectors)) is not None:
        return fast.weighted_sums(pattern, values, vectors)
    return embedding_bag(
        pattern.columns,
        vectors.detach(),  # else torch prepares for a gradient that nobody asks for
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


def column_sums(pattern: Pattern, values: Values) -> Float[Tensor, " columns"]:
    """Return S^T 1, the sum of each column: the gradient of biases.

    Args:
        pattern: Where the entries of S are.
        values: What they are, shape [entries].

    Returns:
        Shape [columns].

    Example:
        >>> pattern = Pattern(torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1]), 2)
        >>> column_sums(pattern, torch.tensor([1.0, 2.0, 3.0])).tolist()
        [2.0, 4.0]
    """
    if _kernels(values) is not None:
        # What torch adds up on a GPU comes in any order, and gives other bits each time.
        return gathered_sums(pattern, values, values.new_ones(pattern.height, 1)).squeeze(1)
    return values.new_zeros(pattern.width).index_add_(0, pattern.columns, values)


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
    if (fast := _kernels(left)) is not None:
        return fast.entry_products(pattern, left, right)
    _know_sparse_tensors()
    empty = left.new_zeros(len(pattern.columns))
    size = (pattern.height, pattern.width)
    entries = torch.sparse_csr_tensor(pattern.starts, pattern.columns, empty, size)
    return torch.sparse.sampled_addmm(entries, left, right.mT, beta=0.0).values()


def _kernels(tensor: Tensor) -> ModuleType | None:
    """The kernels that take a tensor such as this, if there are any."""
    if not tensor.is_cuda or tensor.dtype not in (torch.float32, torch.bfloat16):
        return None
    return kernels_on(tensor.device)


@cache
def kernels_on(device: torch.device) -> ModuleType | None:
    """Return the module of kernels, or None where they do not work; asked once of each device."""
    from orbitlens.sae import sparse_triton

    return sparse_triton if sparse_triton.works_on(device) else None


@cache
def _know_sparse_tensors() -> None:
    """Torch says once in each process that its sparse tensors are a beta feature."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1))
