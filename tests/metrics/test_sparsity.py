"""Counts of firing latents."""

import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.metrics import dead_latents, firing_rates, l0

CODES = torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 1e-30], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])


def test_by_hand() -> None:
    assert l0(CODES).tolist() == [1, 2, 0, 1]
    assert firing_rates(CODES).tolist() == [0, 0.75, 0.25]
    assert dead_latents(CODES).item() == 1


def test_mean_l0_is_the_sum_of_the_firing_rates() -> None:
    codes = torch.randn(50, 20, generator=torch.Generator().manual_seed(0)).relu()
    torch.testing.assert_close(l0(codes).double().mean(), firing_rates(codes).sum())


def test_latents_are_dead_in_a_set_if_they_are_dead_in_its_parts() -> None:
    assert dead_latents(CODES[:1]).item() == 2
    assert dead_latents(CODES[2:3]).item() == 3


def test_codes_that_are_no_numbers_are_refused() -> None:
    for count in (l0, firing_rates, dead_latents):
        with pytest.raises(OrbitLensError, match="`codes`: expected finite numbers"):
            count(CODES / 0)
