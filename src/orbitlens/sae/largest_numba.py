"""The largest numbers of a matrix that comes block by block, compiled by Numba.

A row is cut into groups of 16. At least k numbers reach a bound that k of the groups' maxima reach,
and when a row is as long as it must be for this search, few more than k do: so only groups whose
maximum reaches the bound are looked at again. Once k numbers are known, the least of them is the
bound, and most groups of later blocks are passed over. Figures beside torch's are in
`benchmarks/speed`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import numpy as np
import torch

from orbitlens.sae import torch_threads
from orbitlens.sae.torch_threads import compiled, floats, kernel, longs, numbers, share, shorts
from orbitlens.typing import Float, Int, Tensor

_GROUP = 16
_GROUPS_PER_NUMBER = 4
"""Groups for each of the k numbers, from which on the bound leaves few more than k."""
_LOOSE = 8
"""A bound is good enough if it lets through no more than this share of k too many."""
_HALVINGS = 32
"""After which an interval of float32 is a single number."""


def takes(width: int, k: int) -> bool:
    """Say whether rows are long enough for this search.

    Args:
        width: Numbers of a row in the first block.
        k: How many to keep.

    Example:
        >>> takes(1024, 16), takes(64, 16)
        (True, False)
    """
    return width >= _GROUP * _GROUPS_PER_NUMBER * k


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
        values: The largest so far, float32, in the order of their places; written in place, shape
            [rows, k].
        places: Where they were; written in place, int64, shape [rows, k].
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
    sizes = (rows, width, values.shape[1], len(biases), first)
    torch_threads.run(_KERNELS[block.dtype].keep, *sizes, block, biases, values, places)


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
    rows, width = block.shape
    counts = torch.empty(rows, dtype=torch.long)
    kernels = _KERNELS[block.dtype]
    given = (rows, width, block, biases, torch.tensor([floor]))
    torch_threads.run(kernels.count_above, *given, counts)
    starts = counts.cumsum(0) - counts
    found = int(counts.sum())
    values, columns = torch.empty(found), torch.empty(found, dtype=torch.long)
    torch_threads.run(kernels.write_above, *given, starts, found, values, columns)
    return values, torch.arange(rows).repeat_interleave(counts, output_size=found), columns


class _Kernels(NamedTuple):
    keep: Callable[[], Any]
    count_above: Callable[[], Any]
    write_above: Callable[[], Any]


@no_type_check
def _of_type(load):
    """The kernels for a type of block, whose rows `load` brings to float32."""

    @kernel
    def keep(address):
        rows, width, k, members, before = numbers(address)[:5]
        block, biases, values, places = numbers(address)[5:9]
        biases = floats(biases, (members, width))
        values, places = floats(values, (rows, k)), longs(places, (rows, k))
        sums, maxima, found, found_at = _room(width, k)
        first, last = share(rows)
        for row in range(first, last):
            load(block, row, width, biases[row * members // rows], sums)
            _keep(sums, width, before, maxima, found, found_at, values[row], places[row])

    @kernel
    def count_above(address):
        rows, width, block, biases, floor, counts = numbers(address)[:6]
        biases, floor, counts = floats(biases, width), floats(floor, 1), longs(counts, rows)
        sums = np.empty(width, np.float32)
        first, last = share(rows)
        for row in range(first, last):
            load(block, row, width, biases, sums)
            counts[row] = _above(sums, floor[0])

    @kernel
    def write_above(address):
        rows, width, block, biases, floor, starts, found = numbers(address)[:7]
        values, columns = numbers(address)[7:9]
        biases, floor, starts = floats(biases, width), floats(floor, 1), longs(starts, rows)
        values, columns = floats(values, found), longs(columns, found)
        sums = np.empty(width, np.float32)
        first, last = share(rows)
        for row in range(first, last):
            load(block, row, width, biases, sums)
            _write_above(sums, floor[0], starts[row], values, columns)

    return _Kernels(keep, count_above, write_above)


@compiled
@no_type_check
def _load_floats(block, row, width, bias, sums):
    """Add the biases to a row of float32."""
    own = floats(block + 4 * row * width, width)
    for i in range(width):
        sums[i] = own[i] + bias[i]


@compiled
@no_type_check
def _load_halves(block, row, width, bias, sums):
    """Add the biases to a row of bfloat16, the upper halves of float32."""
    own, wide = shorts(block + 2 * row * width, width), sums.view(np.int32)
    for i in range(width):
        wide[i] = np.int32(own[i]) << 16
    for i in range(width):
        sums[i] += bias[i]


@compiled
@no_type_check
def _above(sums, floor):
    """How many of some sums are above a floor."""
    count = np.int32(0)
    for i in range(len(sums)):
        count += np.int32(sums[i] > floor)
    return count


@compiled
@no_type_check
def _write_above(sums, floor, at, values, columns):
    """Write the sums that are above a floor, and where they are, from a place on."""
    for group in range(0, len(sums), _GROUP):
        end = min(group + _GROUP, len(sums))
        if _above(sums[group:end], floor):
            for i in range(group, end):
                if sums[i] > floor:
                    values[at], columns[at] = sums[i], i
                    at += 1


@compiled
@no_type_check
def _room(width, k):
    """Room for the sums and the groups of a row, and for what is found in it."""
    groups = -(-width // _GROUP)
    sums = np.empty(groups * _GROUP, np.float32)
    sums[width:] = -np.inf
    # A number is written before it is known whether it counts.
    found, found_at = np.empty(width + k + 1, np.float32), np.empty(width + k + 1, np.int64)
    return sums, np.empty(groups, np.float32), found, found_at


@compiled
@no_type_check
def _keep(sums, width, before, maxima, found, found_at, values, places):
    """Keep the k largest of what is known of a row and of its sums."""
    k = len(values)
    _maxima(sums, maxima)
    if before == 0:
        count = 0
        bound = _bound(maxima, len(maxima), k, k // _LOOSE)
    else:
        count = k
        found[:k], found_at[:k] = values, places
        bound = _least(values)
    for group in range(len(maxima)):
        if maxima[group] >= bound:
            for i in range(_GROUP):
                at = group * _GROUP + i
                found[count], found_at[count] = sums[at], before + at
                count += (sums[at] >= bound) & (at < width)
    if count > k:
        count = _reduce(found, found_at, count, k)
    values[:count], places[:count] = found[:count], found_at[:count]
    values[count:], places[count:] = np.nan, 0


@compiled
@no_type_check
def _maxima(sums, maxima):
    """The largest of each group."""
    for group in range(len(maxima)):
        most = sums[group * _GROUP]
        for i in range(1, _GROUP):
            most = max(most, sums[group * _GROUP + i])
        maxima[group] = most


@compiled
@no_type_check
def _least(values):
    """The least of some numbers."""
    least = values[0]
    for i in range(len(values)):
        least = min(least, values[i])
    return least


@compiled
@no_type_check
def _reduce(found, found_at, count, k):
    """Leave the k largest, in their order; of equal ones the first."""
    bound = _bound(found, count, k, 0)
    ties = k
    for i in range(count):
        ties -= found[i] > bound
    kept = 0
    for i in range(count):
        tied = found[i] == bound
        keep = (found[i] > bound) | (tied & (ties > 0))
        ties -= tied & keep
        found[kept], found_at[kept] = found[i], found_at[i]
        kept += keep
    return kept


@compiled
@no_type_check
def _bound(values, count, k, spare):
    """The largest bound found that k numbers reach, and no more than `spare` others if that can be.

    It halves an interval of float32 as they are ordered, not as they are spaced.
    """
    low, high = _rank(values[0]), _rank(values[0])
    for i in range(count):
        low, high = min(low, _rank(values[i])), max(high, _rank(values[i]))
    for _ in range(_HALVINGS):
        if low >= high:
            break
        middle = (low + high + 1) >> 1
        reached = _reached(values, count, _ranked(middle))
        if reached >= k:
            low = middle
            if reached <= k + spare:
                break
        else:
            high = middle - 1
    return _ranked(low)


@compiled
@no_type_check
def _reached(values, count, bound):
    """How many numbers reach a bound."""
    reached = np.int32(0)
    for i in range(count):
        reached += np.int32(values[i] >= bound)
    return reached


@compiled
@no_type_check
def _rank(value):
    """A whole number that orders float32."""
    bits = np.int64(np.float32(value).view(np.int32))
    return bits if bits >= 0 else np.int64(-0x80000000) - bits


@compiled
@no_type_check
def _ranked(rank):
    """The float32 of a rank."""
    bits = rank if rank >= 0 else np.int64(-0x80000000) - rank
    return np.int32(bits).view(np.float32)


_KERNELS = {torch.float32: _of_type(_load_floats), torch.bfloat16: _of_type(_load_halves)}
