"""The Laplace evidence and the training that follows it."""

import copy
import math
import os
import signal
from collections.abc import Callable
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
from orbitlens.symmetry.relax.evidence import (
    EvidenceFit,
    TensorUse,
    _tell,
    fit_with_evidence,
)
from orbitlens.symmetry.relax.laplace import (
    effective_dimensions,
    map_loss,
    negative_log_evidence,
)
from orbitlens.symmetry.relax.mixed import MixedBlock, mixed_network
from orbitlens.symmetry.relax.use import symmetry_uses, unknown_uses

# These trainings are too short to learn much; the tests of this warning ask for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*no better than chance")
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


def test_norms_of_other_tensors_are_not_broadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    loss, squares, spectra, logs = known([0.0, 0.0])
    for call in (
        lambda: map_loss(torch.zeros(3), squares[:1], logs, 3),
        lambda: negative_log_evidence(loss, squares[:1], spectra, logs),
    ):
        with pytest.raises(OrbitLensError, match="`squares`: expected one for each of 2 precisio"):
            call()


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
        assert use.sizes[path] == sum(t.size for t in own)
        assert use.determined[path] == pytest.approx(gamma, rel=1e-5)
    assert use.kind == "effective"
    assert use.switched_off == ()
    assert "completed, epochs 20, -log Z" in repr(found)


def test_a_block_alone_is_told_too() -> None:
    model = nn.Sequential(MixedBlock(1, 2, 4, stride=4), nn.Flatten())
    fit_with_evidence(model, *data(), **QUICK)
    assert set(symmetry_uses(model)["0"].parts) == {"f-fc", "conv"}


@pytest.mark.parametrize("changed", [{"burn_in": 5}, {"hyper_steps": 0}])
def test_without_learned_precisions_blocks_do_not_know_their_use(changed: dict[str, Any]) -> None:
    model = network()
    fit_with_evidence(model, *data(), **QUICK)
    found = fit_with_evidence(model, *data(), **{**QUICK, **changed})
    assert all(each.effective_dimension > 0 for each in found.tensors)
    assert symmetry_uses(model) == {}
    assert unknown_uses(model) == {"block1": "no precision was learned"}


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_the_use_of_a_path_is_unknown_where_a_part_of_it_is_frozen(frozen: str) -> None:
    model = network()
    model.get_parameter(f"block1.paths.conv.0.1.{frozen}").requires_grad_(False)
    fit_with_evidence(model, *data(), **QUICK)
    use = symmetry_uses(model)["block1"]
    assert math.isnan(use.parts["conv"])
    assert use.parts["f-fc"] > 0
    assert "conv" not in use.dropped
    other = network()
    other.load_state_dict(model.state_dict())
    assert repr(symmetry_uses(other)["block1"]) == repr(use)


def test_the_use_of_a_frozen_path_is_unknown() -> None:
    model = network()
    block = model.get_submodule("block1")
    assert isinstance(block, MixedBlock)
    block.paths["conv"].requires_grad_(False)
    fit_with_evidence(model, *data(), **QUICK)
    use = symmetry_uses(model)["block1"]
    assert math.isnan(use.parts["conv"])
    assert use.parts["f-fc"] > 0
    assert "conv" not in (*use.dropped, *use.switched_off)
    block.requires_grad_(False)
    fit_with_evidence(model, *data(), **QUICK)
    assert symmetry_uses(model) == {}


def test_a_use_is_forgotten_when_the_training_goes_on() -> None:
    model, (x, y) = network(), data()
    fit_with_evidence(model, x, y, **QUICK)
    assert set(symmetry_uses(model)) == {"block1"}
    nn.functional.cross_entropy(model(x), y).backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert symmetry_uses(model) == {}
    assert unknown_uses(model) == {"block1": "the weights were changed after it was measured"}


@pytest.mark.filterwarnings("error")
def test_an_evidence_that_is_not_below_that_of_chance_is_warned_of() -> None:
    x, y = data()
    still = {**QUICK, "epochs": 2, "lr": 1e-9}
    says = r"-log Z is [0-9.]+, not below 20.794, that of the uniform answer: .* no better than cha"
    assert 30 * math.log(2) == pytest.approx(20.794, abs=1e-3)
    with pytest.warns(OrbitLensWarning, match=says):
        fit_with_evidence(network(), x, y, **still)
    wrong = network()
    wrong.get_parameter("head.bias").data[0] = 5.0
    with pytest.warns(OrbitLensWarning, match="summed -log p of the targets is .*below 20.794"):
        fit_with_evidence(wrong, x, y, **{**still, "burn_in": 3})
    with pytest.warns(OrbitLensWarning, match="not below 10.397"):
        fit_with_evidence(network(), x, y, **still, temperature=2.0)
    targets = torch.tensor([[0.0, 4.0], [2.0, 0.0]]).repeat(15, 1)
    # The mean squared distance from the means of both outputs is (1 + 4) / 2.
    chance = f"{60 * (math.log(2 * math.pi * 2.5) + 1) / 2:.5g}"
    with pytest.warns(OrbitLensWarning, match=rf"below {chance}, that of a constant Gaussian"):
        fit_with_evidence(network(), x, targets, **still, likelihood="gaussian")


