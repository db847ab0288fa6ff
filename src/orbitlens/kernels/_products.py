"""Products with a sparse matrix that stores its entries alone.

Codes are such a matrix S, [rows, columns], with k entries per row. A step of training needs three
products with it; each costs as much as there are entries:

    S W          a sum of k directions for each row: decoding
    S^T X        for each column the rows that use it: the gradient of a dictionary or an encoder
    <X_r, W_c>   at the entries: the gradient of the codes

`_gpu` computes them on a GPU with Triton, `_cpu` on a CPU with a C compiler if there is enough to
do, and torch otherwise. They have no gradient; `SparseCodes` has. The host never waits for a GPU.
"""

import warnings
from functools import cache

import torch
from torch.nn.functional import embedding_bag

from orbitlens.kernels._choice import kernels_for
from orbitlens.kernels._pattern import Pattern
from orbitlens.typing import Float, Tensor

_Values = Float[Tensor, " entries"]


def weighted_sums(
    pattern: Pattern, values: _Values, vectors: Float[Tensor, "columns dim"]
) -> Float[Tensor, "rows dim"]:
    """Return S W, out[r] = sum of values[e] W[column of e] over the entries e of row r."""
    if (fast := kernels_for(vectors, len(values) * vectors.shape[1])) is not None:
        return fast.weighted_sums(pattern.starts, pattern.columns, values, vectors)
    return embedding_bag(
        pattern.columns,
        vectors.detach(),  # otherwise torch prepares an unused gradient
        pattern.starts,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )


def gathered_sums(
    pattern: Pattern, values: _Values, vectors: Float[Tensor, "rows dim"]
) -> Float[Tensor, "columns dim"]:
    """Return S^T X, out[c] = sum of values[e] X[row of e] over the entries e of column c."""
    order, transposed = pattern.across
    return weighted_sums(transposed, values[order], vectors)


def column_sums(pattern: Pattern, values: _Values) -> Float[Tensor, " columns"]:
    """Return S^T 1, the sum of each column: the gradient of biases."""
    if kernels_for(values, len(values)) is not None:
        # On a GPU torch adds in any order, so the bits would differ each time.
        return gathered_sums(pattern, values, values.new_ones(pattern.height, 1)).squeeze(1)
    return values.new_zeros(pattern.width).index_add_(0, pattern.columns, values)


def entry_products(
    pattern: Pattern, left: Float[Tensor, "rows dim"], right: Float[Tensor, "columns dim"]
) -> _Values:
    """Return <X_r, W_c> at every entry, X W^T where S has entries; without a gradient."""
    if (fast := kernels_for(left, len(pattern.columns) * left.shape[1])) is not None:
        return fast.entry_products(pattern.starts, pattern.columns, left, right)
    _silence_sparse_tensors()
    empty = left.new_zeros(len(pattern.columns))
    size = (pattern.height, pattern.width)
    entries = torch.sparse_csr_tensor(pattern.starts, pattern.columns, empty, size)
    return torch.sparse.sampled_addmm(entries, left, right.mT, beta=0.0).values()


@cache
def _silence_sparse_tensors() -> None:
    """Drop torch's warning that sparse tensors are in beta; it comes once in each process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1))
