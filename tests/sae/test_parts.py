"""Encoders, sparsity rules and dictionaries: contracts and hand-worked cases."""

import pytest
import torch

import orbitlens as ol
from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.sae import (
    BatchTopK,
    Dictionary,
    Encoder,
    FreeDictionary,
    LinearEncoder,
    MLPEncoder,
    Sparsity,
    TopK,
)
from orbitlens.testing import DictionaryContract, EncoderContract, SparsityContract


class TestLinearEncoder(EncoderContract):
    def build(self, d_in: int, d_sae: int, seed: int) -> Encoder:
        return LinearEncoder(d_in, d_sae, seed=seed)


class TestMLPEncoder(EncoderContract):
    def build(self, d_in: int, d_sae: int, seed: int) -> Encoder:
        return MLPEncoder(d_in, 7, d_sae, seed=seed)

    def test_forward_by_hand(self) -> None:
        encoder = MLPEncoder(1, 2, 1)
        with torch.no_grad():
            encoder.W_hidden.copy_(torch.tensor([[1.0, -1.0]]))
            encoder.b_hidden.copy_(torch.tensor([0.0, 1.0]))
            encoder.W_enc.copy_(torch.tensor([[2.0], [3.0]]))
            encoder.b_enc.fill_(0.5)
        # x = 2: relu(2, -1) = (2, 0), so 2 * 2 + 0.5.
        assert encoder(torch.tensor([[2.0]])).item() == 4.5


class TestTopK(SparsityContract):
    def build(self) -> Sparsity:
        return TopK(3)

    def test_keeps_exactly_the_k_largest(self) -> None:
        codes = TopK(2)(torch.tensor([[4.0, 1.0, 3.0, 2.0]]))
        assert codes.tolist() == [[4.0, 0.0, 3.0, 0.0]]

    def test_gradient_reaches_the_kept_latents_alone(self) -> None:
        pre = torch.tensor([[4.0, 1.0, 3.0]], requires_grad=True)
        TopK(1)(pre).sum().backward()
        assert pre.grad is not None
        assert pre.grad.tolist() == [[1.0, 0.0, 0.0]]


class TestBatchTopK(SparsityContract):
    def build(self) -> Sparsity:
        return BatchTopK(3)

    def test_samples_share_the_budget_while_training(self) -> None:
        codes = BatchTopK(1)(torch.tensor([[1.0, 2.0], [9.0, 8.0]]))
        assert codes.tolist() == [[0.0, 0.0], [9.0, 8.0]]

    def test_threshold_is_the_largest_value_left_out(self) -> None:
        rule = BatchTopK(1)
        rule.calibrate_([torch.tensor([[4.0, 1.0], [3.0, 2.0]])], 2)
        assert rule.threshold.item() == 2.0
        rule.eval()
        assert rule(torch.tensor([[2.0, 2.1]])).tolist() == [[0.0, pytest.approx(2.1)]]

    def test_a_budget_for_everything_keeps_every_positive_value(self) -> None:
        rule = BatchTopK(2)
        rule.calibrate_([torch.tensor([[4.0, 1.0], [-3.0, 2.0]])], 2)
        assert rule.threshold.item() == 0.0

    def test_threshold_is_saved_with_the_weights(self) -> None:
        assert "threshold" in BatchTopK(1).state_dict()


class TestFreeDictionary(DictionaryContract):
    def build(self, d_sae: int, d_in: int, seed: int) -> Dictionary:
        return FreeDictionary(d_sae, d_in, seed=seed)

    def test_projection_gives_unit_rows(self) -> None:
        dictionary = FreeDictionary(4, 3)
        with torch.no_grad():
            dictionary.W_dec *= 5
        dictionary.project_()
        torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("rule", [TopK, BatchTopK])
def test_k_below_one_is_rejected(rule: type[Sparsity]) -> None:
    with pytest.raises(OrbitLensError, match="at least 1, received 0"):
        rule(0)


@pytest.mark.parametrize("width", [10**12, 10**30])
def test_weights_beyond_memory_are_refused_before_they_are_drawn(width: int) -> None:
    tied = ol.sae.Tied(groups.cyclic(4), (1, 1, 1))
    for build in (
        lambda: ol.sae.topk_sae(4, width, 2),
        lambda: ol.sae.topk_sae(4, 8, 2, hidden=width),
        lambda: ol.sae.crosscoder_sae(4, 8, 2, width),
        lambda: ol.sae.archetypal_sae(torch.eye(4), width, 2),
        lambda: ol.sae.OrbitLinearEncoder(width, tied),
    ):
        with pytest.raises(OrbitLensError, match="GiB of memory"):
            build()


def test_multiplicities_are_one_number_for_each_irrep() -> None:
    for wrong in ((1, 1), (1, 1, -1), (0, 0, 0)):
        with pytest.raises(OrbitLensError, match="multiplicities"):
            ol.sae.Tied(groups.cyclic(4), wrong)
