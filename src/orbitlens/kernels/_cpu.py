"""Products with a sparse matrix on a CPU by `kernels.c`; `sparse_products` calls them.

They read rows of some KB at random places. Figures beside torch's are in `benchmarks/speed`.
"""

import torch

from orbitlens.kernels import _compiler as compiler
from orbitlens.kernels._pattern import Pattern, Values
from orbitlens.kernels.buffers import empty
from orbitlens.typing import Float, Int, Tensor

NAME = "The C compiler"


def available() -> bool:
    """Say whether there are a C compiler and torch's threads to run what it makes."""
    return compiler.compiler() is not None and compiler.runtime() is not None


def weighted_sums(
    pattern: Pattern, values: Values, vectors: Float[Tensor, "columns dim"]
) -> Float[Tensor, "rows dim"]:
    """Return S W; see `sparse_products.weighted_sums`.

    Args:
        pattern: Where the entries of S are.
        values: What they are, shape [entries].
        vectors: W, float32, shape [columns, dim].

    Returns:
        Shape [rows, dim].
    """
    dim = vectors.shape[1]
    sums = empty(pattern.height, dim, like=vectors)
    given = (pattern.starts, pattern.columns, values, vectors)
    compiler.run("weighted_sums", pattern.height, dim, *_in_one_piece(*given), sums)
    return sums


def entry_products(
    pattern: Pattern, left: Float[Tensor, "rows dim"], right: Float[Tensor, "columns dim"]
) -> Values:
    """Return <X_r, W_c> at every entry; see `sparse_products.entry_products`.

    Args:
        pattern: Where the entries are.
        left: X, float32, shape [rows, dim].
        right: W, float32, shape [columns, dim].

    Returns:
        Shape [entries].
    """
    products = left.new_empty(len(pattern.columns))
    given = (pattern.starts, pattern.columns, left, right)
    sizes = (pattern.height, left.shape[1])
    compiler.run("entry_products", *sizes, *_in_one_piece(*given), products)
    return products


def across(
    pattern: Pattern,
) -> tuple[Int[Tensor, " entries"], Int[Tensor, " ends"], Int[Tensor, " entries"]]:
    """Return what `Pattern.across` is made of.

    Args:
        pattern: Where the entries are.

    Returns:
        The entries column after column, the number of entries before each column and in all, and
        the row of each of them.
    """
    order, rows = torch.empty_like(pattern.columns), torch.empty_like(pattern.columns)
    starts = torch.zeros(pattern.width + 1, dtype=torch.long)
    given = (pattern.starts, pattern.columns)
    sizes = (pattern.height, pattern.width)
    compiler.run("across", *sizes, *_in_one_piece(*given), starts, order, rows)
    return order, starts, rows


def _in_one_piece(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]
