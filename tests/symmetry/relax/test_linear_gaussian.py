"""The exact evidence of circular signals: against the dense covariance, and what it selects."""

import math

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.relax.kfac import kronecker_curvature
from orbitlens.symmetry.relax.laplace import negative_log_evidence
from orbitlens.symmetry.relax.linear_gaussian import (
    circulant,
    exact_negative_log_evidence,
    fit_linear_gaussian,
)

Signals = Float[Tensor, "n d"]


def task(n: int, d: int, seed: int = 0) -> tuple[Signals, Signals]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return x, y


def dense_covariance(x: Signals, precisions: dict[str, float], variance: float) -> Tensor:
    """The covariance of all observations, by one column of the design for each weight."""
    n, d = x.shape
    total = variance * torch.eye(n * d, dtype=x.dtype)
    for name, precision in precisions.items():
        if name == "fc":
            weights = torch.eye(d * d, dtype=x.dtype).reshape(-1, d, d)
        else:
            weights = torch.stack([circulant(each) for each in torch.eye(d, dtype=x.dtype)])
        design = torch.einsum("nj,wij->niw", x, weights).flatten(0, 1)
        total += design @ design.T / precision
    return total


@pytest.mark.parametrize("paths", [["fc"], ["conv"], ["fc", "conv"], ["conv", "fc"]])
@pytest.mark.parametrize("d", [5, 6])
def test_the_evidence_is_that_of_the_dense_covariance(paths: list[str], d: int) -> None:
    x, y = task(7, d)
    values = {"fc": 2.0, "conv": 0.5}
    log_precisions = torch.tensor([values[name] for name in paths], dtype=torch.float64).log()
    log_variance = torch.tensor(0.3, dtype=torch.float64).log()
    whole = dense_covariance(x, {name: values[name] for name in paths}, 0.3)
    normal = torch.distributions.MultivariateNormal(torch.zeros(7 * d).double(), whole)
    found = exact_negative_log_evidence(x, y, log_precisions, log_variance, paths)
    assert found.item() == pytest.approx(-normal.log_prob(y.flatten()).item(), rel=1e-12)


def test_the_posterior_mean_is_that_of_the_dense_normal_equations() -> None:
    x, y = task(4, 5)
    found = fit_linear_gaussian(x, y, learn=False, noise=0.5)
    shifts = torch.stack([circulant(each) for each in torch.eye(5, dtype=x.dtype)])
    weights = torch.cat([torch.eye(25, dtype=x.dtype).reshape(-1, 5, 5), shifts])
    design = torch.einsum("nj,wij->niw", x, weights).flatten(0, 1)
    normal = design.T @ design / 0.25 + torch.eye(30, dtype=x.dtype)
    mean = torch.linalg.solve(normal, design.T @ y.flatten() / 0.25)
    assert torch.allclose(found.dense.flatten(), mean[:25])
    assert torch.allclose(found.taps, mean[25:])
    assert torch.allclose(found.matrix(), found.dense + circulant(found.taps))


def test_a_circulant_matrix_is_a_circular_convolution() -> None:
    taps, x = torch.randn(2, 6, dtype=torch.float64)
    product = torch.fft.ifft(torch.fft.fft(taps) * torch.fft.fft(x)).real
    assert torch.allclose(circulant(taps) @ x, product)
    assert torch.allclose(circulant(taps) @ x.roll(2), (circulant(taps) @ x).roll(2))


def test_the_evidence_of_kronecker_factors_is_the_exact_one_for_a_dense_layer() -> None:
    # The Gauss-Newton matrix of a linear layer with Gaussian noise is G (x) A, without error.
    x, y = task(24, 16)
    log_delta, log_variance = torch.tensor([0.7, -1.2], dtype=torch.float64)
    noise, n = torch.exp(log_variance), y.numel()
    gram = x.T @ x / noise + torch.exp(log_delta) * torch.eye(16)
    layer = nn.Linear(16, 16, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.linalg.solve(gram, x.T @ y / noise).T)
        error = (layer(x) - y).square().sum() / (2 * noise)
        loss = error + n * (math.log(2 * math.pi) + log_variance) / 2
        squares = layer.weight.square().sum()[None]
    spectrum = kronecker_curvature(layer, x, "gaussian").spectra()["weight"] / noise
    found = negative_log_evidence(loss, squares, [spectrum], log_delta[None])
    exact = exact_negative_log_evidence(x, y, log_delta[None], log_variance, ["fc"])
    assert found.item() == pytest.approx(exact.item(), rel=1e-9)


