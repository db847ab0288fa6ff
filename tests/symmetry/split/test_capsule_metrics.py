"""Figures of capsules, on cases that are known by hand."""

import math
from typing import Any

import jaxtyping
import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.split import (
    capsule_correlation,
    capsule_rolls,
    importance_log_likelihood,
    roll_decode_error,
    roll_error,
    rolled,
)


def normal(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_rolled_capsules_have_no_roll_error_at_any_scale() -> None:
    t = rolled(normal(4, 3, 8), torch.arange(8))
    assert roll_error(t).max() < 1e-12
    lengths = torch.rand(4, 8, 3, 1, dtype=torch.float64) + 0.1
    assert roll_error(lengths * t).max() < 1e-12


def test_the_roll_error_of_two_frames_by_hand() -> None:
    # Unit vectors e0 and e0: rolled by one in time and slot, |e1 - e0| = 2 in either frame; halved.
    t = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    assert roll_error(t).tolist() == [2.0]


def test_independent_capsules_are_at_the_level_of_chance() -> None:
    capsules, frames = 4, 16
    t = normal(40, frames, capsules, frames)
    pairs = frames * (frames - 1) / 2
    chance = capsules * pairs * frames * math.sqrt(2 / math.pi) * math.sqrt(2 / frames)
    assert roll_error(t).mean().item() == pytest.approx(chance, rel=0.03)


def test_capsules_of_norm_0_have_no_roll_error() -> None:
    t = normal(2, 4, 1, 4)
    t[1, 2] = 0
    with pytest.raises(OrbitLensError, match=r"norm above 0, received 1 with all slots 0"):
        roll_error(t)


def test_the_roll_is_that_of_most_capsules() -> None:
    t = normal(6, 3, 8)
    steps = torch.arange(6)
    moved = torch.stack([each.roll(int(step), -1) for each, step in zip(t, steps, strict=True)])
    moved[:, 2] = t[:, 2].roll(7, -1)
    assert torch.equal(capsule_rolls(t, moved), steps)


def test_capsules_that_hold_a_part_of_the_motion_do_not_outvote_one_that_holds_it_together() -> (
    None
):
    # Two capsules look the same after half of their slots, and the votes fall on the smaller roll.
    one, half = torch.eye(8)[0], torch.eye(8)[[0, 4]].sum(0)
    t = torch.stack([half, half, one])[None]
    assert capsule_rolls(t, t.roll(5, -1)).tolist() == [1]
    assert capsule_rolls(t, t.roll(5, -1), together=True).tolist() == [5]


def test_the_roll_from_the_frame_at_step_0_to_frame_0_is_the_start() -> None:
    starts = torch.tensor([0, 3, 7])
    t = rolled(normal(3, 2, 8), torch.arange(8))
    reference = t[torch.arange(3), -starts % 8]
    found = capsule_rolls(reference, t[:, 0])
    assert torch.equal(found, starts)
    assert capsule_correlation(found, starts) == pytest.approx(1)


def test_a_correlation_that_nothing_is_known_of_is_not_a_number() -> None:
    assert math.isnan(capsule_correlation(torch.zeros(5, dtype=torch.int64), torch.arange(5)))
    assert math.isnan(capsule_correlation(torch.arange(5), torch.zeros(5, dtype=torch.int64)))
    # By hand: (-1, 0, 1) and (1, -1, 0).
    found = capsule_correlation(torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1]))
    assert found == pytest.approx(-0.5)


def test_rolled_capsules_decode_to_the_frames_that_the_control_misses() -> None:
    t = normal(3, 2, 8)
    frames = rolled(t, torch.arange(8) - 2)
    assert roll_decode_error(lambda x: x, t, frames, seen=2).max() < 1e-24
    control = roll_decode_error(lambda x: x, t, frames, seen=2, roll=False)
    others = [frame for frame in range(8) if frame != 2]
    by_hand = (frames[:, others] - t[:, None]).square().mean((1, 2, 3))
    torch.testing.assert_close(control, by_hand)


