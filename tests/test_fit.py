"""The training loop."""

from functools import partial

import pytest
import torch

from orbitlens import objectives
from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.fit import fit, unit_scale
from orbitlens.groups import cyclic
from orbitlens.sae import batch_topk_sae, topk_sae

DATA = toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)
OBJECTIVES = [
    objectives.reconstruction,
    objectives.canonical,
    objectives.latent_invariance,
    partial(objectives.output_invariance, weight=0.5),
]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("build", [topk_sae, batch_topk_sae])
def test_training_lowers_the_loss_and_records_every_epoch(objective, build) -> None:
    sae = build(16, 16, 3, hidden=32)
    result = fit(sae, STORE, objective=objective, epochs=15, lr=3e-3)
    history = result.history
    assert result.status == "completed"
    assert not result.sae.training
    assert len(history.loss) == len(history.l0) == len(history.dead_latents) == 15
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert history.explained_variance[-1] > history.explained_variance[0]
    assert all(0 <= value <= 3.001 for value in history.l0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_seed_gives_the_same_bits(objective) -> None:
    def trained(seed: int) -> torch.Tensor:
        sae = topk_sae(16, 8, 2, hidden=16, seed=seed)
        return fit(sae, STORE, objective=objective, epochs=2, seed=seed).sae.W_dec

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_the_activations_does_not_matter(scale: float) -> None:
    def explained(factor: float) -> float:
        store = store_from_array(DATA.orbits * factor, group=DATA.group)
        sae = fit(topk_sae(16, 16, 3), store, epochs=10, lr=3e-3).sae
        x = DATA.orbits.flatten(0, 1) * factor
        return 1 - ((sae(x).x_hat - x).square().sum() / (x - x.mean(0)).square().sum()).item()

    assert explained(scale) == pytest.approx(explained(1.0), abs=0.02)
    assert explained(scale) > 0.3


def test_unit_rows_survive_training_and_folding() -> None:
    sae = fit(topk_sae(16, 8, 2), STORE, epochs=3).sae
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(8))


@pytest.mark.parametrize("epochs", [1, 5, 20])
def test_the_threshold_of_batch_topk_holds_the_l0(epochs: int) -> None:
    result = fit(batch_topk_sae(16, 16, 3), STORE, epochs=epochs, lr=3e-3)
    l0 = (result.sae.encode(DATA.orbits.flatten(0, 1)) > 0).float().sum(1).mean().item()
    assert l0 == pytest.approx(result.history.l0[-1], abs=0.4)


def test_dead_latents_are_revived() -> None:
    def dead_after(weight: float) -> int:
        sae = topk_sae(16, 32, 3, seed=0)
        with torch.no_grad():
            sae.encoder.b_enc[:16] = -10.0
        result = fit(sae, STORE, epochs=120, lr=3e-2, revival_weight=weight, dead_after=2)
        return result.history.dead_latents[-1]

    assert dead_after(1.0) < dead_after(0.0)


def test_a_diverging_run_is_returned_and_says_so() -> None:
    def explosive(x_moved: torch.Tensor, x_hat_moved: torch.Tensor) -> torch.Tensor:
        return (x_moved - x_hat_moved).sum(-1) / 0.0

    result = fit(topk_sae(16, 8, 2), STORE, objective=explosive, epochs=5)
    assert result.status == "diverged"
    assert len(result.history.loss) == 1


def test_progress_is_called_after_every_epoch() -> None:
    calls: list[tuple[int, int]] = []
    fit(topk_sae(16, 8, 2), STORE, epochs=3, progress=lambda e, n, loss: calls.append((e, n)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_another_width_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match=r"d_in = 16.*received 5"):
        fit(topk_sae(5, 8, 2), STORE)


@pytest.mark.parametrize("objective", [lambda x, y: x, lambda x, codes: x])
def test_an_objective_of_other_arguments_is_rejected(objective) -> None:
    with pytest.raises(OrbitLensError, match="with x_hat, x_hat_moved or x_hat_orbit"):
        fit(topk_sae(16, 8, 2), STORE, objective=objective)


def test_unit_scale_of_constant_activations_is_one() -> None:
    assert unit_scale(torch.ones(3, 2, 4)) == 1.0


def test_the_trivial_group_trains_an_ordinary_sae() -> None:
    store = store_from_array(DATA.orbits[:, :1], group=cyclic(1))
    assert fit(topk_sae(16, 16, 3), store, epochs=2).status == "completed"


def test_training_again_goes_on_from_where_it_was() -> None:
    sae = fit(topk_sae(16, 16, 3), STORE, epochs=20, lr=3e-3).sae
    x = DATA.orbits.flatten(0, 1)
    before = (sae(x).x_hat - x).square().mean().item()
    fit(sae, STORE, epochs=1, lr=1e-6)
    assert (sae(x).x_hat - x).square().mean().item() == pytest.approx(before, rel=0.01)


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("batch_size", 0), ("lr", -1.0)])
def test_numbers_out_of_range_are_rejected(name: str, value: float) -> None:
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected above 0"):
        fit(topk_sae(16, 8, 2), STORE, **{name: value})


def test_unit_scale_does_not_blow_up_rounding() -> None:
    assert unit_scale(torch.full((1000, 4, 8), 0.1)) == 1.0
