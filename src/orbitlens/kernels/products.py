"""Products with a sparse matrix of which only the entries are stored.

Codes are such a matrix S, [rows, columns] with k entries per row. A step of training needs three
products with it, and each costs as much as there are entries:

    S W          a sum of k directions for each row: decoding
    S^T X        for each column the rows that use it: the gradient of a dictionary or an encoder
    <X_r, W_c>   at the entries alone: the gradient of the codes

On a GPU with Triton they are those of `sparse_triton`, on a CPU with a C compiler those of
`sparse_compiled` once there is enough to do, and otherwise torch's. Nothing here makes the host
wait for a GPU.
"""

import warnings
from functools import cache

import torch
from torch.nn.functional import embedding_bag

from orbitlens.kernels._choice import kernels_for
from orbitlens.kernels._pattern import Pattern, Values
from orbitlens.typing import Float, Tensor


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
    if (fast := kernels_for(vectors, len(values) * vectors.shape[1])) is not None:
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
    order, transposed = pattern.across
    return weighted_sums(transposed, values[order], vectors)


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
    if kernels_for(values, len(values)) is not None:
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
    if (fast := kernels_for(left, len(pattern.columns) * left.shape[1])) is not None:
        return fast.entry_products(pattern, left, right)
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
