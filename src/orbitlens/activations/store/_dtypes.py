"""How activations are rounded on disk; readers get float32 whatever it is."""

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Shaped

from orbitlens.errors import OrbitLensError, unknown_name

# Zarr has no bfloat16: its bits are stored as whole numbers.
ON_DISK = {"float32": "float32", "float16": "float16", "bfloat16": "uint16"}
_LARGEST = {"float32": 3.4e38, "float16": 65504, "bfloat16": 3.38e38}
_INSTEAD = {
    "float32": "scale them down, or leave out these samples",
    "float16": "choose dtype bfloat16",
    "bfloat16": "choose dtype float32",
}
_BFLOAT16_NAN = 0x7FC0
_PIECE = 2**15


def check_dtype(dtype: str) -> None:
    """Check the name of a type on disk.

    Raises:
        OrbitLensError: If there is no such type; names the nearest.
    """
    if dtype not in ON_DISK:
        raise unknown_name("`dtype`", dtype, ON_DISK)


def fill_value(dtype: str) -> float | int:
    """Return what an entry that was never written reads as: NaN, which no store holds."""
    return _BFLOAT16_NAN if dtype == "bfloat16" else float("nan")


def rounded(
    block: Float32[np.ndarray, "batch group *rest"], dtype: str, start: int, subject: str
) -> Shaped[np.ndarray, "batch group *rest"]:
    """Return a block of orbits as it is stored.

    Args:
        block: Orbits of consecutive samples, finite, [batch, |G|, (positions,) dim].
        dtype: "float32", "float16" or "bfloat16".
        start: Index of the first of them.
        subject: Whose activations they are, for the message.

    Raises:
        OrbitLensError: If a value is too large for the type; says where the first one is.

    Example:
        >>> rounded(np.full((1, 1, 1), 1.0, dtype=np.float32), "bfloat16", 0, "ones").tolist()
        [[[16256]]]
    """
    if dtype == "float32":
        return block
    if dtype == "float16":
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is reported
            stored = block.astype(np.float16)
    else:
        stored = torch.from_numpy(block).bfloat16().view(torch.int16).numpy().view(np.uint16)
    _check_overflow(np.isinf(as_float32(stored, dtype)), block, dtype, start, subject)
    return stored


def narrowed(
    block: Shaped[np.ndarray, "batch group *rest"], start: int
) -> Float32[np.ndarray, "batch group *rest"]:
    """Return a block of orbits of any floating type as float32; NaN and infinity stay.

    Args:
        block: Orbits of consecutive samples, [batch, |G|, (positions,) dim].
        start: Index of the first of them.

    Raises:
        OrbitLensError: If a finite value is too large for float32; says where the first one is.

    Example:
        >>> narrowed(np.full((1, 1, 1), 0.5), 0).dtype
        dtype('float32')
    """
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is reported
        stored = np.asarray(block, dtype=np.float32)
    infinite = np.isinf(stored)
    if infinite.any():
        _check_overflow(infinite & np.isfinite(block), block, "float32", start, "activations")
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
    sample, element, *position, dim = np.argwhere(overflow)[0].tolist()
    place = f", position {position[0]}" if position else ""
    raise OrbitLensError(
        f"{subject} as {dtype}",
        expected=f"numbers up to {_LARGEST[dtype]:g}",
        received=f"{block[(sample, element, *position, dim)]:g} at sample {start + sample}, "
        f"element {element}{place}, dimension {dim}",
        remedy=_INSTEAD[dtype],
    )


def as_float32(stored: Shaped[np.ndarray, "*axes"], dtype: str) -> Float32[np.ndarray, "*axes"]:
    """Return stored activations as float32, without a copy where they are.

    Args:
        stored: What `rounded` returned.
        dtype: "float32", "float16" or "bfloat16".
    """
    if dtype == "bfloat16":
        return np.left_shift(stored, 16, dtype=np.uint32).view(np.float32)
    return stored if stored.dtype == np.float32 else _widened(stored)


def _widened(stored: Float16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """Convert by torch, which is twenty times as fast as NumPy."""
    wide = np.empty(stored.shape, np.float32)
    into = torch.from_numpy(wide).flatten()
    values = torch.from_numpy(np.require(stored, requirements=["C", "W"])).flatten()
    # Pieces so small are converted in this thread, which may be one that reads beside a step.
    for own, piece in zip(into.split(_PIECE), values.split(_PIECE), strict=True):
        own.copy_(piece)
    return wide
