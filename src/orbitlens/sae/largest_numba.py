"""The k largest numbers of every row of a matrix that comes block by block, compiled by Numba.

A row is cut into groups of 16. At least k numbers reach a bound that k of the groups' maxima reach,
and when a row is as long as it must be for this search, few more than k do: so only groups whose
maximum reaches the bound are looked at again. Once k numbers are known, the least of them is the
bound, and most groups of later blocks are passed over. Figures beside torch's are in
`benchmarks/speed`.
"""

from typing import no_type_check

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
    search = _search_halves if block.dtype == torch.bfloat16 else _search
    sizes = (rows, width, values.shape[1], len(biases), first)
    torch_threads.run(search, *sizes, block, biases, values, places)


@kernel
@no_type_check
def _search(address):
    """Search through float32."""
    rows, width, k, members, before = numbers(address)[:5]
    block, biases, values, places = numbers(address)[5:9]
    block, biases = floats(block, (rows, width)), floats(biases, (members, width))
    values, places = floats(values, (rows, k)), longs(places, (rows, k))
    sums, maxima, found, found_at = _room(width, k)
    first, last = share(rows)
    for row in range(first, last):
        own, bias = block[row], biases[row * members // rows]
        for i in range(width):
            sums[i] = own[i] + bias[i]
        _keep(sums, width, before, maxima, found, found_at, values[row], places[row])


@kernel
@no_type_check
def _search_halves(address):
    """Search through bfloat16, the upper halves of float32."""
    rows, width, k, members, before = numbers(address)[:5]
    block, biases, values, places = numbers(address)[5:9]
    block, biases = shorts(block, (rows, width)), floats(biases, (members, width))
    values, places = floats(values, (rows, k)), longs(places, (rows, k))
    sums, maxima, found, found_at = _room(width, k)
    wide = sums.view(np.int32)
    first, last = share(rows)
    for row in range(first, last):
        own, bias = block[row], biases[row * members // rows]
        for i in range(width):
            wide[i] = np.int32(own[i]) << 16
        for i in range(width):
            sums[i] += bias[i]
        _keep(sums, width, before, maxima, found, found_at, values[row], places[row])


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
