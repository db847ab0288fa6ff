"""Products with a sparse matrix as Triton kernels, for a GPU; `sparse_products` calls them.

They were checked in Triton's interpreter on a CPU and compiled for GPUs (`make test-triton`), but
have not been run on a GPU yet. `sparse_kernels` therefore asks each GPU for an example first, and
where that fails everything stays with torch. benchmarks/speed/gpu.py checks and times them on a
GPU.

Sums are taken in float32, in an order that the pattern alone decides: the same bits every time. A
row is summed by one program for each block of coordinates, in pieces if it is long, so that a
latent that fires for every sample does not keep all others waiting. Nothing here makes the host
wait for the GPU.
"""

from types import SimpleNamespace
from typing import Any, no_type_check

import torch

from orbitlens.kernels._pattern import PIECE, Pattern, Values
from orbitlens.typing import Float, Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # Then `available` says so, and nobody calls the kernels.
    triton, tl = None, SimpleNamespace(constexpr=int)

NAME = "Triton"

_ENTRIES = 16
"""Entries that a program looks at together."""
_NARROWEST, _WIDEST = 16, 128
"""Coordinates of a block."""


def weighted_sums(
    pattern: Pattern, values: Values, vectors: Float[Tensor, "columns dim"]
) -> Float[Tensor, "rows dim"]:
    """Return S W; see `sparse_products.weighted_sums`.

    Args:
        pattern: Where the entries of S are.
        values: What they are, shape [entries].
        vectors: W, float32 or bfloat16, shape [columns, dim].

    Returns:
        In the type of W, shape [rows, dim].
    """
    vectors = vectors.contiguous()
    dim = vectors.shape[1]
    sums = vectors.new_empty(pattern.height, dim, dtype=torch.float32)
    of_row = (pattern.starts, pattern.columns, values.contiguous(), vectors, dim)
    width = _width(dim)
    sizes = {"ENTRIES": _ENTRIES, "WIDTH": width}
    blocks = triton.cdiv(dim, width)
    owners, firsts = pattern.further
    with _device_of(vectors):
        _first_pieces[pattern.height, blocks](sums, *of_row, PIECE=PIECE, **sizes)
        if len(owners):
            further = vectors.new_empty(len(owners), dim, dtype=torch.float32)
            of_piece, grid = (owners, firsts, pattern.height), (len(owners), blocks)
            _further_pieces[grid](further, *of_piece, *of_row, PIECE=PIECE, **sizes)
            _add_further[grid](sums, further, *of_piece, dim, **sizes)
    return sums.to(vectors.dtype)


def entry_products(
    pattern: Pattern, left: Float[Tensor, "rows dim"], right: Float[Tensor, "columns dim"]
) -> Values:
    """Return <X_r, W_c> at every entry; see `sparse_products.entry_products`.

    Args:
        pattern: Where the entries are.
        left: X, float32 or bfloat16, shape [rows, dim].
        right: W, likewise, shape [columns, dim].

    Returns:
        In the type of X, shape [entries].
    """
    dim, entries = left.shape[1], len(pattern.columns)
    products = left.new_empty(entries, dtype=torch.float32)
    of_entries = (pattern.rows, pattern.columns, left.contiguous(), right.contiguous())
    with _device_of(left):
        _entry_products[(triton.cdiv(entries, _ENTRIES),)](
            products, *of_entries, entries, dim, ENTRIES=_ENTRIES, WIDTH=_width(dim)
        )
    return products.to(left.dtype)


def available() -> bool:
    """Say whether Triton is there."""
    return triton is not None


def _width(dim: int) -> int:
    """Coordinates of a block: a power of two, as Triton asks."""
    return max(_NARROWEST, min(_WIDEST, triton.next_power_of_2(dim)))


def _device_of(tensor: Tensor) -> Any:
    """Triton starts its kernels on the current GPU."""
    return torch.cuda.device_of(tensor)


def _kernel(function: Any) -> Any:
    return function if triton is None else triton.jit(function)


