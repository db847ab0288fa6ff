"""What a fitted transport reports."""

import math

import pytest
import torch

from orbitlens import groups
from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.transport import (
    CrossMoments,
    fit_transport,
    measure_layer,
    move,
    order_errors,
    transport_r2,
)
from orbitlens.transport._moments import exact_from_moments

DATA = toy(n_features=16, orbit_size=4, n_samples=600, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)


@pytest.mark.parametrize("method", ["least_squares", "gradient"])
def test_on_an_exact_action_r2_is_one_and_the_relation_holds(method: str) -> None:
    settings = {"epochs": 80, "lr": 1e-2, "batch_size": 64} if method == "gradient" else {}
    rho = fit_transport(STORE, method, **settings)
    assert rho.r2 > 0.999
    assert rho.r2_per_element.min() > 0.999
    assert rho.relation_error < 0.05
    assert rho.order_errors["r"] < 0.05
    assert rho.identity_r2 < 0


def test_identity_transport_reports_the_identity_r2() -> None:
    rho = fit_transport(STORE, "identity")
    assert rho.r2 == rho.identity_r2
    assert rho.relation_error == 0


def test_an_invariant_network_gives_the_identity_and_r2_one() -> None:
    start = torch.randn(200, 1, 6, generator=torch.Generator().manual_seed(0))
    rho = fit_transport(store_from_array(start.expand(-1, 4, -1), group=groups.cyclic(4)))
    torch.testing.assert_close(rho.matrices, torch.eye(6).repeat(4, 1, 1), atol=1e-4, rtol=0)
    assert rho.r2 == pytest.approx(1.0)
    assert rho.identity_r2 == pytest.approx(1.0)


def test_activations_without_symmetry_have_no_transport() -> None:
    noise = torch.randn(2000, 3, 4, generator=torch.Generator().manual_seed(0))
    rho = fit_transport(store_from_array(noise, group=groups.cyclic(3)))
    assert abs(rho.r2) < 0.05


def test_the_trivial_group_is_predicted_for_free() -> None:
    rho = fit_transport(store_from_array(torch.randn(10, 1, 3), group=groups.cyclic(1)))
    assert rho.r2 == 1.0
    assert rho.order_errors == {}


def test_r2_is_measured_on_the_samples_given_and_by_hand() -> None:
    # psi(gx) is 0 and 2 with mean 1; the identity predicts 1 and 1: residual 2, total 2.
    orbits = torch.tensor([[[1.0], [0.0]], [[1.0], [2.0]], [[7.0], [7.0]]])
    store = store_from_array(orbits, group=groups.cyclic(2))
    import numpy as np

    r2, per_element = transport_r2(store, np.array([0, 1]), torch.ones(2, 1, 1))
    assert r2 == pytest.approx(0.0)
    assert per_element.isnan().tolist() == [True, False]  # psi(x) is 1 for both
    assert per_element[1] == pytest.approx(0.0)


def test_moving_by_each_samples_own_element() -> None:
    rho = fit_transport(STORE)
    elements = torch.arange(4)
    moved = rho(DATA.orbits[:4, 0], elements)
    torch.testing.assert_close(moved, DATA.orbits[torch.arange(4), elements], atol=1e-3, rtol=0)
    torch.testing.assert_close(
        move(DATA.orbits[:4, 0], elements, DATA.matrices), moved, atol=1e-3, rtol=0
    )


def test_order_errors_by_hand() -> None:
    matrices = torch.stack([torch.eye(2), 2 * torch.eye(2), torch.eye(2)])
    assert order_errors(groups.cyclic(3), matrices) == {"r": pytest.approx(7.0)}


def test_unknown_method_suggests_the_nearest() -> None:
    with pytest.raises(OrbitLensError, match="did you mean 'gradient'"):
        fit_transport(STORE, "gradiant")


def test_a_transport_of_another_group_or_width_is_rejected() -> None:
    rho = fit_transport(STORE)
    rho.check_fits(groups.cyclic(4), 16)
    with pytest.raises(OrbitLensError, match=r"expected group D4 and width 16, received C4 and 16"):
        rho.check_fits(groups.dihedral(4), 16)
    with pytest.raises(OrbitLensError, match="width 7"):
        rho.check_fits(groups.cyclic(4), 7)


def test_without_variance_r2_says_whether_the_prediction_is_exact() -> None:
    constant = torch.tensor([[[1.0], [2.0]]]).repeat(10, 1, 1)
    store = store_from_array(constant, group=groups.cyclic(2))
    with pytest.warns(OrbitLensWarning, match="constant, so that R\\^2 has no value"):
        assert fit_transport(store, "identity").r2 == float("-inf")


@pytest.mark.parametrize("method", ["least_squares", "exact", "identity"])
def test_activations_that_are_constant_up_to_rounding_are_called_so(method: str) -> None:
    store = store_from_array(DATA.orbits.double() + 1e5, group=DATA.group)
    with pytest.warns(OrbitLensWarning, match="constant, so that R\\^2 has no value"):
        assert not math.isfinite(fit_transport(store, method).r2)


def test_one_held_out_input_has_no_r2() -> None:
    split = (range(500), [550])
    with pytest.warns(OrbitLensWarning, match="only one input is held out"):
        assert not math.isfinite(fit_transport(STORE, "exact", split=split).r2)
    with pytest.raises(OrbitLensError, match="received one held-out input"):
        measure_layer(STORE, split=split)


@pytest.mark.parametrize("method", ["exact", "low_rank", "least_squares"])
@pytest.mark.parametrize("size", [1e3, 1e5])
def test_a_large_mean_hides_no_motion(method: str, size: float) -> None:
    fixed = DATA.matrices.double().mean(0) @ torch.ones(DATA.matrices.shape[-1]).double()
    moved = DATA.orbits.double() + size * fixed / fixed.norm()
    rho = fit_transport(store_from_array(moved, group=DATA.group), method)
    assert rho.r2 > 0.999
    assert rho.motion.variable == DATA.matrices.shape[-1]


def test_a_mean_that_hides_variance_is_warned_of() -> None:
    variances = torch.tensor([1.0, 1.5e-11, 9e-14, 9e-14, 9e-14], dtype=torch.float64)
    moved = variances * torch.tensor([1, -1, -1, -1, -1])
    products = 100 * torch.stack([variances.diag(), moved.diag()])
    total = torch.tensor([100.0, 0, 0, 0, 0], dtype=torch.float64)
    with pytest.warns(OrbitLensWarning, match="mean is so large that 2% of their variance"):
        fit = exact_from_moments(CrossMoments(products, total, 100), groups.cyclic(2))
    assert fit.motion.variable == 2
    expected = torch.tensor([1.0, -1, 1, 1, 1], dtype=torch.float64).diag()
    torch.testing.assert_close(fit.motion.core[1], expected)


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(OrbitLensError, match=r"diverged at lr = 1e\+09; lower lr"):
        fit_transport(STORE, "gradient", lr=1e9, epochs=2)


def test_moving_by_an_element_that_does_not_exist_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match=r"numbers in 0\.\.3, received numbers in 0\.\.9"):
        move(DATA.orbits[:2, 0], torch.tensor([0, 9]), DATA.matrices)


def test_a_transport_of_half_turns_is_none_of_flips() -> None:
    turned = store_from_array(torch.randn(20, 2, 3), group=groups.cyclic(2))
    with pytest.raises(OrbitLensError, match="group D1"):
        fit_transport(turned).check_fits(groups.dihedral(1), 3)
