"""Bias adaptation and ReLU codes in training: gradients, feedback, stacks, resuming, warnings."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.data import sparse_mixtures, toy
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import cyclic
from orbitlens.metrics import feature_recovery_rate
from orbitlens.sae import (
    SAE,
    BiasAdaptation,
    FreeDictionary,
    JumpReLU,
    ReLU,
    bias_adaptation_sae,
    compose,
    orbit_sae,
    topk_sae,
)
from orbitlens.training import FitResult, fit
from orbitlens.training import _steps as steps
from orbitlens.training._encode import sparse_codes
from orbitlens.training._member import History
from orbitlens.training._stack import stack_saes
from orbitlens.training._steered import drifts_upward, warn_of_drift
from orbitlens.transport import fit_transport
from orbitlens.typing import Tensor

DATA = toy(n_features=8, orbit_size=4, n_samples=300, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)
RHO = fit_transport(STORE, "exact")
TARGETS: dict[str, Any] = {"groups": 2, "htf": 0.3, "ltf": 0.05, "samples": 120}


def free(seed: int = 0, *, jump: bool = True, centre: str = "auto") -> SAE:
    return bias_adaptation_sae(16, 24, jump=jump, centre=centre, seed=seed, **TARGETS)


def orbit(seed: int = 0, *, jump: bool = True, centre: str = "auto") -> SAE:
    own: dict[str, Any] = {"sparsity": "bias-adaptation", "jump": jump, "centre": centre}
    return orbit_sae(16, 8, None, RHO, seed=seed, **own, **TARGETS)


def relu(seed: int = 0) -> SAE:
    return compose(ReLU(), FreeDictionary(24, 16, seed=seed), seed=seed)


def jump_relu(seed: int = 0) -> SAE:
    sae = compose(JumpReLU(24), FreeDictionary(24, 16, seed=seed), seed=seed)
    sae.sparsity.threshold.copy_(torch.linspace(0, 1, 24))
    return sae


BUILDERS: list[Callable[[], SAE]] = [
    partial(free, centre="trained"),
    partial(free, centre="trained", jump=False),
    partial(orbit, centre="trained"),
    partial(orbit, centre="trained", jump=False),
    relu,
    jump_relu,
]
every_rule = pytest.mark.parametrize("build", BUILDERS)


def off_its_start(sae: SAE, seed: int) -> SAE:
    """Give every weight and bias a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in sae.parameters():
            weights.add_(torch.randn(weights.shape, generator=generator) / 5)
        sae.sparsity.project_()
        if isinstance(sae.sparsity, BiasAdaptation):
            own = sae.sparsity.biases
            own.sub_(torch.rand(own.shape, generator=generator))
    return sae


@every_rule
def test_every_code_of_a_step_and_every_gradient_is_that_of_the_forward_pass(
    build: Callable[..., SAE],
) -> None:
    """However many fire: no entry of the dense pass is lost, and none is added."""
    members = [off_its_start(build(seed=seed).double(), seed) for seed in (0, 1)]
    x = torch.randn(2, 70, 16, generator=torch.Generator().manual_seed(2)).double()
    weights = torch.randn(2, 70, members[0].d_sae, generator=torch.Generator().manual_seed(3))
    stack = stack_saes(members)
    codes, dying = sparse_codes(stack, stack.dictionary.coordinates(x))
    assert dying is None
    found = stack.dictionary.sums(codes)[0] + stack.b_dec.unsqueeze(-2)
    loss = (found - x).square().sum() + (codes.dense() * weights).sum()
    loss.backward()
    gradients = dict(stack.named_parameters())
    for number, sae in enumerate(members):
        out = sae(x[number])
        assert 0.02 < (out.codes > 0).double().mean() < 0.9
        torch.testing.assert_close(codes.dense()[number], out.codes)
        torch.testing.assert_close(found[number], out.x_hat)
        alone = (out.x_hat - x[number]).square().sum() + (out.codes * weights[number]).sum()
        alone.backward()
        for name, own in sae.named_parameters():
            torch.testing.assert_close(gradients[name].grad[number], own.grad, msg=name)


def test_without_any_setting_it_finds_the_features() -> None:
    """With the paper's rates, or a trained b_dec, as many steps find one of them at most."""
    data = sparse_mixtures(3000, n_features=24, dim=16, active=(1, 3), seed=0)
    store = store_from_array(data.values[:, None], group="C1")
    sae = bias_adaptation_sae(16, 144, groups=3, htf=0.2, ltf=0.02, samples=512, jump=False)
    fit(sae, store, samples=np.arange(3000), epochs=6, batch_size=128, lr=1e-2, lr_decay=0.5)
    found = partial(feature_recovery_rate, sae.W_dec, data.features)
    assert found(threshold=0.8) > 0.9
    assert found(threshold=0.9) > 0.5
    assert not sae.b_dec.any()


