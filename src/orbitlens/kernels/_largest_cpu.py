"""The largest numbers of a matrix that comes block by block, by `kernels.c`.

A row is cut into groups of 16. At least k numbers reach a bound that k of the groups' maxima reach,
and when a row is as long as it must be for this search, few more than k do: so only groups whose
maximum reaches the bound are looked at again. Once k numbers are known, the least of them is the
bound, and most groups of later blocks are passed over. Figures beside torch's are in
`benchmarks/speed`.
"""

import torch

from orbitlens.kernels import _compiler as compiler
from orbitlens.typing import Float, Int, Tensor

_NUMBERS_PER_NUMBER = 64
"""Length of a row for each of the k numbers, from which on the bound leaves few more than k."""


def takes(width: int, k: int) -> bool:
    """Say whether rows are long enough for this search.

    Args:
        width: Numbers of a row in the first block.
        k: How many to keep.

    Example:
        >>> takes(1024, 16), takes(64, 16)
        (True, False)
    """
    return width >= _NUMBERS_PER_NUMBER * k


def keep_largest(
    block: Float[Tensor, "rows width"],
    biases: Float[Tensor, "members width"],
    values: Float[Tensor, "rows k"],
    places: Int[Tensor, "rows k"],
    *,
    first: int,
) -> None:
    """Let the k largest numbers of every row be known, of this block and those before it.

    The sums block + bias are compared, in float32. Of equal numbers those before are kept. A row
    with numbers that are not numbers has such values.

    Args:
        block: Numbers, float32 or bfloat16, shape [rows, width].
        biases: What is added to every row of a member, whose rows follow each other, float32,
            shape [members, width].
        values: The largest so far, float32, in the order of their places; written in place, in one
            piece, shape [rows, k].
        places: Where they were; written in place, int64, in one piece, shape [rows, k].
        first: Place of the first column; 0 for the first block.

    Example:
        >>> values, places = torch.empty(1, 1), torch.empty(1, 1, dtype=torch.long)
        >>> block = torch.arange(64.0)[None]
        >>> keep_largest(block, torch.zeros(1, 64), values, places, first=0)
        >>> keep_largest(-block, torch.zeros(1, 64), values, places, first=64)
        >>> values.item(), places.item()
        (63.0, 63)
    """
    rows, width = block.shape
    sizes = (rows, width, _is_half(block), values.shape[1], len(biases), first)
    block, biases = block.contiguous(), biases.contiguous()
    compiler.run("keep_largest", *sizes, block, biases, values, places)


def above(
    block: Float[Tensor, "rows width"], biases: Float[Tensor, " width"], floor: float
) -> tuple[Float[Tensor, " found"], Int[Tensor, " found"], Int[Tensor, " found"]]:
    """Return the sums block + bias that are above a floor, row after row.

    Args:
        block: Numbers, float32 or bfloat16, shape [rows, width].
        biases: What is added to every row, float32, shape [width].
        floor: What they are above.

    Returns:
        The sums, float32, and their rows and columns, shape [found] each.

    Example:
        >>> values, rows, columns = above(torch.eye(2), torch.tensor([0.0, 1.0]), 0.5)
        >>> values.tolist(), rows.tolist(), columns.tolist()
        ([1.0, 1.0, 2.0], [0, 0, 1], [0, 1, 1])
    """
    (rows, width), counts = block.shape, torch.empty(len(block), dtype=torch.long)
    block, biases, limit = block.contiguous(), biases.contiguous(), torch.tensor([floor])
    given = (rows, width, _is_half(block), block, biases, limit, counts)
    compiler.run("count_above", *given)
    starts = counts.cumsum(0) - counts
    found = int(counts.sum())
    values, columns = torch.empty(found), torch.empty(found, dtype=torch.long)
    compiler.run("write_above", *given, starts, values, columns)
    return values, torch.arange(rows).repeat_interleave(counts, output_size=found), columns


def _is_half(block: Tensor) -> int:
    return int(block.dtype == torch.bfloat16)
