"""Sparse products on a GPU, as Triton kernels.

They were checked in Triton's interpreter on a CPU and compiled for GPUs (`make test-triton`), but
have not run on a GPU yet. `_choice` therefore tries an example on each GPU first, and leaves the
work to torch where that fails. benchmarks/speed/gpu.py checks and times them on a GPU.

Sums are taken in float32, in an order that depends on the pattern alone, so the bits are the same
every time. One program sums a row for each block of coordinates. Long rows are cut into pieces, so
that a latent that fires for every sample does not delay all others. The host never waits for the
GPU.
"""

from types import SimpleNamespace
from typing import Any, no_type_check

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from orbitlens.typing import Float, Int, Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # Then `available` says so, and the kernels are not called.
    triton, tl = None, SimpleNamespace(constexpr=int)

NAME = "Triton"
PIECE = 256
"""Entries of a piece, the part of a row that one program sums."""

_ENTRIES = 16
"""Entries that a program reads together."""
_NARROWEST, _WIDEST = 16, 128
"""Coordinates of a block."""
_cuts: Any = WeakTensorKeyDictionary()
"""Further pieces by their `starts`: the products of a step share patterns."""


def available() -> bool:
    """Say whether Triton is installed."""
    return triton is not None


def weighted_sums(
    starts: Int[Tensor, " ends"],
    columns: Int[Tensor, " entries"],
    values: Float[Tensor, " entries"],
    vectors: Float[Tensor, "columns dim"],
) -> Float[Tensor, "rows dim"]:
    """Return S W in the type of W, float32 or bfloat16; see `_products.weighted_sums`."""
    vectors = vectors.contiguous()
    height, dim = len(starts) - 1, vectors.shape[1]
    sums = vectors.new_empty(height, dim, dtype=torch.float32)
    of_row = (starts, columns, values.contiguous(), vectors, dim)
    width = _width(dim)
    sizes = {"ENTRIES": _ENTRIES, "WIDTH": width}
    blocks = triton.cdiv(dim, width)
    owners, firsts = further_pieces(starts, len(columns))
    with _device_of(vectors):
        _first_pieces[height, blocks](sums, *of_row, PIECE=PIECE, **sizes)
        if len(owners):
            further = vectors.new_empty(len(owners), dim, dtype=torch.float32)
            of_piece, grid = (owners, firsts, height), (len(owners), blocks)
            _further_pieces[grid](further, *of_piece, *of_row, PIECE=PIECE, **sizes)
            _add_further[grid](sums, further, *of_piece, dim, **sizes)
    return sums.to(vectors.dtype)


def entry_products(
    starts: Int[Tensor, " ends"],
    columns: Int[Tensor, " entries"],
    left: Float[Tensor, "rows dim"],
    right: Float[Tensor, "columns dim"],
) -> Float[Tensor, " entries"]:
    """Return <X_r, W_c> at every entry in the type of X; see `_products.entry_products`."""
    dim, entries = left.shape[1], len(columns)
    products = left.new_empty(entries, dtype=torch.float32)
    rows = torch.arange(len(starts) - 1, device=starts.device)
    rows = rows.repeat_interleave(starts.diff(), output_size=entries)
    of_entries = (rows, columns, left.contiguous(), right.contiguous())
    with _device_of(left):
        _entry_products[(triton.cdiv(entries, _ENTRIES),)](
            products, *of_entries, entries, dim, ENTRIES=_ENTRIES, WIDTH=_width(dim)
        )
    return products.to(left.dtype)


def further_pieces(
    starts: Int[Tensor, " ends"], entries: int
) -> tuple[Int[Tensor, " pieces"], Int[Tensor, " ends"]]:
    """Cut rows of more than PIECE entries; the first piece of a row is not counted.

    Returns:
        The row of each further piece, with room for the most that there can be and the number of
        rows in the unused rest; and the further pieces before each row and in all.
    """
    if starts not in _cuts:
        counts = (starts.diff() - 1).clamp_min(0) // PIECE
        firsts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        most = torch.arange(entries // PIECE, device=firsts.device)
        _cuts[starts] = torch.searchsorted(firsts, most, right=True) - 1, firsts
    return _cuts[starts]


def _width(dim: int) -> int:
    """Coordinates of a block: a power of two, as Triton requires."""
    return max(_NARROWEST, min(_WIDEST, triton.next_power_of_2(dim)))


def _device_of(tensor: Tensor) -> Any:
    """Make the tensor's GPU the current one, on which Triton starts its kernels."""
    return torch.cuda.device_of(tensor)


def _kernel(function: Any) -> Any:
    return function if triton is None else triton.jit(function)


@_kernel
@no_type_check
def _sum_of(
    begin, end, columns, values, vectors, dim, at, ENTRIES: tl.constexpr, WIDTH: tl.constexpr
):
    """Sum values[e] W[column of e] over a range of entries, for some coordinates."""
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
    """Sum the first PIECE entries of a row, in most cases all of them."""
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
    sums, further, owners, firsts, height, dim, ENTRIES: tl.constexpr, WIDTH: tl.constexpr
):
    """Add the further pieces of a row to its sum, in the program of the first of them."""
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
    products, rows, columns, left, right, entries, dim, ENTRIES: tl.constexpr, WIDTH: tl.constexpr
):
    """Inner products at some entries, of any rows."""
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
