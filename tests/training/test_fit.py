"""The training loop."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral
from orbitlens.sae import (
    SAE,
    archetypal_sae,
    batch_topk_sae,
    crosscoder_sae,
    kmeans_candidates,
    topk_sae,
)
from orbitlens.training import FitResult, Objective, fit, unit_scale

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
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected (above 0|at least 1)"):
        fit(topk_sae(16, 8, 2), STORE, **{name: value})


def test_unit_scale_does_not_blow_up_rounding() -> None:
    assert unit_scale(torch.full((1000, 4, 8), 0.1)) == 1.0


ORBITS = toy(n_features=8, orbit_size=8, n_samples=120, seed=1).orbits
C4 = store_from_array(ORBITS[:, ::2], group=cyclic(4))
C8 = store_from_array(ORBITS, group=cyclic(8))
D4 = store_from_array(3.0 * ORBITS.flip(1) + 1.0, group=dihedral(4))
CANDIDATES = kmeans_candidates(ORBITS.flatten(0, 1), 20)


def absolute(x: torch.Tensor, x_hat_moved: torch.Tensor) -> torch.Tensor:
    return (x - x_hat_moved).abs().sum(-1)


def half_dead(seed: int) -> SAE:
    sae = topk_sae(16, 12, 3, seed=seed)
    with torch.no_grad():
        sae.encoder.b_enc[:6] = -30.0
    return sae


weak = partial(objectives.output_invariance, weight=0.3)
strong = partial(objectives.output_invariance, weight=3.0)
Case = tuple[Callable[..., SAE], Objective, ActivationStore, int]
CASES: dict[str, Case] = {
    "vanilla": (partial(topk_sae, 16, 12, 3), objectives.reconstruction, C4, 0),
    "another seed": (partial(topk_sae, 16, 12, 3), objectives.reconstruction, C4, 1),
    "another store": (partial(topk_sae, 16, 12, 3), objectives.reconstruction, D4, 1),
    "dead latents": (half_dead, objectives.reconstruction, C8, 2),
    "canonical": (partial(topk_sae, 16, 12, 3), objectives.canonical, C4, 3),
    "of the user": (partial(topk_sae, 16, 12, 3), absolute, C8, 4),
    "latent": (partial(topk_sae, 16, 12, 3), objectives.latent_invariance, C4, 5),
    "output": (partial(topk_sae, 16, 12, 3), objectives.output_invariance, C4, 6),
    "small lambda": (partial(topk_sae, 16, 12, 3), weak, D4, 7),
    "large lambda": (partial(topk_sae, 16, 12, 3), strong, D4, 7),
    "another k": (partial(topk_sae, 16, 12, 5), objectives.canonical, C4, 8),
    "mlp": (partial(topk_sae, 16, 12, 3, hidden=9), objectives.canonical, C4, 9),
    "batch": (partial(batch_topk_sae, 16, 12, 3), objectives.canonical, C4, 10),
    "batch, other": (partial(batch_topk_sae, 16, 12, 3), absolute, D4, 11),
    "archetypal": (
        lambda seed: archetypal_sae(CANDIDATES, 12, 3, seed=seed),
        objectives.reconstruction,
        C4,
        12,
    ),
    "crosscoder of C4": (
        lambda seed: crosscoder_sae(16, 12, 3, 4, seed=seed),
        objectives.orbit_reconstruction,
        C4,
        13,
    ),
    "crosscoder of C8": (
        lambda seed: crosscoder_sae(16, 12, 3, 8, seed=seed),
        objectives.orbit_reconstruction,
        C8,
        14,
    ),
    "crosscoder of D4": (
        lambda seed: crosscoder_sae(16, 12, 3, 8, seed=seed),
        objectives.orbit_reconstruction,
        D4,
        15,
    ),
}
SETTINGS = {"epochs": 4, "batch_size": 50, "lr": 3e-3}


def trained_together(names: Sequence[str], **settings: float) -> dict[str, FitResult]:
    cases = [CASES[name] for name in names]
    results = fit(
        [build(seed=seed) for build, _, _, seed in cases],
        [store for _, _, store, _ in cases],
        objective=[objective for _, objective, _, _ in cases],
        seed=[seed for *_, seed in cases],
        **{**SETTINGS, **settings},
    )
    return dict(zip(names, results, strict=True))


def trained_alone(name: str, **settings: float) -> FitResult:
    build, objective, store, seed = CASES[name]
    return fit(build(seed=seed), store, objective=objective, seed=seed, **{**SETTINGS, **settings})


def assert_same(result: FitResult, other: FitResult) -> None:
    for name, tensor in result.sae.state_dict().items():
        expected = other.sae.state_dict()[name]
        torch.testing.assert_close(tensor, expected, rtol=1e-3, atol=1e-4, equal_nan=True)
    for name, values in vars(result.history).items():
        expected = vars(other.history)[name]
        assert values == pytest.approx(expected, rel=1e-3, abs=1e-4, nan_ok=True), name
    assert (result.status, result.scale) == (other.status, other.scale)
    assert not result.sae.training


@pytest.fixture(scope="module")
def together() -> dict[str, FitResult]:
    return trained_together(list(CASES))


@pytest.mark.parametrize("name", CASES)
def test_a_member_of_a_mixed_list_is_what_it_is_alone(
    together: dict[str, FitResult], name: str
) -> None:
    assert_same(together[name], trained_alone(name))


def test_dead_latents_are_revived_in_the_members_that_have_them_alone(
    together: dict[str, FitResult],
) -> None:
    assert together["dead latents"].history.dead_latents[0] >= 6
    assert together["vanilla"].history.dead_latents[0] == 0
    names = ["vanilla", "dead latents", "another seed"]
    without = trained_together(names, revival_weight=0.0)
    assert_same(without["vanilla"], together["vanilla"])
    before, after = (each["dead latents"].sae.encoder.W_enc for each in (without, together))
    assert (before[:, :6] - after[:, :6]).abs().max() > 1e-3


def test_the_order_of_the_list_does_not_matter(together: dict[str, FitResult]) -> None:
    names = ["large lambda", "another seed", "small lambda", "vanilla", "canonical"]
    for name, result in trained_together(names).items():
        assert_same(result, together[name])


def test_a_member_that_diverges_leaves_the_others_as_they_are(
    together: dict[str, FitResult],
) -> None:
    def explosive(x_moved: torch.Tensor, x_hat_moved: torch.Tensor) -> torch.Tensor:
        return (x_moved - x_hat_moved).square().sum(-1) / 0.0

    first, broken, last = fit(
        [topk_sae(16, 12, 3, seed=0), topk_sae(16, 12, 3, seed=5), topk_sae(16, 12, 3, seed=1)],
        C4,
        objective=[objectives.reconstruction, explosive, objectives.reconstruction],
        seed=[0, 5, 1],
        **SETTINGS,
    )
    assert_same(first, together["vanilla"])
    assert_same(last, together["another seed"])
    assert broken.status == "diverged"
    assert len(broken.history.loss) == len(broken.history.dead_latents) == 1


def test_saes_that_can_be_stacked_share_every_call_of_their_objective() -> None:
    calls = []

    def counted(x_moved: torch.Tensor, x_hat_moved: torch.Tensor) -> torch.Tensor:
        calls.append(x_moved.shape)
        return (x_moved - x_hat_moved).square().sum(-1)

    saes = [topk_sae(16, 12, 3, seed=seed) for seed in range(4)] + [topk_sae(16, 12, 4)]
    fit(saes, C4, objective=counted, epochs=2, batch_size=200)
    # One step an epoch; the last SAE has another k, so it is a stack of its own.
    assert len(calls) == 2 * 2


def test_stores_of_one_list_may_have_different_units() -> None:
    far = store_from_array(1e3 * ORBITS[:, ::2], group=cyclic(4))
    near, distant = fit([topk_sae(16, 12, 3), topk_sae(16, 12, 3)], [C4, far], seed=0, **SETTINGS)
    assert near.scale == pytest.approx(1e3 * distant.scale)
    torch.testing.assert_close(near.sae.W_dec, distant.sae.W_dec, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(1e3 * near.sae.b_dec, distant.sae.b_dec, rtol=1e-3, atol=1e-2)


def test_the_mean_loss_of_the_members_is_reported() -> None:
    losses: list[float] = []
    saes = [topk_sae(16, 12, 3, seed=seed) for seed in range(2)]
    results = fit(saes, C4, seed=[0, 1], epochs=2, progress=lambda e, n, loss: losses.append(loss))
    expected = [sum(pair) / 2 for pair in zip(*(r.history.loss for r in results), strict=True)]
    assert losses == pytest.approx(expected)


def test_parameters_that_are_frozen_stay_as_they_are() -> None:
    sae = topk_sae(16, 12, 3)
    sae.encoder.requires_grad_(False)
    before = sae.encoder.W_enc.clone()
    fit(sae, C4, epochs=1)
    assert torch.equal(sae.encoder.W_enc, before)
    assert not sae.encoder.W_enc.requires_grad


def three() -> list[SAE]:
    return [topk_sae(16, 12, 3, seed=seed) for seed in range(3)]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("store", [C4, D4]),
        ("objective", [objectives.canonical] * 4),
        ("seed", range(2)),
        ("seed", []),
    ],
)
def test_lists_of_other_lengths_are_rejected(name: str, wrong: Sequence[object]) -> None:
    arguments = {"store": C4, "seed": 0, name: wrong}
    with pytest.raises(
        OrbitLensError, match=rf"`{name}`: .*each of the 3 SAEs, received {len(wrong)};"
    ):
        fit(three(), **arguments)


def test_a_list_of_no_saes_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`sae`: expected at least one SAE.*received 0"):
        fit([], C4)


def test_the_same_sae_twice_is_rejected() -> None:
    sae = topk_sae(16, 12, 3)
    with pytest.raises(OrbitLensError, match="each of them once, received 2, 1 of them different"):
        fit([sae, sae], C4)


def test_stores_of_other_lengths_are_rejected() -> None:
    short = store_from_array(ORBITS[:80], group=cyclic(8))
    with pytest.raises(OrbitLensError, match=r"`store`.*equally many.*received \[64, 96\]"):
        fit(three(), [C8, short, C8])


def test_an_sae_of_another_width_in_the_list_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match=r"d_in = 16.*received 5"):
        fit([*three(), topk_sae(5, 12, 3)], C4)


BAD_PAIRS = [
    (topk_sae(16, 12, 3), objectives.orbit_reconstruction, "FreeDictionary.*crosscoder_sae"),
    (
        crosscoder_sae(16, 12, 3, 6),
        objectives.orbit_reconstruction,
        "orbits of 6 elements.*received 4",
    ),
    (crosscoder_sae(16, 12, 3, 6), objectives.reconstruction, "orbits of 6 elements.*received 4"),
]


@pytest.mark.parametrize(("wrong", "objective", "message"), BAD_PAIRS)
def test_orbits_that_an_sae_cannot_reconstruct_are_refused_before_anything_is_changed(
    wrong: SAE, objective: Objective, message: str
) -> None:
    saes = [crosscoder_sae(16, 12, 3, 4), wrong]
    before = [{n: t.clone() for n, t in sae.state_dict().items()} for sae in saes]
    with pytest.raises(OrbitLensError, match=message) as error:
        fit(saes, C4, objective=objective, epochs=1)
    assert "\n" not in str(error.value)
    for sae, tensors in zip(saes, before, strict=True):
        assert all(torch.equal(t, tensors[n]) for n, t in sae.state_dict().items())


@pytest.mark.parametrize(("name", "value"), [("dead_after", 0), ("revival_weight", -0.1)])
def test_revival_out_of_range_is_rejected(name: str, value: float) -> None:
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected"):
        fit(topk_sae(16, 8, 2), STORE, **{name: value})
