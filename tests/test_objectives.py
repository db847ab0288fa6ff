"""Objectives: the contract, and numbers worked by hand."""

from functools import partial

import pytest
import torch
from jaxtyping import TypeCheckError

from orbitlens import objectives
from orbitlens.errors import OrbitLensError
from orbitlens.testing import ObjectiveContract
from orbitlens.training import Objective


class TestReconstruction(ObjectiveContract):
    def build(self) -> Objective:
        return objectives.reconstruction


class TestL1Reconstruction(ObjectiveContract):
    def build(self) -> Objective:
        return partial(objectives.l1_reconstruction, weight=0.7)

    def test_is_zero_where_all_views_agree(self) -> None:
        """It is zero without codes alone; the penalty is the weight times their sum."""
        values = objectives.l1_reconstruction(
            ROWS, ROWS, torch.tensor([[0.0, 0], [3, 1]]), weight=2.0
        )
        assert values.tolist() == [0, 8]


class TestCanonical(ObjectiveContract):
    def build(self) -> Objective:
        return objectives.canonical


class TestLatentInvariance(ObjectiveContract):
    def build(self) -> Objective:
        return partial(objectives.latent_invariance, weight=0.7)

    def test_moved_inputs_leave_the_dictionary_alone(self) -> None:
        assert "x_hat_moved" not in self.views()


class TestOutputInvariance(ObjectiveContract):
    def build(self) -> Objective:
        return partial(objectives.output_invariance, weight=0.7)

    def test_reconstruction_gets_gradient_from_both_terms(self) -> None:
        views = {n: v.requires_grad_() for n, v in self.views().items()}
        self.build()(**views).sum().backward()
        expected = 2 * (views["x_hat"] - views["x"]) + 1.4 * (views["x_hat"] - views["x_hat_moved"])
        torch.testing.assert_close(views["x_hat"].grad, expected)


class TestOrbitReconstruction(ObjectiveContract):
    def build(self) -> Objective:
        return objectives.orbit_reconstruction

    def test_every_element_of_the_orbit_counts_equally_by_hand(self) -> None:
        # Sample 0: ||(3, 4)||^2 = 25 and 1, mean 13. Sample 1: 0 and 8, mean 4.
        orbit = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 0.0], [2.0, 2.0]]])
        values = objectives.orbit_reconstruction(orbit, torch.zeros(2, 2, 2))
        assert values.tolist() == [13.0, 4.0]

    def test_an_orbit_of_one_element_is_a_reconstruction(self) -> None:
        x, x_hat = torch.randn(5, 1, 3), torch.randn(5, 1, 3)
        torch.testing.assert_close(
            objectives.orbit_reconstruction(x, x_hat),
            objectives.reconstruction(x[:, 0], x_hat[:, 0]),
        )

    @pytest.mark.parametrize("shape", [(5, 3), (5, 2, 4), (6, 2, 3)])
    def test_views_of_other_shapes_are_not_broadcast(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(TypeCheckError):
            objectives.orbit_reconstruction(torch.ones(5, 2, 3), torch.ones(shape))


class TestOrbitInvariance(ObjectiveContract):
    def build(self) -> Objective:
        return partial(objectives.orbit_invariance, weight=0.7)

    def test_drift_of_pooled_codes_counts_with_its_weight_by_hand(self) -> None:
        # ||(1, 0) - (0, 2)||^2 = 5 and || (3) - (1) ||^2 = 4, with weight 0.7.
        values = self.build()(
            torch.tensor([[1.0, 0.0]]),
            torch.tensor([[0.0, 2.0]]),
            torch.tensor([[3.0]]),
            torch.tensor([[1.0]]),
        )
        assert values.item() == pytest.approx(5 + 0.7 * 4)

    def test_both_codes_get_gradient_and_the_canonical_reconstruction_none(self) -> None:
        views = {n: v.requires_grad_() for n, v in self.views().items()}
        self.build()(**views).sum().backward()
        drift = 1.4 * (views["pooled"] - views["pooled_moved"])
        torch.testing.assert_close(views["pooled"].grad, drift)
        torch.testing.assert_close(views["pooled_moved"].grad, -drift)
        assert "x_hat" not in views


def test_what_dead_latents_explain_gets_gradient_and_the_residual_none() -> None:
    residual, explained = (torch.randn(5, 4, requires_grad=True) for _ in range(2))
    objectives.dead_latent_revival(residual, explained).sum().backward()
    assert residual.grad is None
    assert explained.grad is not None
    assert explained.grad.all()


def test_revival_is_relative_to_the_residual_by_hand() -> None:
    # residual (2, 0), explained (0, 5): error 2^2 + 5^2 = 29, power 4.
    value = objectives.dead_latent_revival(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]]))
    assert value.item() == pytest.approx(29 / 4)


ROWS = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    "weight", [-1.0, float("nan"), float("inf")], ids=["negative", "nan", "infinite"]
)
def test_a_weight_that_is_no_number_from_zero_is_refused(weight: float) -> None:
    with pytest.raises(OrbitLensError, match="weight"):
        objectives.output_invariance(ROWS, ROWS, ROWS, weight=weight)


def test_orbits_of_other_shapes_are_refused() -> None:
    with pytest.raises((OrbitLensError, TypeCheckError)):
        objectives.orbit_reconstruction(ROWS[:, None], ROWS[:, None, :1])
