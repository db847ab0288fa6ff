"""Temporal coherence: the sums of the source, term by term, and what rolls exactly."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv_transpose3d

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.split import temporal_coherence


def drawn(frames: int, slots: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, frames, 3, slots, generator=generator, dtype=torch.float64)


def term_by_term(squares: Tensor, reach: int, spread: int, shifting: bool) -> Tensor:
    v = torch.zeros_like(squares)
    _, frames, _, slots = squares.shape
    for frame in range(frames):
        for j in range(slots):
            for d in range(-reach, reach + 1):
                for e in range(-spread, spread + 1):
                    slot = (j + e + d * shifting) % slots
                    v[:, frame, :, j] += squares[:, (frame + d) % frames, :, slot]
    return v


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2), st.integers(0, 2), st.booleans(), st.integers(5, 7), st.integers(5, 7))
def test_they_are_the_sums_of_the_definition(
    reach: int, spread: int, shifting: bool, frames: int, slots: int
) -> None:
    slots = frames if shifting else slots
    squares = drawn(frames, slots)
    found = temporal_coherence(squares, reach=reach, spread=spread, shifting=shifting)
    torch.testing.assert_close(found, term_by_term(squares, reach, spread, shifting))


def test_they_are_the_transposed_convolution_of_the_source_without_its_corners() -> None:
    """The kernel of the source is a band of ones; with one slot it has no corners to cut."""
    squares, frames, reach = drawn(9, 9), 9, 2
    kernel = torch.eye(2 * reach + 1, dtype=torch.float64)[None, None, :, None, :]
    joined = squares.roll((reach, reach), (1, 3))
    joined = torch.cat([joined, joined[:, : 2 * reach]], 1)
    joined = torch.cat([joined, joined[..., : 2 * reach]], 3)
    spread_out = conv_transpose3d(joined[:, None].transpose(2, 2), kernel)[:, 0]
    window = slice(2 * reach, 2 * reach + frames)
    found = temporal_coherence(squares, reach=reach, spread=0)
    torch.testing.assert_close(spread_out[:, window, :, window], found)


def test_over_the_whole_sequence_they_roll_one_slot_per_frame_exactly() -> None:
    v = temporal_coherence(drawn(8, 8), reach=None)
    torch.testing.assert_close(v.roll((1, 1), (1, 3)), v, rtol=1e-14, atol=0)
    part = temporal_coherence(drawn(8, 8), reach=2)
    assert (part.roll((1, 1), (1, 3)) - part).abs().max() > 0.1


def test_over_the_whole_odd_sequence_none_is_the_widest_reach() -> None:
    squares = drawn(7, 7)
    whole = temporal_coherence(squares, reach=None)
    torch.testing.assert_close(whole, temporal_coherence(squares, reach=3))


@pytest.mark.parametrize("shifting", [True, False])
def test_they_commute_with_delays_and_with_rolls_of_all_slots(shifting: bool) -> None:
    squares = drawn(8, 8)
    v = temporal_coherence(squares, reach=2, shifting=shifting)
    for axis in (1, 3):
        moved = temporal_coherence(squares.roll(3, axis), reach=2, shifting=shifting)
        torch.testing.assert_close(moved, v.roll(3, axis))


def test_windows_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OrbitLensError, match=r"`slots` with shifting.*one slot per frame, 8.*5"):
        temporal_coherence(drawn(8, 5), reach=1)
    with pytest.raises(OrbitLensError, match=r"`reach`.*at most the 8.*4, a window of 9"):
        temporal_coherence(drawn(8, 8), reach=4)
    with pytest.raises(OrbitLensError, match=r"`spread`.*at most the 4.*2, a window of 5"):
        temporal_coherence(drawn(8, 4), reach=1, spread=2, shifting=False)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=r"`squares`.*n, frames, capsules, slots"):
        temporal_coherence(drawn(8, 8)[0], reach=1)
