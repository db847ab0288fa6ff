"""Moving shapes: cyclic sequences of equal steps, whose starts are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from orbitlens.data import moving_shapes
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.split import check_steps

FRAMES, SIDE = 16, 16


def sequences(motion: int) -> tuple[Tensor, np.ndarray]:
    drawn = moving_shapes(40, seed=1)
    own = drawn.inputs.labels == motion
    return drawn.inputs.values[torch.from_numpy(own)], drawn.starts[own]


def test_half_of_the_sequences_turn_and_half_shift() -> None:
    drawn = moving_shapes(7, seed=0)
    assert drawn.inputs.values.shape == (7, FRAMES, 1, SIDE, SIDE)
    assert drawn.inputs.values.dtype == torch.float32
    assert drawn.inputs.class_names == ("rotation", "shift")
    assert drawn.inputs.labels is not None
    assert np.bincount(drawn.inputs.labels).tolist() == [4, 3]
    assert 0 <= drawn.inputs.values[:].min() < drawn.inputs.values[:].max() <= 1
    assert set(drawn.starts) <= set(range(FRAMES))


def test_a_shift_moves_every_pixel_one_to_the_right_and_comes_back() -> None:
    x, _ = sequences(1)
    torch.testing.assert_close(x.roll(1, -1), x.roll(-1, 1))


def test_a_rotation_by_a_quarter_turns_the_pixels_about_the_centre() -> None:
    x, _ = sequences(0)
    inner = x[..., 1:, 1:]  # the centre, pixel (8, 8), is the middle of the other 15 x 15
    torch.testing.assert_close(inner.rot90(1, (-2, -1)), inner.roll(-4, 1))


def test_the_start_is_the_step_that_frame_0_shows() -> None:
    x, starts = sequences(1)
    # Shifted back by its start, a shape lies about column 0: as much light on either side of it.
    at_zero = torch.stack(
        [each[0].roll(-int(start), -1) for each, start in zip(x, starts, strict=True)]
    )
    angles = 2 * math.pi * torch.arange(SIDE) / SIDE
    light = at_zero.sum((1, 2))
    mean = torch.atan2((light * angles.sin()).sum(1), (light * angles.cos()).sum(1))
    assert (mean.abs() * SIDE / (2 * math.pi)).max() < 4  # towards the satellite
    x, starts = sequences(0)
    frames = torch.stack(
        [each[-int(start) % FRAMES] for each, start in zip(x, starts, strict=True)]
    )
    # At the angle 0 the longer axis is horizontal, and the drawing its own mirror image.
    torch.testing.assert_close(frames[..., 1:, :].flip(-2), frames[..., 1:, :])


def test_no_frame_is_another_one() -> None:
    x, _ = sequences(0)
    gaps = (x[:, :, None] - x[:, None]).abs().flatten(3).amax(3)
    gaps += torch.eye(FRAMES)
    assert gaps.min() > 0.05


def test_steps_are_even_for_any_number_of_frames() -> None:
    for frames in (2, 5, 12):
        check_steps(moving_shapes(60, frames=frames, seed=3).inputs.values[:])


def test_the_same_seed_gives_the_same_bits() -> None:
    first, again, other = (moving_shapes(6, seed=seed) for seed in (1, 1, 2))
    assert first.inputs.digest == again.inputs.digest != other.inputs.digest
    assert np.array_equal(first.starts, again.starts)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"`n`"):
        moving_shapes(0)
    with pytest.raises(OrbitLensError, match=r"`frames`: .* at least 2, received 1"):
        moving_shapes(2, frames=1)
    with pytest.raises(OrbitLensError, match=r"`side`: expected at least 16 pixels, received 8"):
        moving_shapes(2, side=8)
