"""A training that ends early leaves SAEs that are right on activations as they are."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.sae import SAE, batch_topk_sae, crosscoder_sae, orbit_sae, topk_sae
from orbitlens.training import fit

DATA = ol.data.toy(n_features=8, orbit_size=4, n_samples=300, seed=0)
STORE = ol.store_from_array(DATA.orbits * 50 + 7, group=DATA.group)
RHO = ol.fit_transport(STORE, "exact")
BUILDERS: dict[str, Callable[[], SAE]] = {
    "batch": lambda: batch_topk_sae(16, 24, 3, hidden=9),
    "orbit": lambda: orbit_sae(16, 6, 3, RHO),
    "crosscoder": lambda: crosscoder_sae(16, 24, 3, 4),
}


def stopping(after: int, error: type[BaseException]) -> Callable[[int, int, float], None]:
    def report(epoch: int, epochs: int, loss: float) -> None:
        if epoch == after:
            raise error

    return report


def same(left: SAE, right: SAE) -> bool:
    own, other = left.state_dict(), right.state_dict()
    return all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("kind", BUILDERS)
def test_a_stop_between_epochs_leaves_that_many_epochs(
    kind: str, error: type[BaseException]
) -> None:
    objective = "orbit_reconstruction" if kind == "crosscoder" else "reconstruction"
    whole, stopped = BUILDERS[kind](), BUILDERS[kind]()
    fit(whole, STORE, epochs=2, objective=objective)
    with pytest.raises(error):
        fit(stopped, STORE, epochs=5, objective=objective, progress=stopping(2, error))
    assert same(whole, stopped)
    assert stopped.training
    assert not whole.training
    assert all(own.requires_grad for own in stopped.parameters())


def test_a_stop_leaves_every_sae_of_a_list() -> None:
    whole, stopped = ([topk_sae(16, 24, 3, seed=seed) for seed in range(2)] for _ in range(2))
    fit(whole, STORE, epochs=2, seed=[0, 1])
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, STORE, epochs=5, seed=[0, 1], progress=stopping(2, KeyboardInterrupt))
    assert [same(*pair) for pair in zip(whole, stopped, strict=True)] == [True, True]


@pytest.mark.parametrize("kind", BUILDERS)
def test_before_its_first_step_an_sae_stays_as_it_was(kind: str) -> None:
    def typo(x_moved: torch.Tensor, x_hat_moved: torch.Tensor) -> torch.Tensor:
        raise NameError

    sae = fit(BUILDERS[kind](), STORE, epochs=1).sae if kind == "batch" else BUILDERS[kind]()
    before, training = {n: t.clone() for n, t in sae.state_dict().items()}, sae.training
    with pytest.raises(NameError):
        fit(sae, STORE, objective=typo, epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in sae.state_dict().items())
    assert sae.training == training


def test_a_stop_within_a_step_leaves_unscaled_directions_of_unit_length() -> None:
    calls = []

    def objective(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return (x - x_hat).square().sum(-1)

    sae, x = topk_sae(16, 24, 3), STORE.orbits().flatten(0, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(sae, STORE, objective=objective, epochs=1, batch_size=64)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(24))
    assert (sae(x).x_hat - x).square().sum() < (x - x.mean(0)).square().sum()


def test_frozen_weights_keep_their_values_to_the_bit() -> None:
    sae = topk_sae(16, 24, 3)
    with torch.no_grad():
        sae.dictionary.get_parameter("W_dec").mul_(3)
    sae.dictionary.requires_grad_(False)
    before, encoder = sae.dictionary.state_dict()["W_dec"].clone(), sae.encoder.W_enc.clone()
    fit(sae, STORE, epochs=1)
    assert torch.equal(sae.W_dec, before)
    assert not sae.b_dec.any()
    assert not torch.equal(sae.encoder.W_enc, encoder)
    with pytest.raises(OrbitLensError, match="received frozen weights alone"):
        fit(sae.requires_grad_(False), STORE, epochs=1)


def test_the_state_of_torch_around_a_training_does_not_change_it() -> None:
    usual = fit(topk_sae(16, 24, 3), STORE, epochs=1).sae
    contexts = (
        torch.no_grad(),
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.device("meta"),
    )
    for context in contexts:
        with context:
            found = fit(topk_sae(16, 24, 3), STORE, epochs=1).sae
        assert same(found, usual)
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert same(fit(topk_sae(16, 24, 3), STORE, epochs=1).sae, usual)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)


def test_training_leaves_the_random_state_of_torch() -> None:
    before = torch.get_rng_state()
    fit(topk_sae(16, 24, 3), STORE, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_are_given_as_a_mask_or_in_any_kind_of_list() -> None:
    chosen = np.arange(0, 300, 3)
    mask = np.isin(np.arange(300), chosen)
    ways = (chosen, mask, torch.from_numpy(mask), mask.tolist(), range(0, 300, 3))
    first, *others = [fit(topk_sae(16, 24, 3), STORE, epochs=1, samples=way).sae for way in ways]
    assert all(same(first, other) for other in others)
    for wrong, words in (([], "at least one"), ([300], "indices in 0..299"), (mask[1:], "mask")):
        with pytest.raises(OrbitLensError, match=words):
            fit(topk_sae(16, 24, 3), STORE, epochs=1, samples=wrong)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "canonica"}, "did you mean 'canonical'"),
        ({"objective": lambda x, x_hat: (x - x_hat).square().mean()}, "one value per sample"),
        ({"objective": lambda x, x_hat: (x - x_hat).detach().sum(-1)}, "without a gradient"),
        ({"seed": -1}, "so that the result can be made again"),
        ({"epochs": True}, "a whole number"),
        ({"lr": "fast"}, "expected above 0, received 'fast'"),
        ({"progress": 3}, "a function of"),
    ],
)
def test_settings_of_other_kinds_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(OrbitLensError, match=words):
        fit(topk_sae(16, 24, 3), STORE, **{"epochs": 1, **settings})


def test_objectives_are_given_by_name() -> None:
    saes = [topk_sae(16, 24, 3, seed=seed) for seed in range(2)]
    named = fit(saes, STORE, objective=["canonical", "reconstruction"], epochs=1)
    alone = fit(topk_sae(16, 24, 3), STORE, objective=ol.objectives.canonical, epochs=1)
    assert named[0].history.loss == pytest.approx(alone.history.loss)


def test_a_training_that_blew_up_says_so_in_short() -> None:
    result = fit(topk_sae(16, 24, 3), STORE, epochs=3, lr=1e6)
    assert result.status == "diverged"
    assert repr(result).startswith("FitResult(diverged, epochs 3, loss ")
    assert len(repr(fit(topk_sae(16, 24, 3), STORE, epochs=30))) < 100


def test_constant_activations_have_nothing_to_learn() -> None:
    store = ol.store_from_array(np.ones((30, 4, 16), np.float32), group=DATA.group, layer="dead")
    with pytest.warns(OrbitLensWarning, match="layer 'dead': its activations are constant"):
        fit(topk_sae(16, 24, 3), store, epochs=1)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_only_float32_is_trained(kind: torch.dtype) -> None:
    with pytest.raises(OrbitLensError, match=r"float32 weights.*call `sae.float\(\)`"):
        fit(topk_sae(16, 24, 3).to(kind), STORE, epochs=1)
