"""The weight of orbit_invariance, chosen on held-out orbits."""

import jaxtyping
import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens.errors import OrbitLensError
from orbitlens.training import choose_orbit_weight

TOY = ol.data.toy(n_features=6, orbit_size=4, dim=8, n_samples=300, seed=0)
# What no transport explains, so that pooled codes move and their invariance has a price.
NOISE = 0.5 * np.random.default_rng(0).standard_normal(TOY.orbits.shape).astype(np.float32)
STORE = ol.store_from_array(TOY.orbits.numpy() + NOISE, group=TOY.group)
RHO = ol.fit_transport(STORE, "exact")


def build() -> ol.SAE:
    return ol.sae.orbit_sae(8, 6, 2, RHO)


@pytest.mark.parametrize("allowance", [0.0, 0.1, 0.5])
def test_the_largest_weight_within_the_allowance_is_taken(allowance: float) -> None:
    choice = choose_orbit_weight(
        build, STORE, weights=(100, 0, 3), allowance=allowance, epochs=20, lr=2e-3
    )
    assert choice.weights == (0.0, 3.0, 100.0)
    limit = (1 + allowance) * min(choice.normalised_mse)
    within = [error <= limit for error in choice.normalised_mse]
    assert choice.chosen == max(np.array(choice.weights)[within])


def test_more_weight_buys_invariance() -> None:
    choice = choose_orbit_weight(build, STORE, weights=(0, 30), epochs=20, lr=2e-3)
    assert choice.invariance_error[1] < choice.invariance_error[0]


def test_an_allowance_without_limit_takes_the_largest_and_none_the_best() -> None:
    every = choose_orbit_weight(build, STORE, weights=(0, 100), allowance=1e6, epochs=3)
    best = choose_orbit_weight(build, STORE, weights=(0, 100), allowance=0, epochs=3)
    assert every.chosen == 100
    assert best.chosen == best.weights[int(np.argmin(best.normalised_mse))]


def test_what_the_store_holds_out_stays_unseen() -> None:
    held_out = STORE.split()[1]
    changed = TOY.orbits.numpy() + NOISE
    changed[held_out] = 0
    other = ol.store_from_array(changed, group=TOY.group)
    first, second = (
        choose_orbit_weight(build, s, weights=(0, 3), epochs=2) for s in (STORE, other)
    )
    assert first == second


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": ()}, "`weights`: expected at least one number from 0"),
        ({"weights": (-1, 2)}, "`weights`: expected at least one number from 0"),
        ({"allowance": -0.1}, "`allowance`: expected 0 or more"),
    ],
)
def test_bad_input_is_one_line(settings: dict, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message) as error:
        choose_orbit_weight(build, STORE, **settings)
    assert "\n" not in str(error.value)


def test_an_sae_that_is_no_orbit_sae_is_refused() -> None:
    with pytest.raises(OrbitLensError, match="orbit SAE"):
        choose_orbit_weight(lambda: ol.sae.topk_sae(8, 6, 2), STORE, weights=(0,), epochs=1)


def test_an_array_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`store`: expected an activation store, received Ten"):
        choose_orbit_weight(build, torch.randn(9, 4, 8))  # type: ignore[arg-type]
