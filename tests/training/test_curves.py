"""Losses that still fall, and losses that blew up."""

import math

from hypothesis import given
from hypothesis import strategies as st

from orbitlens.training import blew_up, still_falling

POSITIVE = st.floats(1e-6, 1e6)


@given(POSITIVE, st.integers(20, 300))
def test_halving_every_tenth_of_the_epochs_still_falls(start: float, n: int) -> None:
    assert still_falling([start * 0.5 ** (10 * epoch / n) for epoch in range(n)])


@given(POSITIVE, st.integers(1, 300))
def test_a_loss_at_rest_does_not_fall(level: float, n: int) -> None:
    assert not still_falling([level] * n)


@given(st.lists(POSITIVE, max_size=19))
def test_short_trainings_say_nothing(losses: list[float]) -> None:
    assert not still_falling(losses)


def test_what_blew_up() -> None:
    assert blew_up([1.0, math.nan])
    assert blew_up([1.0, 2.5])
    assert blew_up([5.0] * 10, [-1.5] * 10)
    assert not blew_up([5.0] * 9, [-1.5] * 9)
    assert not blew_up([0.0, 0.0], [-math.inf, -math.inf])
    assert not blew_up([])
