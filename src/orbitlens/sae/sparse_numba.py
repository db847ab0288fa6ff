"""Products with a sparse matrix on a CPU, compiled by Numba; `sparse_products` calls them.

They read rows of 3 KB at random places, so what counts is how many such reads are on their way at
once: four entries of a row are taken together. Figures beside torch's in `benchmarks/speed`.
"""

from typing import no_type_check

import numpy as np

from orbitlens.sae import torch_threads
from orbitlens.sae.memory import empty
from orbitlens.sae.sparse_pattern import Pattern, Values
from orbitlens.sae.torch_threads import compiled, floats, kernel, longs, numbers, share
from orbitlens.typing import Float, Tensor

_TOGETHER = 4
"""Entries that are read at once."""


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
    vectors, dim = vectors.contiguous(), vectors.shape[1]
    sums = empty(pattern.height, dim, like=vectors)
    sizes = (pattern.height, len(pattern.columns), len(vectors), dim)
    starts, columns = pattern.starts.contiguous(), pattern.columns.contiguous()
    torch_threads.run(_sums, *sizes, starts, columns, values.contiguous(), vectors, sums)
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
    left, right = left.contiguous(), right.contiguous()
    products = left.new_empty(len(pattern.columns))
    sizes = (pattern.height, len(pattern.columns), len(right), left.shape[1])
    starts, columns = pattern.starts.contiguous(), pattern.columns.contiguous()
    torch_threads.run(_products, *sizes, starts, columns, left, right, products)
    return products


def available() -> bool:
    """Say whether torch's threads can be given work."""
    return torch_threads.available()


@kernel
@no_type_check
def _sums(address):
    """One row after the other, four entries at a time."""
    rows, entries, columns, dim = numbers(address)[:4]
    starts, places, values, vectors, sums = numbers(address)[4:9]
    starts, places = longs(starts, rows + 1), longs(places, entries)
    values, vectors = floats(values, entries), floats(vectors, (columns, dim))
    sums = floats(sums, (rows, dim))
    first, last = share(rows)
    for row in range(first, last):
        _sum(places, values, vectors, starts[row], starts[row + 1], sums[row])


@compiled
@no_type_check
def _sum(places, values, vectors, begin, end, total):
    """Write the sum of values[e] W[place of e] over some entries."""
    if begin == end:
        total[:] = 0
    whole = begin + (end - begin) // _TOGETHER * _TOGETHER
    for entry in range(begin, whole, _TOGETHER):
        a, b, c, d = values[entry], values[entry + 1], values[entry + 2], values[entry + 3]
        p, q = vectors[places[entry]], vectors[places[entry + 1]]
        r, s = vectors[places[entry + 2]], vectors[places[entry + 3]]
        if entry == begin:
            for i in range(len(total)):
                total[i] = a * p[i] + b * q[i] + c * r[i] + d * s[i]
        else:
            for i in range(len(total)):
                total[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i]
    for entry in range(whole, end):
        a, p = values[entry], vectors[places[entry]]
        if entry == begin:
            for i in range(len(total)):
                total[i] = a * p[i]
        else:
            for i in range(len(total)):
                total[i] += a * p[i]


@kernel
@no_type_check
def _products(address):
    """Inner products of each row with four vectors at a time."""
    rows, entries, columns, dim = numbers(address)[:4]
    starts, places, left, right, products = numbers(address)[4:9]
    starts, places = longs(starts, rows + 1), longs(places, entries)
    left, right = floats(left, (rows, dim)), floats(right, (columns, dim))
    products = floats(products, entries)
    first, last = share(rows)
    for row in range(first, last):
        _product(places, right, starts[row], starts[row + 1], left[row], products)


@compiled
@no_type_check
def _product(places, vectors, begin, end, x, products):
    """Write <x, W[place of e]> of some entries."""
    whole = begin + (end - begin) // _TOGETHER * _TOGETHER
    for entry in range(begin, whole, _TOGETHER):
        p, q = vectors[places[entry]], vectors[places[entry + 1]]
        r, s = vectors[places[entry + 2]], vectors[places[entry + 3]]
        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for i in range(len(x)):
            a += x[i] * p[i]
            b += x[i] * q[i]
            c += x[i] * r[i]
            d += x[i] * s[i]
        products[entry], products[entry + 1] = a, b
        products[entry + 2], products[entry + 3] = c, d
    for entry in range(whole, end):
        p, a = vectors[places[entry]], np.float32(0)
        for i in range(len(x)):
            a += x[i] * p[i]
        products[entry] = a