@pytest.mark.filterwarnings("error")
def test_a_network_that_has_learned_is_not_compared_with_chance() -> None:
    x, y = data(60)
    line = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    how = {**QUICK, "epochs": 40, "lr": 0.1}
    assert fit_with_evidence(line, x, y, **how).negative_log_evidence < 60 * math.log(2)  # type: ignore[operator]
    baseline = fit_with_evidence(network(), *data(60), **{**how, "burn_in": 41})
    # Beside a prior of precision one, -log Z is above chance though the network has learned.
    assert baseline.negative_log_evidence > 60 * math.log(2)  # type: ignore[operator]


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


def test_a_path_is_switched_off_if_all_its_tensors_are() -> None:
    model = network()
    tensors = [
        TensorUse(name, each.numel(), 3.0 if name.endswith("v.bias") else 15.0, 1.5)
        for name, each in model.named_parameters()
    ]
    _tell(model, tensors)
    use = symmetry_uses(model)["block1"]
    assert use.switched_off == use.dropped == ("conv",)
    assert use.determined == pytest.approx({"f-fc": 6.0, "conv": 3.0})


def test_a_training_that_diverges_says_so() -> None:
    model = network()
    fit_with_evidence(model, *data(), **QUICK)
    with pytest.warns(OrbitLensWarning, match="train with a smaller `lr`"):
        found = fit_with_evidence(model, *data(), **{**QUICK, "lr": 1e9, "burn_in": 9})
    assert symmetry_uses(model) == {}
    assert found.status == "diverged"
    assert found.negative_log_evidence is None
    assert len(found.loss) < 4


def test_precisions_that_run_away_stop_at_their_bounds() -> None:
    found = fit_with_evidence(network(), *data(), **{**QUICK, "hyper_lr": 100.0})
    precisions = {abs(each.log_precision) for each in found.tensors}
    assert max(precisions) == _evidence_loop.MOST == 15
    assert found.status == "completed"
    assert found.negative_log_evidence is not None
    assert math.isfinite(found.negative_log_evidence)


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


def small(activation: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), activation, nn.Linear(4, 2))