def test_the_frames_that_count_can_begin_later() -> None:
    t = normal(1, 1, 4)
    frames = rolled(t, torch.arange(4))
    frames[:, 3] += 2
    half = roll_decode_error(lambda x: x, t, frames, first=2)
    assert half.item() == pytest.approx(2.0)  # 4 in one of two frames
    with pytest.raises(OrbitLensError, match=r"`seen`.*from 0 to 3, received 4"):
        roll_decode_error(lambda x: x, t, frames, seen=4)


def test_the_mean_of_importance_weights_does_not_grow_with_their_number() -> None:
    assert importance_log_likelihood(torch.full((10, 2), -4.0)).tolist() == pytest.approx([-4, -4])
    # log((1 + 3) / 2)
    weights = torch.tensor([[1.0], [3.0]]).log()
    assert importance_log_likelihood(weights).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("scale", [1e-42, 1e-25, 1e25, 1e37])
def test_the_size_of_capsules_does_not_matter(scale: float) -> None:
    t = normal(3, 4, 2, 4).float()
    tolerance = 0.2 if scale < 1e-38 else 1e-5  # numbers so small have few digits
    torch.testing.assert_close(roll_error(t * scale), roll_error(t), rtol=tolerance, atol=0)
    moved = t[:, 0].roll(3, -1) * scale
    assert capsule_rolls(t[:, 0] * scale, moved, together=True).tolist() == [3, 3, 3]


def test_half_precision_is_not_too_small_for_norms() -> None:
    t = 100 * normal(3, 4, 2, 4).half()
    torch.testing.assert_close(roll_error(40 * t), roll_error(t), rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decode": 3}, "`decode`: expected a function"),
        ({"decode": lambda t: t[:, :, :1]}, r"the shape of `frames`, \[2, 4, 3, 4\]"),
        ({"decode": lambda t: t / 0}, r"`decode\(capsules\)`.*finite"),
        ({"frames": torch.full((2, 4, 3, 4), math.nan)}, "`frames`.*NaN"),
        ({"frames": torch.ones(2, 1, 3, 4)}, "a frame beside the one that is seen"),
        ({"seen": 1.5}, "`seen`"),
        ({"first": True}, "`first`"),
        ({"roll": "no"}, "`roll`: expected True or False"),
    ],
)
def test_a_decode_error_that_would_be_no_figure_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    t = normal(2, 3, 4)
    arguments = {"decode": lambda x: x, "frames": rolled(t, torch.arange(4)), **change}
    with pytest.raises(OrbitLensError, match=message):
        roll_decode_error(capsules=t, **arguments)


def test_other_shapes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    t = normal(2, 3, 4)
    with pytest.raises(OrbitLensError, match=r"`capsules`.*n, frames, capsules, slots"):
        roll_error(t)
    with pytest.raises(OrbitLensError, match=r"`capsules`.*slots = 4.*\[2, 3, 5\]"):
        capsule_rolls(t, normal(2, 3, 5))
    with pytest.raises(OrbitLensError, match=r"`starts`"):
        capsule_correlation(torch.arange(3), torch.arange(4))
    with pytest.raises(OrbitLensError, match=r"`rolls`.*two sequences or more, received 1"):
        capsule_correlation(torch.arange(1), torch.arange(1))
    with pytest.raises(OrbitLensError, match=r"`frames`.*the 2 sequences.*\[3, 4\]"):
        roll_decode_error(lambda x: x, t, normal(3, 4))
    with pytest.raises(OrbitLensError, match=r"`weights`.*at least 1"):
        importance_log_likelihood(torch.zeros(0, 3))
    with pytest.raises(OrbitLensError, match=r"`weights`.*NaN or inf"):
        importance_log_likelihood(torch.tensor([[0.0], [math.nan]]))
    with pytest.raises(OrbitLensError, match=r"`reference`.*a capsule and a slot or more"):
        capsule_rolls(t[..., :0], t[..., :0])
