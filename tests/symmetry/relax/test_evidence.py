"""The Laplace evidence and the training that follows it."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Int
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.symmetry.relax import _evidence_loop
from orbitlens.symmetry.relax.evidence import EvidenceFit, fit_with_evidence
from orbitlens.symmetry.relax.laplace import (
    effective_dimensions,
    map_loss,
    negative_log_evidence,
)
from orbitlens.symmetry.relax.mixed import MixedBlock, mixed_network
from orbitlens.symmetry.relax.use import symmetry_uses

QUICK: dict[str, Any] = {"epochs": 4, "batch_size": 8, "lr": 0.05, "burn_in": 2, "every": 2}
logarithms = st.lists(st.floats(-3, 3), min_size=2, max_size=4)


def network(seed: int = 0) -> nn.Sequential:
    return mixed_network(1, 2, 4, channels=[3], strides=[4], hidden=4, seed=seed)


def data(n: int = 30) -> tuple[Float[Tensor, "n 1 4 4"], Int[Tensor, " n"]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 1, 4, 4, generator=generator)
    return x, (x.mean((1, 2, 3)) > 0).long()


def weights(model: nn.Module) -> Float[Tensor, " all"]:
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def known(log_delta: list[float]) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    tensors = len(log_delta)
    squares = torch.arange(1.0, tensors + 1, dtype=torch.float64)
    spectra = [torch.linspace(0, 5, 3 + i, dtype=torch.float64) for i in range(tensors)]
    logs = torch.tensor(log_delta, dtype=torch.float64)
    return torch.tensor(7.0, dtype=torch.float64), squares, spectra, logs


@settings(max_examples=20)
@given(logarithms)
def test_the_gradient_in_log_delta_is_the_closed_form_and_that_of_differences(
    log_delta: list[float],
) -> None:
    loss, squares, spectra, logs = known(log_delta)
    logs.requires_grad_()
    (found,) = torch.autograd.grad(negative_log_evidence(loss, squares, spectra, logs), logs)
    # d/d log delta = (delta |theta|^2 - gamma) / 2, since P - sum delta / (h + delta) = gamma.
    gamma = effective_dimensions(spectra, logs.detach())
    assert torch.allclose(found, (logs.detach().exp() * squares - gamma) / 2)
    step = 1e-5
    for i in range(len(logs)):
        ends = []
        for sign in (1, -1):
            moved = logs.detach().clone()
            moved[i] += sign * step
            ends.append(negative_log_evidence(loss, squares, spectra, moved))
        assert found[i].item() == pytest.approx(float((ends[0] - ends[1]) / (2 * step)), abs=1e-6)


def test_the_evidence_is_the_formula_with_dense_determinants() -> None:
    loss, squares, spectra, logs = known([0.5, -1.0])
    expected = loss.clone()
    for square, h, log_delta in zip(squares, spectra, logs, strict=True):
        shifted = h.diag() + log_delta.exp() * torch.eye(len(h), dtype=h.dtype)
        prior = log_delta.exp() * square - len(h) * log_delta
        expected += (prior + torch.logdet(shifted)) / 2
    assert torch.allclose(negative_log_evidence(loss, squares, spectra, logs), expected)


@given(logarithms)
def test_effective_dimensions_lie_between_none_and_all(log_delta: list[float]) -> None:
    _, _, spectra, logs = known(log_delta)
    gamma = effective_dimensions(spectra, logs)
    sizes = torch.tensor([len(h) for h in spectra])
    assert bool(((gamma >= 0) & (gamma <= sizes)).all())
    assert bool((effective_dimensions(spectra, logs + 1) <= gamma).all())


def test_the_prior_of_a_batch_is_its_share_of_that_of_all_samples() -> None:
    x, y = data(24)
    model, log_delta = nn.Linear(16, 2).double(), torch.tensor([0.3], dtype=torch.float64)
    losses = nn.functional.cross_entropy(model(x.flatten(1).double()), y, reduction="none")
    squares = model.weight.square().sum()[None]
    parts = [map_loss(part, squares, log_delta, 24) for part in losses.split(8)]
    whole = losses.sum() + log_delta.exp() * squares / 2
    assert torch.allclose(24 * torch.stack(parts).mean(), whole)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_eigenvalues_that_are_negative_or_not_finite_are_refused(value: float) -> None:
    loss, squares, spectra, logs = known([0.0, 0.0])
    spectra[1][0] = value
    with pytest.raises(OrbitLensError, match="`spectra`, tensor 1: expected finite eigenvalues"):
        negative_log_evidence(loss, squares, spectra, logs)
    with pytest.raises(OrbitLensError, match="one for each precision, received those of 1"):
        effective_dimensions(spectra[:1], logs)


def test_n_below_the_batch_is_refused() -> None:
    with pytest.raises(OrbitLensError, match="at least the 3 samples of the batch, received 2"):
        map_loss(torch.zeros(3), torch.zeros(1), torch.zeros(1), 2)


def test_a_training_tells_blocks_their_use() -> None:
    model, (x, y) = network(), data(60)
    told: list[tuple[int, int, float]] = []
    found = fit_with_evidence(
        model, x, y, **{**QUICK, "epochs": 20}, progress=lambda *each: told.append(each)
    )
    assert found.status == "completed"
    assert [epoch for epoch, _ in found.evidence] == list(range(2, 21, 2))
    assert [each[:2] for each in told] == [(i, 20) for i in range(1, 21)]
    assert found.loss == tuple(each[2] for each in told)
    assert not model.training
    assert {each.name for each in found.tensors} == {name for name, _ in model.named_parameters()}
    use = symmetry_uses(model)["block1"]
    for path, share in use.parts.items():
        own = [t for t in found.tensors if t.name.startswith(f"block1.paths.{path}.")]
        gamma = sum(t.effective_dimension for t in own)
        assert share == pytest.approx(gamma / sum(t.size for t in own), rel=1e-5)
        assert 0 < share < 1
    assert use.kind == "effective"
    assert "completed, epochs 20, -log Z" in repr(found)


def test_a_block_alone_is_told_too() -> None:
    model = nn.Sequential(MixedBlock(1, 2, 4, stride=4), nn.Flatten())
    fit_with_evidence(model, *data(), **QUICK)
    assert set(symmetry_uses(model)["0"].parts) == {"f-fc", "conv"}


def test_steps_on_the_precisions_lower_the_evidence_at_the_same_weights() -> None:
    x, y = data()
    how = {**QUICK, "epochs": 2}
    before = fit_with_evidence(network(), x, y, **how, hyper_steps=0)
    after = fit_with_evidence(network(), x, y, **how, hyper_steps=20)
    assert torch.equal(weights(before.network), weights(after.network))
    assert after.evidence[0][1] < before.evidence[0][1]
    assert after.negative_log_evidence == pytest.approx(after.evidence[0][1])


def test_without_turns_of_the_precisions_it_is_map() -> None:
    found = fit_with_evidence(network(), *data(), **{**QUICK, "burn_in": 5})
    assert {each.log_precision for each in found.tensors} == {0.0}
    assert found.evidence == ()
    assert found.negative_log_evidence is not None


def test_a_step_is_that_of_sgd_on_the_map_loss() -> None:
    model, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), data(8)
    start = [each.detach().clone() for each in model.parameters()]
    mine = [each.clone().requires_grad_() for each in start]
    how = {**QUICK, "epochs": 1, "momentum": 0.0}
    fit_with_evidence(model, x, y, **how)
    logits = x.flatten(1) @ mine[0].T + mine[1]
    squares = torch.stack([each.square().sum() for each in mine])
    loss = nn.functional.cross_entropy(logits, y) + squares.sum() / 16
    gradients = torch.autograd.grad(loss, mine)
    for own, first, gradient in zip(model.parameters(), start, gradients, strict=True):
        assert torch.allclose(own, first - 0.05 * gradient, atol=1e-6)


def test_numbers_with_gaussian_noise_learn_their_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator)
    y = x @ torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 1.0]])
    y = y + 0.2 * torch.randn(y.shape, generator=generator)
    model = nn.Linear(3, 2)
    how = {"epochs": 30, "batch_size": 20, "lr": 0.005, "burn_in": 1, "every": 1}
    found = fit_with_evidence(model, x, y, likelihood="gaussian", **how)  # type: ignore[arg-type]
    assert found.noise == pytest.approx(0.2, rel=0.15)


def test_a_temperature_undoes_copies() -> None:
    (x, y), one, two = data(), nn.Linear(16, 2).double(), nn.Linear(16, 2).double()
    two.load_state_dict(one.state_dict())
    x = x.flatten(1).double()
    how = {**QUICK, "batch_size": 60, "epochs": 2, "burn_in": 1, "every": 1}
    first = fit_with_evidence(one, x, y, **how)
    # The mean over copies is that over samples; the prior weighs half as much beside twice N.
    copies = fit_with_evidence(
        two, x.repeat(2, 1), y.repeat(2), temperature=2.0, **{**how, "lr": 0.1}
    )
    assert copies.negative_log_evidence == pytest.approx(first.negative_log_evidence, rel=1e-3)
    assert [a.effective_dimension for a in copies.tensors] == pytest.approx(
        [b.effective_dimension for b in first.tensors], rel=1e-3
    )


def test_copies_without_a_temperature_are_warned_of() -> None:
    x, y = data()
    with pytest.warns(OrbitLensWarning, match="30 of 60 are copies of others"):
        fit_with_evidence(network(), x.repeat(2, 1, 1, 1), y.repeat(2), **QUICK)


def test_augmentation_acts_in_weight_steps_alone() -> None:
    (x, y), seen = data(), []

    def augment(batch: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(len(batch))
        return batch + torch.randn(batch.shape, generator=generator)

    first = fit_with_evidence(model := network(), x, y, augment=augment, **QUICK)
    assert sum(seen) == 4 * 30
    fit_with_evidence(again := network(), x, y, augment=augment, **QUICK)
    assert torch.equal(weights(model), weights(again))
    assert not torch.equal(
        weights(model), weights(fit_with_evidence(network(), x, y, **QUICK).network)
    )
    assert first.status == "completed"


def test_a_path_that_is_switched_off_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_evidence_loop, "MOST", 1.0)
    monkeypatch.setattr("orbitlens.symmetry.relax.evidence.MOST", 1.0)
    x, _ = data()
    y = torch.arange(30) % 2  # nothing to learn
    found = fit_with_evidence(network(), x, y, **{**QUICK, "hyper_lr": 5.0})
    off = [each for each in found.tensors if each.switched_off]
    assert off
    assert all(each.log_precision == 1.0 for each in off)
    assert off[0].name in repr(found)


def test_a_training_that_diverges_says_so() -> None:
    model = network()
    fit_with_evidence(model, *data(), **QUICK)
    with pytest.warns(OrbitLensWarning, match="train with a smaller `lr`"):
        found = fit_with_evidence(model, *data(), **{**QUICK, "lr": 1e9, "burn_in": 9})
    assert symmetry_uses(model) == {}
    assert found.status == "diverged"
    assert found.negative_log_evidence is None
    assert len(found.loss) < 4


class StopError(Exception):
    """What a test stops a training with."""


@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize("likelihood", ["softmax", "gaussian"])
def test_a_training_that_stopped_continues_to_the_same_bits(
    steps: int, likelihood: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = data()
    targets = y if likelihood == "softmax" else torch.stack([y, 1 - y], 1).float()
    how: dict[str, Any] = {**QUICK, "likelihood": likelihood, "sampled": likelihood == "softmax"}
    whole = fit_with_evidence(network(), x, targets, **how)
    own = _evidence_loop.EvidenceTraining.step
    left = [steps]

    def step(self: Any, *place: Any) -> None:
        if not left[0]:
            raise StopError
        left[0] -= 1
        own(self, *place)

    file: dict[str, Any] = {"checkpoint": tmp_path / "file", "checkpoint_seconds": 0.0}
    with monkeypatch.context() as patched:
        patched.setattr(_evidence_loop.EvidenceTraining, "step", step)
        with pytest.raises(StopError):
            fit_with_evidence(network(), x, targets, **how, **file)
    for _ in range(2):  # the second finds a training that is complete
        again = fit_with_evidence(network(), x, targets, **how, **file)
        assert torch.equal(weights(again.network), weights(whole.network))
        assert again.loss == whole.loss
        assert again.evidence == whole.evidence
        assert again.tensors == whole.tensors
        assert again.negative_log_evidence == whole.negative_log_evidence


def test_sigterm_writes_the_checkpoint_first(tmp_path: Path) -> None:
    def stop(epoch: int, epochs: int, loss: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    file = tmp_path / "file"
    with pytest.raises(SystemExit) as ended:
        fit_with_evidence(network(), *data(), **QUICK, checkpoint=file, progress=stop)
    assert ended.value.code == 143
    assert file.exists()
    whole = fit_with_evidence(network(), *data(), **QUICK)
    again = fit_with_evidence(network(), *data(), **QUICK, checkpoint=file)
    assert torch.equal(weights(again.network), weights(whole.network))


def fitted(file: Path, seed: int = 0, n: int = 30, **changed: Any) -> EvidenceFit:
    return fit_with_evidence(network(seed), *data(n), **{**QUICK, **changed}, checkpoint=file)


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    fitted(file)
    with pytest.raises(OrbitLensError, match="other settings: expected lr 0.05, received lr 0.1"):
        fitted(file, lr=0.1)
    with pytest.raises(OrbitLensError, match="n 30, received .* n 29"):
        fitted(file, n=29)
    with pytest.warns(OrbitLensWarning, match="began with other weights"):
        fitted(file, seed=1)


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_a_damaged_checkpoint_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "file"
    fitted(file)
    whole = bytearray(file.read_bytes())
    whole[-5] ^= 1
    file.write_bytes(bytes(whole) if content is None else content)
    with pytest.raises(OrbitLensError, match="remove it to start again"):
        fitted(file)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 2], r"whole numbers in 0..1, received numbers in 0..2"),
        ([-1, 1], r"received numbers in -1..1"),
        ([0.5, 1.0], "float"),
    ],
)
def test_labels_out_of_range_are_refused(labels: list[float], words: str) -> None:
    x, _ = data(2)
    with pytest.raises(OrbitLensError, match=words):
        fit_with_evidence(network(), x, labels, **QUICK)


def test_a_class_without_samples_is_warned_of() -> None:
    x, y = data()
    with pytest.warns(OrbitLensWarning, match="no sample of the classes 1, so nothing"):
        fit_with_evidence(network(), x, 0 * y, **QUICK)


def test_other_numbers_of_inputs_and_targets_are_refused() -> None:
    x, y = data()
    with pytest.raises(OrbitLensError, match=r"`targets`: expected shape \[n = 30\]"):
        fit_with_evidence(network(), x, y[:-1], **QUICK)
    with pytest.raises(OrbitLensError, match=r"n = 30, outputs = 2"):
        fit_with_evidence(network(), x, y.float(), likelihood="gaussian", **QUICK)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"likelihood": "poisson"}, "one of softmax, gaussian"),
        ({"epochs": 0}, "`epochs`: expected at least 1"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"every": 0}, "`every`"),
        ({"burn_in": -1}, "`burn_in`: expected at least 0"),
        ({"lr": 0.0}, "`lr`: expected a number above 0"),
        ({"hyper_lr": math.nan}, "`hyper_lr`"),
        ({"momentum": 1.0}, "0 to below 1"),
        ({"temperature": 0.0}, "`temperature`"),
        ({"checkpoint_seconds": -1.0}, "`checkpoint_seconds`"),
        ({"seed": -1}, "`seed`"),
        ({"sampled": 1}, "`sampled`: expected True or False"),
    ],
)
def test_wrong_settings_are_refused(
    changed: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=words):
        fit_with_evidence(network(), *data(), **{**QUICK, **changed})


def test_wrong_inputs_and_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, y = data()
    with pytest.raises(OrbitLensError, match="finite numbers, .* NaN or infinite"):
        fit_with_evidence(network(), x / 0 * 0, y, **QUICK)
    with pytest.raises(OrbitLensError, match="finite numbers, shape"):
        fit_with_evidence(network(), x[:0], y[:0], **QUICK)
    with pytest.raises(OrbitLensError, match="answers of shape"):
        fit_with_evidence(MixedBlock(1, 2, 4), x, y, **QUICK)
    with pytest.raises(OrbitLensError, match="an object Module"):
        fit_with_evidence(lambda batch: batch, x, y, **QUICK)  # type: ignore[arg-type]
