"""One definition of explained variance: by hand, whatever the batches, wherever the mean."""

from fractions import Fraction

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.metrics import (
    ReconstructionStats,
    explained_variance,
    mse,
    normalised_mse,
    squared_error,
)

# The mean is (1, 1) and the squared distances from it are 2, 2 and 4.
X = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
# The squared errors are 1, 0 and 1.
X_HAT = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])


def noisy(n: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator)
    return x, x + 0.3 * torch.randn(n, dim, generator=generator)


def streamed(x: Tensor, x_hat: Tensor, sizes: list[int]) -> ReconstructionStats:
    stats = ReconstructionStats()
    for part, part_hat in zip(x.split(sizes), x_hat.split(sizes), strict=True):
        stats.update(part, part_hat)
    return stats


def test_by_hand() -> None:
    assert squared_error(X, X_HAT).tolist() == [1.0, 0.0, 1.0]
    assert mse(X, X_HAT).tolist() == [0.5, 0.0, 0.5]
    assert explained_variance(X, X_HAT).item() == 1 - 2 / 8
    assert normalised_mse(X, X_HAT).item() == 2 / 8


def test_large_sets_are_taken_in_parts() -> None:
    x, x_hat = X.repeat(3000, 1), X_HAT.repeat(3000, 1)
    assert explained_variance(x, x_hat).item() == pytest.approx(0.75, rel=1e-12)


def test_stats_by_hand() -> None:
    stats = streamed(X, X_HAT, [1, 2])
    assert stats.n == 3
    assert stats.residual.item() == 2
    assert stats.total.item() == pytest.approx(8)
    assert stats.mse.item() == pytest.approx(1 / 3)
    assert stats.explained_variance.item() == pytest.approx(0.75)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 1000))
@settings(deadline=None)
def test_figures_do_not_depend_on_the_batches(sizes: list[int], seed: int) -> None:
    x, x_hat = noisy(sum(sizes), 3, seed)
    x = 50 * seed + x
    parts, whole = streamed(x, x_hat, sizes), streamed(x, x_hat, [sum(sizes)])
    torch.testing.assert_close(parts.mse, whole.mse, rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.total, whole.total, rtol=1e-9, atol=1e-12)


def test_a_mean_that_is_large_against_the_variance_costs_no_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    x = (1e4 + torch.randn(300, 2, generator=generator)).float()
    x_hat = (x + 0.1 * torch.randn(300, 2, generator=generator)).float()
    exact = [[Fraction(value) for value in column] for column in x.T.tolist()]
    means = [sum(column) / len(column) for column in exact]
    total = sum(
        (value - mean) ** 2 for column, mean in zip(exact, means, strict=True) for value in column
    )
    error = sum(
        (Fraction(a) - Fraction(b)) ** 2
        for a, b in zip(x.flatten().tolist(), x_hat.flatten().tolist(), strict=True)
    )
    expected = float(1 - error / total)
    assert explained_variance(x, x_hat).item() == pytest.approx(expected, rel=1e-12)
    assert streamed(x, x_hat, [7] * 42 + [6]).explained_variance.item() == pytest.approx(
        expected, rel=1e-12
    )


def test_variance_is_about_the_mean_and_not_about_zero() -> None:
    x = 100 + noisy(50, 4)[0]
    mean = x.double().mean(dim=0).expand(50, 4)
    assert explained_variance(x.double(), mean).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-4, 3.0, 1e5])
def test_a_common_offset_and_scale_change_nothing(scale: float) -> None:
    x, x_hat = (part.double() for part in noisy(60, 5))
    moved = explained_variance(scale * (x + 7), scale * (x_hat + 7))
    torch.testing.assert_close(moved, explained_variance(x, x_hat), rtol=1e-10, atol=0)


def test_order_and_repetition_of_samples_change_nothing() -> None:
    x, x_hat = noisy(60, 5)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    for figure in (explained_variance, normalised_mse, lambda a, b: mse(a, b).double().mean()):
        expected = figure(x, x_hat)
        torch.testing.assert_close(figure(x[order], x_hat[order]), expected)
        torch.testing.assert_close(figure(x.repeat(4, 1), x_hat.repeat(4, 1)), expected)


def test_it_is_a_ratio_of_sums_and_not_a_mean_of_ratios() -> None:
    quiet, loud = torch.tensor([[0.0], [2.0]]), torch.tensor([[-9.0], [11.0]])
    # Both batches have mean 1; the quiet one is lost, the loud one is kept.
    x, x_hat = torch.cat([quiet, loud]), torch.cat([torch.ones(2, 1), loud])
    assert streamed(x, x_hat, [2, 2]).explained_variance.item() == pytest.approx(1 - 2 / 202)


@pytest.mark.parametrize("sizes", [[7], [3, 4], [1] * 7])
def test_constant_activations_are_explained_exactly_or_not_at_all(sizes: list[int]) -> None:
    x = torch.full((7, 2), 0.1, dtype=torch.float64)
    assert streamed(x, x, sizes).explained_variance.item() == 1
    assert streamed(x, x, sizes).normalised_mse.item() == 0
    assert streamed(x, x + 1, sizes).explained_variance.item() == -torch.inf


def test_nan_is_not_hidden() -> None:
    x_hat = X_HAT.clone()
    x_hat[1, 1] = torch.nan
    assert explained_variance(X, x_hat).isnan()
    assert explained_variance(x_hat, x_hat).isnan()


def test_sums_are_float64_and_carry_no_gradient() -> None:
    figure = explained_variance(X, X_HAT.clone().requires_grad_())
    assert figure.dtype == torch.float64
    assert not figure.requires_grad


def test_gradient_of_the_squared_error_is_twice_the_residual() -> None:
    x_hat = X_HAT.clone().requires_grad_()
    squared_error(X, x_hat).sum().backward()
    torch.testing.assert_close(x_hat.grad, torch.tensor([[0.0, 2.0], [0.0, 0.0], [-2.0, 0.0]]))


@pytest.mark.parametrize("figure", [squared_error, mse, explained_variance, normalised_mse])
def test_nothing_is_broadcast(figure, monkeypatch) -> None:
    # As in a user's process, where annotations are not checked.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=r"shape of `x`, \(3, 2\), received \(1, 2\)"):
        figure(X, X_HAT[:1])


def test_an_empty_set_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="at least one sample"):
        explained_variance(X[:0], X[:0])
    with pytest.raises(OrbitLensError, match="at least one sample, received 0"):
        _ = ReconstructionStats().mse


def test_another_width_is_rejected() -> None:
    stats = streamed(X, X_HAT, [3])
    with pytest.raises(OrbitLensError, match="2 dimensions, as before"):
        stats.update(torch.zeros(1, 5), torch.zeros(1, 5))
