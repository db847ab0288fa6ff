"""Shifting temporal coherence: each slot is tied to the next slot of the next frame.

Source: Keller & Welling 2021, arXiv 2109.01394, *Topographic VAEs learn Equivariant Capsules*, and
its code (MIT), a frozen transposed convolution; here are the sums that it stands for.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_count, as_switch
from orbitlens.errors import OrbitLensError, out_of_range


def temporal_coherence(
    squares: Float[Tensor, "n frames capsules slots"],
    *,
    reach: int | None,
    spread: int = 1,
    shifting: bool = True,
) -> Float[Tensor, "n frames capsules slots"]:
    """Return the sums of squares over the neighbours of each frame and slot.

        v[l, j] = sum_{|d| <= reach} sum_{|e| <= spread} u^2[l + d, j + d + e]      shifting
        v[l, j] = sum_{|d| <= reach} sum_{|e| <= spread} u^2[l + d, j + e]          still

    with frames and slots counted modulo their numbers. Shifting sums run along diagonals, so that
    v[l + 1, j + 1] and v[l, j] share all terms but those at the ends of the window, and all where
    the window is the whole sequence.

    In the sheared form q[l, c] = u^2[l, c + l] a diagonal is a column: the sums are those of the
    still form, and v[l, j] = sum q[l + d, j - l + e].

    Source: Keller & Welling 2021, arXiv 2109.01394, and its code, without the corners that the
    kernel of the code cuts off.

    Args:
        squares: u^2, or its expected value, shape [n, frames, capsules, slots].
        reach: Frames of the window to each side; None for all frames.
        spread: Slots of the window to each side.
        shifting: Whether the window moves one slot per frame.

    Returns:
        v, of the same shape.

    Raises:
        OrbitLensError: If a window is wider than the axis, or if shifting sums are asked for with
            other than one slot per frame, so that a diagonal does not close.

    Example:
        >>> squares = torch.zeros(1, 4, 1, 4)
        >>> squares[0, 0, 0, 0] = 1
        >>> temporal_coherence(squares, reach=1, spread=0)[0, :, 0].int().tolist()
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    """
    squares = as_axes("squares", squares, "n frames capsules slots", finite=False)
    frames, slots = squares.shape[1], squares.shape[3]
    _check_windows(frames, slots, reach, spread, as_switch("shifting", shifting))
    in_time = _band(frames, reach).to(squares)
    in_slots = _band(slots, spread).to(squares)
    if shifting:
        squares = _sheared(squares, 1)
    sums = torch.einsum("lm,nmkc,cj->nlkj", in_time, squares, in_slots)
    return _sheared(sums, -1) if shifting else sums


def _check_windows(frames: int, slots: int, reach: int | None, spread: int, shifting: bool) -> None:
    """Check that windows fit the axes, and that diagonals close.

    Raises:
        OrbitLensError: See `temporal_coherence`.
    """
    if shifting and slots != frames:
        raise OrbitLensError(
            "`slots` with shifting coherence",
            expected=f"one slot per frame, {frames}: the capsules come back after as many steps",
            received=slots,
            remedy="leave `slots` out, or choose still coherence",
        )
    if reach is not None and 2 * as_count("reach", reach, least=0) + 1 > frames:
        raise out_of_range(
            "reach",
            f"a window of 2 reach + 1 frames, at most the {frames} of a sequence",
            f"{reach}, a window of {2 * reach + 1}",
            "choose a smaller one, or None for all frames",
        )
    if 2 * as_count("spread", spread, least=0) + 1 > slots:
        raise out_of_range(
            "spread",
            f"a window of 2 spread + 1 slots, at most the {slots} of a capsule",
            f"{spread}, a window of {2 * spread + 1}",
            "choose a smaller one",
        )


def _sheared(
    values: Float[Tensor, "n frames capsules slots"], sign: int
) -> Float[Tensor, "n frames capsules slots"]:
    """Return values[l, c + sign l]."""
    frames, slots = values.shape[1], values.shape[3]
    slot: Int[Tensor, "frames slots"] = (
        torch.arange(slots) + sign * torch.arange(frames)[:, None]
    ) % slots
    return values.gather(3, slot.to(values.device)[None, :, None].expand_as(values))


def _band(n: int, reach: int | None) -> Float[Tensor, "n n"]:
    """Return 1 where two places of a ring are at most `reach` apart; everywhere for None."""
    if reach is None:
        return torch.ones(n, n)
    apart = (torch.arange(n)[:, None] - torch.arange(n)) % n
    return (torch.minimum(apart, n - apart) <= reach).float()
