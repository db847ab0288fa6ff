"""Transports of wide layers: few activations at little cost, and a word before a long fit."""

import numpy as np
import pytest
import torch

from orbitlens import groups
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.transport import Motion, exact, fit_transport, identity, least_squares
from orbitlens.transport import _cost as cost
from orbitlens.transport import _span as span
from orbitlens.transport._moments import cross_moments, least_squares_from_moments

GROUP = groups.cyclic(3)


def few(n: int, dim: int, seed: int = 0) -> ActivationStore:
    """Return few orbits of a wide layer; a common mean and copies leave directions without any."""
    draw = torch.randn(n, 3, dim, generator=torch.Generator().manual_seed(seed)) + 0.5
    draw[-1] = draw[0]
    return store_from_array(draw, group=GROUP)


def everything(store: ActivationStore) -> np.ndarray:
    return np.arange(store.n)


@pytest.mark.parametrize("ridge", [1e-6, 1e-2])
@pytest.mark.parametrize("n", [2, 60])
def test_a_fit_in_the_span_is_the_fit_in_the_whole_space(n: int, ridge: float) -> None:
    store = few(n, 600)
    inside = least_squares(store, everything(store), ridge=ridge)
    moments = cross_moments(store.chunks(), GROUP, 600)
    whole = least_squares_from_moments(moments, ridge=ridge)
    assert inside.basis is not None
    assert inside.core.shape == (3, 3 * n, 3 * n)
    torch.testing.assert_close(inside.matrices, whole.matrices, atol=1e-6, rtol=0)
    x = torch.randn(5, 600, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(inside(x, 1), whole(x, 1), atol=1e-5, rtol=0)


def test_the_figures_are_those_of_the_whole_space(monkeypatch: pytest.MonkeyPatch) -> None:
    store = few(40, 600)
    inside = fit_transport(store)
    monkeypatch.setattr(span, "_WIDE", 10**6)
    whole = fit_transport(store)
    assert inside.motion.basis is not None
    assert whole.motion.basis is None
    assert inside.r2 == pytest.approx(whole.r2, abs=1e-6)
    assert inside.identity_r2 == whole.identity_r2
    assert inside.relation_error == pytest.approx(whole.relation_error, rel=0.1)
    assert inside.order_errors["r"] == pytest.approx(whole.order_errors["r"], rel=0.1)
    assert inside.condition_number == pytest.approx(whole.condition_number, rel=1e-4)


def test_an_exact_fit_in_the_span_is_the_fit_in_the_whole_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(30, 6, generator=generator) @ torch.randn(6, 200, generator=generator)
    orbits = torch.stack([planes.roll(200 * g, 1) for g in range(3)], 1)
    orbits = torch.cat([orbits, orbits.roll(1, 1), orbits.roll(2, 1)], dim=2)  # g x = moved blocks
    store = store_from_array(orbits, group=GROUP)
    inside = exact(store, everything(store))
    monkeypatch.setattr(span, "_WIDE", 10**6)
    whole = exact(store, everything(store))
    assert inside.basis is not None
    assert inside.variable == whole.variable
    torch.testing.assert_close(inside.matrices, whole.matrices, atol=1e-6, rtol=0)


def test_a_narrow_layer_is_fitted_as_before() -> None:
    store = few(4, 32)
    found = least_squares(store, everything(store))
    expected = least_squares_from_moments(cross_moments(store.chunks(), GROUP, 32))
    assert found.basis is None
    assert torch.equal(found.matrices, expected.matrices)


def test_very_wide_layers_are_no_work() -> None:
    store = few(10, 30_000)
    found = fit_transport(store)
    assert found.motion.core.shape == (3, 24, 24)
    assert identity(store, everything(store)).core.numel() == 3


def test_the_identity_of_a_wide_layer_changes_nothing() -> None:
    store = few(3, 2000)
    x = store.orbits()[:, 1]
    assert torch.equal(identity(store, everything(store))(x, 2), x)


@pytest.mark.parametrize("method", ["least_squares", "exact", "lie", "gradient", "low_rank"])
def test_matrices_that_do_not_fit_are_refused(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitlens.checks._memory.usable_memory", lambda: 2**20)
    store = few(400, 256)
    with pytest.raises(OrbitLensError, match=r"GiB of memory.*low_rank.*max_dim"):
        fit_transport(store, method)


def test_a_long_fit_warns_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_PER_PRODUCT", 1.0)
    store = few(100, 16)
    with pytest.warns(OrbitLensWarning, match=r"takes about \d+ hours or longer.*low_rank"):
        least_squares(store, everything(store))


def test_matrices_of_a_wide_layer_are_refused_if_they_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    motion = Motion(torch.ones(2, 1, 1), variable=1, basis=torch.eye(4000, 1))
    monkeypatch.setattr("orbitlens.checks._memory.usable_memory", lambda: 2**26)
    with pytest.raises(OrbitLensError, match=r"the matrices of a transport.*only call"):
        _ = motion.matrices