@pytest.mark.parametrize("build", [free, orbit])
def test_an_offset_goes_to_the_input_bias_which_stays_there(build: Callable[..., SAE]) -> None:
    """Codes cannot say what every sample has: no target is so high."""
    unmoved = DATA.matrices.float().mean(0) @ torch.ones(16)
    offset = 8 * unmoved / unmoved.norm()
    store = store_from_array(DATA.orbits + offset, group=DATA.group)
    mean = store.orbits(store.split()[0]).mean((0, 1))
    sae, fixed = build(), build(centre="fixed")
    results = fit([sae, fixed], store, epochs=4, batch_size=60, lr=6e-3)
    torch.testing.assert_close(sae.b_dec, mean, rtol=0, atol=0.1)
    assert not fixed.b_dec.any()
    auto, zero = (result.history.explained_variance[-1] for result in results)
    assert auto > zero + 0.5


def test_what_an_earlier_training_counted_is_forgotten() -> None:
    """An SAE that went through a file, which has no counts, trains on to the same weights."""
    train = partial(fit, store=STORE, epochs=1, batch_size=50)
    first, copy = train(free()).sae, free(seed=1)
    copy.load_state_dict(first.state_dict())
    assert first.sparsity.seen > 0
    wanted = tensors(train(copy))
    for name, value in tensors(train(first)).items():
        assert torch.equal(value, wanted[name]), name


def test_parts_that_were_changed_by_hand_are_refused() -> None:
    sae = free()
    sae.dictionary = FreeDictionary(24, 16, seed=1)
    with pytest.raises(OrbitLensError, match="transpose of the SAE's own dictionary"):
        fit(sae, STORE, epochs=1)
    sae = free()
    sae.sparsity.biases[0] = 1.0
    with pytest.raises(OrbitLensError, match="`biases`.*expected 0 or less"):
        fit(sae, STORE, epochs=1)


@pytest.mark.parametrize("jump", [False, True])
def test_frequencies_come_under_their_targets(jump: bool) -> None:
    sae = free(jump=jump)
    result = fit(sae, STORE, epochs=14, batch_size=60, lr=6e-3, samples=np.arange(300))
    frequency = (sae.encode(STORE.orbits().flatten(0, 1)) > 0).float().mean(0)
    assert result.history.l0[0] > 1.2 * sae.sparsity.targets.sum()
    assert (frequency <= 1.25 * sae.sparsity.targets + 0.03).all()
    assert (frequency > 0).float().mean() > 0.9
    assert (sae.sparsity.biases < 0).any()
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(24))
    assert result.history.explained_variance[-1] > 0.5


@pytest.mark.parametrize("jump", [False, True])
def test_a_trained_orbit_sae_is_as_equivariant_as_its_transport(jump: bool) -> None:
    sae = orbit(jump=jump)
    before = sae.sparsity.biases.clone()
    fit(sae, STORE, epochs=3, batch_size=60, lr=2e-3)
    assert not torch.equal(sae.sparsity.biases, before)
    orbits = STORE.orbits()
    first = sae.dictionary.by_element(sae.encode(orbits[:, 0]))
    assert (first > 0).any()
    for g in range(4):
        moved = sae.dictionary.by_element(sae.encode(orbits[:, g]))
        torch.testing.assert_close(moved, first.roll(g, dims=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "objective", ["canonical", "latent_invariance", "output_invariance", "reconstruction"]
)
def test_it_trains_with_the_objectives_of_the_paper(objective: str) -> None:
    result = fit(free(), STORE, objective=objective, epochs=3, batch_size=60)
    assert result.status == "completed"
    assert result.sae.sparsity.biases.any()


def test_the_penalty_makes_relu_codes_sparser() -> None:
    l0 = []
    for weight in (0.0, 2.0):
        objective = partial(objectives.l1_reconstruction, weight=weight)
        l0.append(
            fit(relu(), STORE, objective=objective, epochs=6, batch_size=40, lr=6e-3).history.l0[-1]
        )
    assert l0[1] < 0.7 * l0[0]


def tensors(result: FitResult) -> dict[str, Tensor]:
    return dict([*result.sae.named_parameters(), *result.sae.named_buffers()])


@pytest.mark.parametrize("build", [free, orbit])
def test_in_a_list_each_is_trained_as_alone(build: Callable[[int], SAE]) -> None:
    train = partial(fit, store=STORE, epochs=2, batch_size=60, lr=2e-3)
    together = train([build(seed) for seed in (0, 1)], seed=[0, 1])
    for seed, result in enumerate(together):
        alone = tensors(train(build(seed), seed=seed))
        for name, value in tensors(result).items():
            torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["foo", "atoms", "orientations"])
