"""Sparse products and searches on a CPU, by the loops of `kernels.c`.

The products read rows of some KB at random places. The search cuts a row into groups of 16. If k
of the groups' maxima reach a bound, so do at least k numbers, and in a long row few more. So only
groups whose maximum reaches the bound are looked at again. Once k numbers are known, the least of
them is the bound, and most groups of later blocks are passed over. `benchmarks/speed` compares
these loops with torch.
"""

import torch

from orbitlens.kernels import _compiler as compiler
from orbitlens.kernels.buffers import empty
from orbitlens.typing import Float, Int, Tensor

NAME = "The C compiler"

_NUMBERS_PER_NUMBER = 64
"""Length of a row per number kept, from which on few more than k numbers reach the bound."""


def available() -> bool:
    """Say whether there are a C compiler and torch's threads to run the loops."""
    return compiler.compiler() is not None and compiler.runtime() is not None


def weighted_sums(
    starts: Int[Tensor, " ends"],
    columns: Int[Tensor, " entries"],
    values: Float[Tensor, " entries"],
    vectors: Float[Tensor, "columns dim"],
) -> Float[Tensor, "rows dim"]:
    """Return S W in float32; see `_products.weighted_sums`."""
    rows, dim = len(starts) - 1, vectors.shape[1]
    sums = empty(rows, dim, like=vectors)
    compiler.run("weighted_sums", rows, dim, *_compact(starts, columns, values, vectors), sums)
    return sums


def entry_products(
    starts: Int[Tensor, " ends"],
    columns: Int[Tensor, " entries"],
    left: Float[Tensor, "rows dim"],
    right: Float[Tensor, "columns dim"],
) -> Float[Tensor, " entries"]:
    """Return <X_r, W_c> at every entry in float32; see `_products.entry_products`."""
    products = left.new_empty(len(columns))
    sizes = (len(starts) - 1, left.shape[1])
    compiler.run("entry_products", *sizes, *_compact(starts, columns, left, right), products)
    return products


def across(
    starts: Int[Tensor, " ends"], columns: Int[Tensor, " entries"], width: int
) -> tuple[Int[Tensor, " entries"], Int[Tensor, " column_ends"], Int[Tensor, " entries"]]:
    """Sort entries by column: their order, the entries before each column, the row of each."""
    order, rows = torch.empty_like(columns), torch.empty_like(columns)
    before = torch.zeros(width + 1, dtype=torch.long)
    sizes = (len(starts) - 1, width)
    compiler.run("across", *sizes, *_compact(starts, columns), before, order, rows)
    return order, before, rows


def searches(width: int, k: int) -> bool:
    """Say whether rows whose first block has this width are long enough for `keep_largest`."""
    return width >= _NUMBERS_PER_NUMBER * k


def keep_largest(
    block: Float[Tensor, "rows width"],
    biases: Float[Tensor, "members width"],
    values: Float[Tensor, "rows k"],
    places: Int[Tensor, "rows k"],
    *,
    first: int,
) -> None:
    """Update the k largest sums block + bias of every row, and their places, with a further block.

    Sums are compared in float32; of equal ones the first is kept. A row with NaNs yields NaNs. The
    contiguous `values` and `places` change in place, in the order of the places. `first` is the
    place of the block's first column; 0 starts a new search. Rows of a member follow each other.
    """
    rows, width = block.shape
    sizes = (rows, width, _is_half(block), values.shape[1], len(biases), first)
    compiler.run("keep_largest", *sizes, *_compact(block, biases), values, places)


def above(
    block: Float[Tensor, "rows width"], biases: Float[Tensor, " width"], floor: float
) -> tuple[Float[Tensor, " found"], Int[Tensor, " found"], Int[Tensor, " found"]]:
    """Return the float32 sums block + bias above a floor, row after row; their rows and columns."""
    (rows, width), counts = block.shape, torch.empty(len(block), dtype=torch.long)
    block, biases = _compact(block, biases)
    given = (rows, width, _is_half(block), block, biases, torch.tensor([floor]), counts)
    compiler.run("count_above", *given)
    starts = counts.cumsum(0) - counts
    found = int(counts.sum())
    values, columns = torch.empty(found), torch.empty(found, dtype=torch.long)
    compiler.run("write_above", *given, starts, values, columns)
    return values, torch.arange(rows).repeat_interleave(counts, output_size=found), columns


def _compact(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _is_half(block: Tensor) -> int:
    return int(block.dtype == torch.bfloat16)
