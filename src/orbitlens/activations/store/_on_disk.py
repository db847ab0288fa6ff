"""The form of activations on disk: the type of their numbers, and the shards that hold them.

A shard holds whole orbits of consecutive samples. It is one file, complete or absent. It consists
of chunks of half a MiB, each with a checksum, so that a few rows can be read without the rest.
Numbers are finite; readers get float32 for every type.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import zarr
from jaxtyping import Bool, Float16, Float32, Shaped
from zarr.core.metadata import ArrayV3Metadata
from zarr.core.sync import sync

from orbitlens.activations.store._checksums import Checksums, read_samples, read_span
from orbitlens.errors import OrbitLensError, one_line, unknown_name

# Zarr has no bfloat16: its bits are stored as whole numbers.
ON_DISK = {"float32": "float32", "float16": "float16", "bfloat16": "uint16"}
DTYPES = tuple(ON_DISK)
_LARGEST = {"float32": 3.4e38, "float16": 65504, "bfloat16": 3.38e38}
# The smallest number with all of its digits.
_SMALLEST = {"float32": 1.18e-38, "float16": 6.1e-5, "bfloat16": 1.18e-38}
_MOST_LOST = 0.01
"""Relative error of a block, in norm; rounding to bfloat16 leaves 0.002, to float16 0.0003."""
_INSTEAD = {
    "float32": "scale them down, or leave out these samples",
    "float16": "choose dtype bfloat16",
    "bfloat16": "choose dtype float32",
}
_BFLOAT16_NAN = 0x7FC0
_PIECE = 2**15
# The errors of reading a truncated or altered shard; a disk or a network raises others.
DAMAGE = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)
REMAKE = "remove it and harvest the activations again"
_MIB = 2**20
_SHARD_BYTES = 32 * _MIB
_CHUNK_BYTES = _MIB // 2
# Shards of many layers are filled at the same time.
_TOGETHER_BYTES = 256 * _MIB
_AT_ONCE = 64
Samples = Shaped[np.ndarray, "..."] | Shaped[torch.Tensor, "..."] | Sequence[int] | Sequence[bool]
"""Samples by their numbers, or as a boolean mask."""
Labels = Shaped[np.ndarray, "..."] | Shaped[torch.Tensor, "..."] | Sequence[int]


def check_dtype(dtype: str) -> None:
    """Check the name of a type on disk."""
    if not isinstance(dtype, str) or dtype not in ON_DISK:
        raise unknown_name("`dtype`", str(dtype), ON_DISK)


def fill_value(dtype: str) -> float | int:
    """Return NaN, which no store holds: an entry that was never written reads as this."""
    return _BFLOAT16_NAN if dtype == "bfloat16" else float("nan")


def check_finite(
    block: Float32[np.ndarray, "batch group *rest"], start: int, subject: str = "activations"
) -> None:
    """Check a block of orbits, of samples from `start` on, for NaN and infinity."""
    finite = np.isfinite(block)
    if finite.all():
        return
    where = np.argwhere(~finite)
    raise OrbitLensError(
        subject,
        expected="finite numbers",
        received=f"{len(where)} NaN or infinite values in samples "
        f"{start}..{start + len(block) - 1}, the first at {_place(where[0].tolist(), start)}",
        remedy="repair or leave out these samples, or look into an earlier layer",
    )


def to_disk(
    block: Float32[np.ndarray, "batch group *rest"], dtype: str, start: int, subject: str
) -> Shaped[np.ndarray, "batch group *rest"]:
    """Return a finite block of orbits as it is stored; `start` and `subject` are for errors."""
    if dtype == "float32":
        return block
    if dtype == "float16":
        with np.errstate(over="ignore"):  # a number that overflows becomes infinite: an error below
            stored = block.astype(np.float16)
    else:
        stored = torch.from_numpy(block).bfloat16().view(torch.int16).numpy().view(np.uint16)
    back = from_disk(stored, dtype)
    _check_overflow(np.isinf(back), block, dtype, start, subject)
    _check_underflow(back, block, dtype, start, subject)
    return stored


def from_disk(stored: Shaped[np.ndarray, "*axes"], dtype: str) -> Float32[np.ndarray, "*axes"]:
    """Return stored activations as float32, without a copy if they are."""
    if dtype == "bfloat16":
        return np.left_shift(stored, 16, dtype=np.uint32).view(np.float32)
    return stored if stored.dtype == np.float32 else _widen(stored)


def to_float32(
    block: Shaped[np.ndarray, "batch group *rest"], start: int
) -> Float32[np.ndarray, "batch group *rest"]:
    """Return a block of orbits of any floating type as float32; NaN and infinity stay."""
    with np.errstate(over="ignore"):  # a number that overflows becomes infinite: an error below
        stored = np.asarray(block, dtype=np.float32)
    infinite = np.isinf(stored)
    if infinite.any():
        _check_overflow(infinite & np.isfinite(block), block, "float32", start, "activations")
    elif stored.dtype != block.dtype:
        _check_underflow(stored, block, "float32", start, "activations")
    return stored


def _check_overflow(
    overflow: Bool[np.ndarray, "batch group *rest"],
    block: Shaped[np.ndarray, "batch group *rest"],
    dtype: str,
    start: int,
    subject: str,
) -> None:
    if not overflow.any():
        return
    first = np.argwhere(overflow)[0].tolist()
    raise OrbitLensError(
        f"{subject} as {dtype}",
        expected=f"numbers up to {_LARGEST[dtype]:g}",
        received=f"{block[tuple(first)]:g} at {_place(first, start)}",
        remedy=_INSTEAD[dtype],
    )


def _check_underflow(
    stored: Float32[np.ndarray, "batch group *rest"],
    block: Shaped[np.ndarray, "batch group *rest"],
    dtype: str,
    start: int,
    subject: str,
) -> None:
    """Check that a block is what it was, up to rounding: small numbers lose digits, or all."""
    size = _norm(block)
    lost = _norm(stored.astype(block.dtype) - block)
    if not lost > _MOST_LOST * size:
        return
    zeros = float(np.mean((stored == 0) & (block != 0)))
    raise OrbitLensError(
        f"{subject} as {dtype}",
        expected=f"numbers of about {_SMALLEST[dtype]:g} or more, which it can hold",
        received=f"numbers up to {np.abs(block).max():.2g} in samples "
        f"{start}..{start + len(block) - 1}: {zeros:.0%} become zero, relative error "
        f"{lost / size:.2g}",
        remedy="scale them up"
        if dtype == "float32"
        else "choose dtype float32" + (" or bfloat16" if dtype == "float16" else ""),
    )


def _norm(block: Shaped[np.ndarray, "*axes"]) -> float:
    """Return the norm in float64: the squares of small numbers are zero in float32."""
    wide = np.float64 if block.dtype.itemsize > 4 else np.float32
    values = block.astype(wide, copy=False)
    largest = float(np.abs(values).max())
    if largest == 0 or not np.isfinite(largest):
        return largest
    np.divide(values, largest, out=(scaled := np.empty_like(values)), casting="same_kind")
    return largest * float(np.linalg.norm(scaled.reshape(-1)))


def _place(index: list[int], start: int) -> str:
    sample, element, *position, dim = index
    place = f", position {position[0]}" if position else ""
    return f"sample {start + sample}, element {element}{place}, dimension {dim}"


def _widen(stored: Float16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """Convert with torch, which is twenty times as fast as NumPy."""
    wide = np.empty(stored.shape, np.float32)
    into = torch.from_numpy(wide).flatten()
    values = torch.from_numpy(np.require(stored, requirements=["C", "W"])).flatten()
    # torch converts pieces this small in the calling thread, which may read beside a training step.
    for own, piece in zip(into.split(_PIECE), values.split(_PIECE), strict=True):
        own.copy_(piece)
    return wide


@final
@dataclass(frozen=True)
class Shards:
    """A cut of n samples into shards of `samples` each; the last may have fewer."""

    n: int
    samples: int

    @property
    def count(self) -> int:
        """Number of shards."""
        return math.ceil(self.n / self.samples)

    def span(self, shard: int) -> tuple[int, int]:
        """Return the first sample of a shard, and the first after it."""
        return shard * self.samples, min(self.n, (shard + 1) * self.samples)


def chunk_samples(shape: tuple[int, ...]) -> int:
    """Return how many samples share a checksum, a power of two: half a MiB of float32 at most."""
    return 2 ** (max(1, _CHUNK_BYTES // (4 * math.prod(shape))).bit_length() - 1)


def plan_shards(n: int, shapes: list[tuple[int, ...]], together: int) -> Shards:
    """Choose shards of about 32 MiB, the same for several layers, of whole chunks in each.

    A shape is that of an orbit, [|G|, (positions,) dim]. A shard has at least the samples of a
    forward pass, `together`: batches, which never cross from one shard to the next, are full.
    """
    if n == 0 or not all(map(math.prod, shapes)):
        raise OrbitLensError(
            "activations",
            expected="at least one sample, group element, position and dimension",
            received=f"{n} samples of shapes {[list(shape) for shape in shapes]}",
            remedy="choose other inputs or another layer",
        )
    chunks = [chunk_samples(shape) for shape in shapes]
    if n <= min(chunks):
        return Shards(n, n)
    step = max(chunks)
    if n <= step:
        return Shards(n, 2 ** (n - 1).bit_length())
    orbits = [4 * math.prod(shape) for shape in shapes]
    fitting = min(_SHARD_BYTES // max(orbits), _TOGETHER_BYTES // sum(orbits))
    wanted = max(fitting, together)
    return Shards(n, max(1, wanted // step) * step if wanted < n else -(-n // step) * step)


def array_of(root: zarr.Group, name: str = "activations") -> zarr.Array[Any]:
    """Return an array of a store."""
    array = root[name]
    if not isinstance(array, zarr.Array):
        raise KeyError(f"no array {name!r}")
    return array


def shards_of(array: zarr.Array[Any]) -> Shards:
    """Return how an array is cut; the chunks of an array without shards count as shards."""
    return Shards(int(array.shape[0]), int((array.shards or array.chunks)[0]))


def stored_shards(array: zarr.Array[Any]) -> set[int]:
    """Return the shards for which something is stored, whole or damaged."""
    # The keys are few; the shards of a record that was changed may be very many.
    numbers = [re.search(r"\bc[./](\d+)", key) for key in sync(_list_keys(array))]
    count = shards_of(array).count
    found = {int(number[1]) for number in numbers if number is not None}
    return {shard for shard in found if shard < count}


def incomplete_shards(array: zarr.Array[Any], checksums: Checksums | None = None) -> set[int]:
    """Return the stored shards that are damaged, or not the ones that were written there.

    A shard ends in the index of its chunks, which has a checksum: one sample of each is read.
    """
    shards, stored = shards_of(array), sorted(stored_shards(array))
    incomplete = set()
    for first in range(0, len(stored), _AT_ONCE):
        together = stored[first : first + _AT_ONCE]
        starts = np.array([shards.span(shard)[0] for shard in together])
        try:
            read_samples(array, checksums, starts)
        except DAMAGE:
            incomplete |= {
                shard for shard in together if _damage(array, shard, checksums, one_sample=True)
            }
    return incomplete


def drop_shards(array: zarr.Array[Any], shards: Iterable[int]) -> None:
    """Delete shards of an array."""
    for shard in shards:
        sync((array.store_path / _key(array, shard, inside=True)).delete())


def never_written(stored: Any) -> bool:
    """Return whether an orbit of stored activations was never written: it reads as NaN."""
    block = np.asarray(stored)
    first = block.reshape(len(block), -1)[:, :1]
    dtype = "bfloat16" if first.dtype == np.uint16 else str(first.dtype)
    return bool(np.isnan(from_disk(first, dtype)).any())


def describe_damage(
    array: zarr.Array[Any], shards: Iterable[int], checksums: Checksums | None = None
) -> str:
    """Return which of some shards are damaged, with their samples and a reason; empty if none."""
    plan, reasons = shards_of(array), {}
    for shard in shards:
        reason = _damage(array, shard, checksums)
        if reason:
            reasons[shard] = reason
    if not reasons:
        return ""
    spans = {shard: plan.span(shard) for shard in reasons}
    named = [f"{shard} (samples {start}..{stop - 1})" for shard, (start, stop) in spans.items()]
    listed = ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")
    return f"damaged shard{'s'[: len(named) - 1]} {listed}: {next(iter(reasons.values()))}"


def _damage(
    array: zarr.Array[Any], shard: int, checksums: Checksums | None, *, one_sample: bool = False
) -> str:
    """Read a shard, or its index and first sample, and return what is wrong; empty if nothing."""
    start, stop = shards_of(array).span(shard)
    try:
        if shard not in stored_shards(array):
            return "missing"
        stored = read_span(array, checksums, start, start + 1 if one_sample else stop)
        return "missing" if never_written(stored) else ""
    except DAMAGE as error:
        return one_line(error)


def _key(array: zarr.Array[Any], shard: int, *, inside: bool = False) -> str:
    metadata = array.metadata
    if not isinstance(metadata, ArrayV3Metadata):
        raise ValueError(f"Zarr format {metadata.zarr_format}")
    key = metadata.encode_chunk_key((shard, *(0,) * (len(array.shape) - 1)))
    return key if inside or not array.path else f"{array.path}/{key}"


async def _list_keys(array: zarr.Array[Any]) -> list[str]:
    return [key async for key in array.store_path.store.list_prefix(f"{array.path}/")]
