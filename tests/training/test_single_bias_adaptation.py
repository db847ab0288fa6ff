"""Decoupled neurons with one target frequency: resonance, and what is refused."""

import pytest
import torch

from orbitlens.data import sparse_mixtures
from orbitlens.errors import OrbitLensError
from orbitlens.metrics import feature_recovery_rate
from orbitlens.training import single_bias_adaptation

DATA = sparse_mixtures(3000, n_features=48, dim=32, active=(2,), seed=0)


def recovered(frequency: float) -> float:
    W = single_bias_adaptation(DATA.values, 384, frequency=frequency, batch_size=1500, seed=0)
    return feature_recovery_rate(W, DATA.features, threshold=0.9)


def test_features_are_found_at_their_frequency_and_not_far_above_it() -> None:
    assert recovered(DATA.frequency) > 0.9
    assert recovered(0.5) == 0


def test_one_step_is_the_mean_of_the_samples_that_fire_weighted_by_the_answers() -> None:
    # Ten rows around one axis: all neurons fire for the five on their own side.
    angles = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    side = torch.stack([angles.cos(), angles.sin()], dim=1)
    x = torch.cat([side, -side])
    W = single_bias_adaptation(x, 8, frequency=0.5, iterations=50, batch_size=10, seed=0)
    principal = torch.linalg.svd(side).Vh[0]
    torch.testing.assert_close((W @ principal).abs(), torch.ones(8), atol=1e-5, rtol=0)


def test_the_length_of_a_sample_does_not_count() -> None:
    x = DATA.values[:500]
    # Powers of two: scaling is then exact.
    lengths = 2.0 ** torch.randint(-2, 3, (500, 1), generator=torch.Generator().manual_seed(0))
    one, other = (
        single_bias_adaptation(samples, 16, frequency=0.05, iterations=3, seed=1)
        for samples in (x, lengths * x)
    )
    assert torch.equal(one, other)


def test_the_largest_numbers_and_equal_samples_give_unit_directions() -> None:
    x = DATA.values[:500]
    for scale in (2.0**100, 2.0**-100):  # squares of these are not numbers of float32
        assert torch.equal(
            *(
                single_bias_adaptation(rows, 16, frequency=0.05, iterations=3, seed=1)
                for rows in (x, scale * x)
            )
        )
    W = single_bias_adaptation(x[:1].expand(500, 32), 8, frequency=0.05, seed=0)
    torch.testing.assert_close(W.norm(dim=1), torch.ones(8))


def test_the_same_seed_gives_the_same_bits_and_the_global_generator_stays() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        single_bias_adaptation(DATA.values, 16, frequency=0.05, iterations=2, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_zero_rows_and_nan_are_refused() -> None:
    x = DATA.values[:100].clone()
    x[7] = 0
    with pytest.raises(OrbitLensError, match="`x`: .*not zero.* 1 zero rows, first 7"):
        single_bias_adaptation(x, 4, frequency=0.1, seed=0)
    x[7] = torch.nan
    with pytest.raises(OrbitLensError, match="`x`: expected finite numbers"):
        single_bias_adaptation(x, 4, frequency=0.1, seed=0)


@pytest.mark.parametrize("frequency", [0, 1, -0.1, 1.5])
def test_a_frequency_is_a_share(frequency: float) -> None:
    with pytest.raises(OrbitLensError, match="`frequency`: expected between 0 and 1"):
        single_bias_adaptation(DATA.values, 4, frequency=frequency, seed=0)


def test_a_frequency_that_a_batch_cannot_show_is_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"at least 5 firing .* of 1000, received 2 at p = 0"):
        single_bias_adaptation(DATA.values, 4, frequency=0.002, batch_size=1000, seed=0)