@_kernel
@no_type_check
def _sum_of(
    begin, end, columns, values, vectors, dim, at, ENTRIES: tl.constexpr, WIDTH: tl.constexpr
):
    """Sum of values[e] W[column of e] from one entry to another, of some coordinates."""
    sums = tl.zeros([ENTRIES, WIDTH], tl.float32)
    for first in range(begin, end, ENTRIES):
        entry = first + tl.arange(0, ENTRIES)
        within = entry < end
        column = tl.load(columns + entry, mask=within, other=0)
        value = tl.load(values + entry, mask=within, other=0.0).to(tl.float32)
        places = vectors + column[:, None] * dim + at[None, :]
        vector = tl.load(places, mask=within[:, None] & (at < dim)[None, :], other=0.0)
        sums += value[:, None] * vector.to(tl.float32)
    return tl.sum(sums, axis=0)


@_kernel
@no_type_check
def _first_pieces(
    sums,
    starts,
    columns,
    values,
    vectors,
    dim,
    PIECE: tl.constexpr,
    ENTRIES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sum the first PIECE entries of a row, which most often are all."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    begin = tl.load(starts + row)
    end = tl.minimum(begin + PIECE, tl.load(starts + row + 1))
    found = _sum_of(begin, end, columns, values, vectors, dim, at, ENTRIES, WIDTH)
    tl.store(sums + row * dim + at, found, mask=at < dim)


@_kernel
@no_type_check
def _further_pieces(
    further,
    owners,
    firsts,
    height,
    starts,
    columns,
    values,
    vectors,
    dim,
    PIECE: tl.constexpr,
    ENTRIES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sum a further piece of a row; there are more programs than pieces."""
    place = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    row = tl.load(owners + place)
    if row < height:
        begin = tl.load(starts + row) + PIECE * (1 + place - tl.load(firsts + row))
        end = tl.minimum(begin + PIECE, tl.load(starts + row + 1))
        found = _sum_of(begin, end, columns, values, vectors, dim, at, ENTRIES, WIDTH)
        tl.store(further + place * dim + at, found, mask=at < dim)


@_kernel
@no_type_check
def _add_further(
    sums,
    further,
    owners,
    firsts,
    height,
    dim,
    ENTRIES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Add its further pieces to a row; the program of the first of them does."""
    place = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    row = tl.load(owners + place)
    if (row < height) & (tl.load(firsts + row) == place):
        end = tl.load(firsts + row + 1)
        found = tl.zeros([ENTRIES, WIDTH], tl.float32)
        for first in range(place, end, ENTRIES):
            piece = first + tl.arange(0, ENTRIES)
            places = further + piece[:, None] * dim + at[None, :]
            found += tl.load(places, mask=(piece < end)[:, None] & (at < dim)[None, :], other=0.0)
        out = sums + row * dim + at
        so_far = tl.load(out, mask=at < dim, other=0.0)
        tl.store(out, so_far + tl.sum(found, axis=0), mask=at < dim)


@_kernel
@no_type_check
def _entry_products(
    products,
    rows,
    columns,
    left,
    right,
    entries,
    dim,
    ENTRIES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Inner products at some entries, whatever rows they are of."""
    entry = tl.program_id(0).to(tl.int64) * ENTRIES + tl.arange(0, ENTRIES)
    within = entry < entries
    of_left = left + tl.load(rows + entry, mask=within, other=0)[:, None] * dim
    of_right = right + tl.load(columns + entry, mask=within, other=0)[:, None] * dim
    found = tl.zeros([ENTRIES, WIDTH], tl.float32)
    for first in range(0, dim, WIDTH):
        at = first + tl.arange(0, WIDTH)
        mask = within[:, None] & (at < dim)[None, :]
        x = tl.load(of_left + at[None, :], mask=mask, other=0.0).to(tl.float32)
        w = tl.load(of_right + at[None, :], mask=mask, other=0.0).to(tl.float32)
        found += x * w
    tl.store(products + entry, tl.sum(found, axis=1), mask=within)