def test_an_orbit_sae_takes_the_settings_of_the_rule_alone(name: str) -> None:
    with pytest.raises(OrbitLensError, match=f"setting of bias adaptation: .*received '{name}'"):
        orbit_sae(16, 8, None, RHO, sparsity="bias-adaptation", **TARGETS, **{name: 1})


def test_a_list_may_mix_rules_and_targets() -> None:
    other = bias_adaptation_sae(16, 24, groups=3, htf=0.4, ltf=0.1, samples=200)
    results = fit([free(), topk_sae(16, 24, 3), other], STORE, epochs=2, batch_size=60)
    assert [result.status for result in results] == ["completed"] * 3


class KilledError(Exception):
    """Stands for SIGKILL: nothing is written any more."""


@pytest.mark.parametrize(("build", "steps_done"), [(free, 1), (orbit, 6)])
def test_resumed_with_its_counts_the_result_is_the_same_to_the_bit(
    build: Callable[[], SAE], steps_done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Biases change every second step, or third: the training is stopped between two changes."""
    train = partial(fit, store=STORE, epochs=2, batch_size=50, lr=3e-3)
    whole = train(build())
    resumable = partial(train, checkpoint=tmp_path / "a.safetensors", checkpoint_seconds=1e-9)
    step, left = steps.StackTraining.step, [steps_done]

    def counted(self: steps.StackTraining, number: int, revival_weight: float) -> None:
        if left[0] == 0:
            raise KilledError
        left[0] -= 1
        step(self, number, revival_weight)

    monkeypatch.setattr(steps.StackTraining, "step", counted)
    with pytest.raises(KilledError):
        resumable(build())
    monkeypatch.setattr(steps.StackTraining, "step", step)
    resumed = resumable(build())
    wanted = tensors(whole)
    for name, value in tensors(resumed).items():
        assert torch.equal(value, wanted[name]), name
    assert resumed.history == whole.history


def test_streamed_from_disk_as_well(large: ActivationStore) -> None:
    sae = bias_adaptation_sae(64, 16, groups=2, htf=0.3, ltf=0.05, samples=10_000)
    result = fit(sae, large, epochs=1, batch_size=5000, memory_gib=0.06)
    assert result.status == "completed"
    assert (sae.sparsity.biases < 0).any()


def test_a_checkpoint_of_other_targets_is_refused(tmp_path: Path) -> None:
    train = partial(fit, store=STORE, epochs=1, checkpoint=tmp_path / "a.safetensors")
    train(free())
    with pytest.raises(OrbitLensError, match="htf"):
        train(bias_adaptation_sae(16, 24, **{**TARGETS, "htf": 0.4}))


def test_what_fit_cannot_do_well_is_warned_about() -> None:
    rare = bias_adaptation_sae(16, 24, groups=2, htf=0.3, ltf=0.01, samples=200)
    with pytest.warns(OrbitLensWarning, match="2 firings are expected.*at least 500 samples"):
        fit(rare, STORE, epochs=1)
    long = bias_adaptation_sae(16, 24, groups=2, htf=0.3, ltf=0.05, samples=400)
    with pytest.warns(OrbitLensWarning, match="240 samples are fewer than the 400"):
        fit(long, STORE, epochs=1)


def test_drift_after_the_biases_have_settled_is_warned_about() -> None:
    falling = [1 / (1 + epoch) for epoch in range(20)]
    rising = [*falling[:10], *(falling[10] + epoch / 10 for epoch in range(10))]
    assert not drifts_upward(rising[:9])
    assert not drifts_upward([1.0] * 20)
    history = History(loss=rising, l0=falling, dead_latents=[0] * 10 + list(range(10)))
    with pytest.warns(
        OrbitLensWarning, match="the loss and the number of dead latents kept"
    ) as told:
        warn_of_drift(free(), history)
    assert "b_dec" not in str(told[0].message)
    with pytest.warns(OrbitLensWarning, match='keep b_dec where it is .`centre="auto"`'):
        warn_of_drift(free(centre="trained"), history)
    warn_of_drift(topk_sae(16, 24, 3), history)  # no feedback, no ratchet


def test_activations_that_are_no_numbers_or_of_another_width_are_refused() -> None:
    broken = DATA.orbits.clone()
    broken[3, 0, 0] = torch.nan
    with pytest.raises(OrbitLensError, match="finite"):
        fit(free(), store_from_array(broken, group=DATA.group))
    with pytest.raises(OrbitLensError, match="d_in = 4"):
        fit(free(), store_from_array(torch.randn(9, 1, 4), group=cyclic(1)))