@pytest.fixture(scope="module")
def shifts() -> tuple[Signals, Signals, Tensor]:
    generator = torch.Generator().manual_seed(0)
    matrix = circulant(torch.randn(8, generator=generator, dtype=torch.float64) / 8**0.5)
    x, noise = torch.randn(2, 16, 8, generator=generator, dtype=torch.float64)
    return x, x @ matrix.T + 0.3 * noise, matrix


def test_the_evidence_switches_the_dense_path_off_and_map_does_not(
    shifts: tuple[Signals, Signals, Tensor],
) -> None:
    x, y, matrix = shifts
    fits = {
        "evidence": fit_linear_gaussian(x, y, noise=0.3),
        "map": fit_linear_gaussian(x, y, noise=0.3, learn=False),
        "conv": fit_linear_gaussian(x, y, ["conv"], noise=0.3),
        "fc": fit_linear_gaussian(x, y, ["fc"], noise=0.3),
    }
    errors = {name: float((fit.matrix() - matrix).square().sum()) for name, fit in fits.items()}
    assert errors["evidence"] < 3 * errors["conv"]
    assert errors["map"] > 10 * errors["evidence"]
    z = {name: fit.negative_log_evidence for name, fit in fits.items()}
    assert z["conv"] < z["evidence"] < z["fc"]
    assert fits["evidence"].log_precisions["fc"] > 6
    assert 0.25 < fits["evidence"].noise < 0.35


def test_signals_without_noise_end_at_the_bound_of_the_noise() -> None:
    x, _ = task(20, 6)
    matrix = circulant(torch.arange(6.0, dtype=torch.float64))
    found = fit_linear_gaussian(x, x @ matrix.T, steps=600)
    assert found.noise == pytest.approx(math.exp(-7.5))
    assert all(abs(each) <= 15 for each in found.log_precisions.values())
    assert math.isfinite(found.negative_log_evidence)
    assert torch.allclose(found.matrix(), matrix, atol=1e-5)


def test_a_covariance_without_a_root_is_one_line() -> None:
    x, _ = task(20, 6)
    with pytest.raises(
        OrbitLensError, match="positive definite .*noise 1e-09 beside .*; give a la"
    ):
        fit_linear_gaussian(x, x, learn=False, noise=1e-9)


def test_one_path_leaves_the_other_zero() -> None:
    x, y = task(5, 4)
    assert not fit_linear_gaussian(x, y, ["conv"], learn=False).dense.any()
    assert not fit_linear_gaussian(x, y, ["fc"], learn=False).taps.any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"paths": ["fc", "fc"]}, "each once"),
        ({"paths": ["f-fc"]}, "one of fc, conv"),
        ({"noise": 0}, "above 0"),
        ({"lr": -1}, "above 0"),
        ({"steps": 0}, "at least 1"),
        ({"y": torch.zeros(5, 3)}, "d = 4"),
        ({"x": torch.full((5, 4), float("nan"))}, "NaN"),
        ({"x": torch.zeros(5)}, r"shape \[n, d\]"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, y = task(5, 4)
    with pytest.raises(OrbitLensError, match=words):
        fit_linear_gaussian(**{"x": x, "y": y, **arguments})  # type: ignore[arg-type]


def test_signals_beyond_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitlens.checks._memory.usable_memory", lambda: 1000)
    with pytest.raises(OrbitLensError, match="give fewer signals"):
        fit_linear_gaussian(*task(5, 4))