class Squared(nn.Module):
    """A layer whose exponent is not among its words."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return x**self.power


class Holds(nn.Module):
    """A network whose tensors are not among its words."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)
        for number, size in enumerate(sizes):
            self.register_buffer(f"held{number}", torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x.flatten(1))
        return found


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (lambda: small(nn.ReLU()), lambda: small(nn.Tanh()), "expected network 'Sequential "),
        (lambda: small(Squared(2)), lambda: small(Squared(3)), "the answers of its network, rec"),
        (lambda: Holds(1), lambda: Holds(5), r"'held0' of shape \[1\], float32, .*shape \[5\]"),
        (lambda: Holds(1, 1), lambda: Holds(1), "'held1' of shape .*no tensor 'held1'"),
        (lambda: Holds(1), lambda: Holds(1, 1), "expected no tensor 'held1'"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*began with other weights")
def test_the_checkpoint_of_another_network_is_refused_and_changes_nothing(
    first: Callable[[], nn.Module], second: Callable[[], nn.Module], words: str, tmp_path: Path
) -> None:
    how = {**QUICK, "checkpoint": tmp_path / "file"}
    fit_with_evidence(first(), *data(), **how)
    other = second()
    before = {name: each.clone() for name, each in other.state_dict().items()}
    with pytest.raises(OrbitLensError, match=words):
        fit_with_evidence(other, *data(), **how)
    assert all(torch.equal(each, before[name]) for name, each in other.state_dict().items())


def test_the_checkpoint_of_a_network_with_other_frozen_parameters_is_refused(
    tmp_path: Path,
) -> None:
    how = {**QUICK, "checkpoint": tmp_path / "file"}
    fit_with_evidence(small(nn.ReLU()), *data(), **how)
    other = small(nn.ReLU())
    other[1].requires_grad_(False)
    with pytest.raises(OrbitLensError, match=r"'1.weight' learned, received '1.weight' frozen"):
        fit_with_evidence(other, *data(), **how)


def test_tied_weights_that_are_frozen_have_a_checkpoint(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        torch.manual_seed(0)
        one, two = nn.Linear(16, 16), nn.Linear(16, 16)
        one.requires_grad_(False)
        two.weight, two.bias = one.weight, one.bias
        return nn.Sequential(nn.Flatten(), one, nn.ReLU(), two, nn.Linear(16, 2))

    whole = fit_with_evidence(tied(), *data(), **QUICK)
    for _ in range(2):
        found = fit_with_evidence(tied(), *data(), **QUICK, checkpoint=tmp_path / "file")
        assert torch.equal(weights(found.network), weights(whole.network))


def test_a_checkpoint_that_cannot_be_written_is_found_at_the_door(tmp_path: Path) -> None:
    told: list[int] = []
    (tmp_path / ".file.writing").write_text("in the way")
    with pytest.raises(OrbitLensError, match="a place that can be written, received File exists"):
        fit_with_evidence(
            network(),
            *data(),
            **QUICK,
            checkpoint=tmp_path / "file",
            progress=lambda epoch, *_: told.append(epoch),
        )
    assert told == []


class Noisy(nn.Module):
    """A layer that draws numbers in a way that its type does not tell."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Counting(nn.Module):
    """A layer with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.get_buffer("seen").add_(len(x))
        return x


class Doubling(nn.Module):
    """A layer that does otherwise in training."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if self.training else x


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Dropout(0.5), "layer '2' .* Dropout of p = 0.5 in training mode"),
        (nn.BatchNorm1d(4).requires_grad_(False), "layer '2' .*changes its running statistics"),
        (nn.BatchNorm1d(4, affine=False), "call .eval.. on it"),
        (nn.BatchNorm1d(4, affine=False, track_running_stats=False), "statistics of each batch"),
        (nn.RReLU(), "one that draws random numbers"),
        (Noisy().eval(), "one that draws random numbers"),
        (Counting().eval(), "one that writes into '2.seen'"),
        (Doubling(), "other answers in training mode"),
    ],
)
def test_networks_that_differ_from_call_to_call_are_refused(layer: nn.Module, words: str) -> None:
    model, drawn = small(layer), torch.get_rng_state()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    modes = [each.training for each in model.modules()]
    with pytest.raises(OrbitLensError, match=words):
        fit_with_evidence(model, *data(), **QUICK)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert [each.training for each in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), drawn)


def test_layers_that_are_held_in_evaluation_mode_stay_as_they_are() -> None:
    norm = nn.BatchNorm1d(4, affine=False).eval()
    assert norm.running_mean is not None
    norm.running_mean.fill_(1.0)
    model = small(nn.Sequential(norm, nn.Dropout(0.0), nn.Dropout(0.9).eval()))
    x, y = data()
    found = [
        fit_with_evidence(copy.deepcopy(model), x, y, **QUICK).negative_log_evidence
        for _ in range(2)
    ]
    fit_with_evidence(model, x, y, **QUICK)
    assert norm.running_mean.tolist() == [1.0] * 4
    assert not norm.training
    assert found[0] == found[1]


def test_data_of_inference_mode_can_be_trained_on() -> None:
    x, y = data()
    with torch.inference_mode():
        same = x.clone(), y.clone()
    found = fit_with_evidence(network(), *same, **QUICK)
    assert torch.equal(
        weights(found.network), weights(fit_with_evidence(network(), x, y, **QUICK).network)
    )


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
    with pytest.raises(OrbitLensError, match="`augment`: expected a function .*received int"):
        fit_with_evidence(network(), x, y, augment=2, **QUICK)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match=r"`x`: expected square maps .*\[8, 1, 4, 3\]"):
        fit_with_evidence(network(), x[..., 1:], y, **QUICK)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(OrbitLensError, match=r"`network` on an input of shape \[1, 4, 4\]"):
        fit_with_evidence(wide, x, y, **QUICK)
    broken = network()
    broken.get_parameter("head.bias").data[0] = math.nan
    with pytest.raises(OrbitLensError, match="finite answers before it is trained"):
        fit_with_evidence(broken, x, y, **QUICK)


class Twice(nn.Module):
    """A layer that is called twice, so that its curvature is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        return self.layer(self.layer(x).relu())


@pytest.mark.parametrize(
    ("model", "dim", "words"),
    [(Twice(), 4, "received several calls"), (nn.Linear(4097, 2), 4097, "4,097 x 4,097")],
)
def test_curvature_that_cannot_be_measured_is_refused_before_the_first_step(
    model: nn.Module, dim: int, words: str
) -> None:
    before = weights(model)
    with pytest.raises(OrbitLensError, match=words):
        fit_with_evidence(model, torch.randn(6, dim), [0, 1, 0, 1, 0, 1], epochs=2, burn_in=9)
    assert torch.equal(weights(model), before)
