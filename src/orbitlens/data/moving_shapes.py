"""Sequences of a shape that turns or shifts by one step per frame, and comes back to its start.

Source: the sequences of Keller & Welling 2021, arXiv 2109.01394, *Topographic VAEs learn
Equivariant Capsules*, are digits and dSprites, which need a download. The drawings are our own.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.data.base import Inputs
from orbitlens.errors import out_of_range

_MOTIONS = ("rotation", "shift")
# A shape and its satellite reach 7 pixels from their centre.
_SMALLEST = 16
_SOFTNESS = 0.5  # pixels over which the logarithmic odds of an edge change by one
_GAP, _RADIUS = 1.5, 1.5  # of the satellite: distance from the tip and radius, in pixels
_BYTES = 64  # per pixel, while they are drawn

_Numbers = Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class MovingShapes:
    """Sequences of frames, and where each begins.

    Args:
        inputs: The sequences, shape [n, frames, 1, side, side]; the label is the motion.
        starts: The step of the motion that frame 0 shows, from 0 to frames - 1, shape [n]. At step
            0 the angle, or the place, is 0; it is shown by frame (-start) mod frames.
    """

    inputs: Inputs
    starts: Int[np.ndarray, " n"]


def moving_shapes(n: int, *, frames: int = 16, side: int = 16, seed: int = 0) -> MovingShapes:
    """Draw sequences in which a shape turns, or shifts, by one step per frame, cyclically.

        frame l = sigmoid(-d(R_a (p - c)) / 0.5),
            a = 2 pi (start + l) / frames          in half of the sequences ("rotation"),
            c = side (start + l) / frames          in the others ("shift"; to the right)

    with d the signed distance in pixels from an ellipse or a rectangle, and from a disc of radius
    1.5 around a point 1.5 beyond the tip of its longer axis, which leaves the drawing without a
    symmetry. A shape turns about pixel (side // 2, side // 2); one that shifts stands at a random
    angle, one of the same steps. The right edge is joined to the left one. The longer half-axis is
    uniform in 2 to 4 pixels, the shorter one 0.35 to 0.75 of it.

    Source: Keller & Welling 2021, arXiv 2109.01394, for the sequences: one factor moves, from a
    random start. There the others are fixed at random values; here it is so for shifts alone.

    Args:
        n: Number of sequences; of each motion half, the odd one turns.
        frames: Frames of a sequence, at least 2, and steps of a whole turn.
        side: Height and width in pixels, at least 16.
        seed: The same seed gives the same bits.

    Returns:
        Sequences of shape [n, frames, 1, side, side], float32 in [0, 1], with labels 0 (rotation)
        and 1 (shift); and their starts.

    Raises:
        OrbitLensError: If a number is too small.

    Example:
        >>> drawn = moving_shapes(4, frames=8, seed=0)
        >>> drawn.inputs.values.shape, drawn.inputs.labels.tolist()
        (torch.Size([4, 8, 1, 16, 16]), [0, 1, 0, 1])
    """
    n, frames = as_count("n", n), as_count("frames", frames, least=2)
    side, seed = as_count("side", side, least=0), as_seed(seed)
    if side < _SMALLEST:
        raise out_of_range("side", f"at least {_SMALLEST} pixels", side)
    subject = f"{n} sequences of {frames} frames of {side} x {side} pixels"
    check_memory(subject, _BYTES * n * frames * side**2, "choose fewer or smaller frames")
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(_MOTIONS)
    starts, angles = rng.integers(frames, size=(2, n))
    long = rng.uniform(2, 4, n)
    short = long * rng.uniform(0.35, 0.75, n)
    corners = rng.integers(2, size=n).astype(bool)
    moving = (starts[:, None] + np.arange(frames)) % frames
    turning = (labels == 0)[:, None]
    angle = 2 * math.pi / frames * np.where(turning, moving, angles[:, None])
    place = np.where(turning, side // 2, side / frames * moving)
    values = _draw(angle, place, side, long, short, corners)
    inputs = Inputs("moving shapes", torch.from_numpy(values), labels, _MOTIONS)
    return MovingShapes(inputs, starts)


def _draw(
    angle: Float[np.ndarray, "n frames"],
    place: Float[np.ndarray, "n frames"],
    side: int,
    long: _Numbers,
    short: _Numbers,
    corners: np.ndarray,
) -> Float[np.ndarray, "n frames 1 side side"]:
    """Draw shapes that are turned counter-clockwise, at columns of the middle row."""
    pixels = np.arange(side)
    y = (side // 2 - pixels)[:, None]
    # The nearest copy of the centre on the ring of columns.
    x = (pixels - place[..., None] + side / 2) % side - side / 2
    x, cos, sin = x[:, :, None, :], np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    u, v = cos * x + sin * y, cos * y - sin * x
    a, b = (axis[:, None, None, None] for axis in (long, short))
    rectangle = np.maximum(np.abs(u) - a, np.abs(v) - b)
    body = np.where(corners[:, None, None, None], rectangle, _ellipse(u, v, a, b))
    satellite = np.hypot(u - a - _GAP, v) - _RADIUS
    distance = np.minimum(body, satellite)
    # The distance from an ellipse is to first order, and large numbers would overflow.
    cover = 1 / (1 + np.exp(np.clip(distance / _SOFTNESS, -30, 30)))
    return cover[:, :, None].astype(np.float32)


def _ellipse(u: np.ndarray, v: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (f - 1) / |grad f| with f = |(u / a, v / b)|, which is 1 on the edge."""
    f, slope = np.hypot(u / a, v / b), np.hypot(u / a**2, v / b**2)
    # At the centre both are zero; there the distance is the shorter half-axis.
    return (f - 1) * np.divide(f, slope, out=np.broadcast_to(b, f.shape).copy(), where=slope > 0)
