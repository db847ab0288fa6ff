"""The archetypal dictionary: contract, theorems and hand-worked cases."""

import pytest
import torch
from scipy.optimize import nnls

from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.sae import ArchetypalDictionary, Dictionary, archetypal_sae, kmeans_candidates
from orbitlens.testing import DictionaryContract
from orbitlens.training import fit

DATA = toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)
CANDIDATES = kmeans_candidates(DATA.orbits.flatten(0, 1), 40, seed=0)


def perturbed(dictionary: ArchetypalDictionary, size: float) -> ArchetypalDictionary:
    with torch.no_grad():
        dictionary.weights.add_(size * torch.randn(dictionary.weights.shape))
        dictionary.relaxation.add_(size * torch.randn(dictionary.relaxation.shape))
    dictionary.project_()
    return dictionary


class TestArchetypalDictionary(DictionaryContract):
    def build(self, d_sae: int, d_in: int, seed: int) -> Dictionary:
        candidates = torch.randn(20, d_in, generator=torch.Generator().manual_seed(7))
        return ArchetypalDictionary(candidates, d_sae, seed=seed)

    def test_every_direction_starts_at_a_candidate_of_its_own(self) -> None:
        dictionary = ArchetypalDictionary(CANDIDATES, 30, seed=3)
        assert set(dictionary.weights.unique().tolist()) == {0.0, 1.0}
        assert dictionary.weights.sum(1).eq(1).all()
        assert dictionary.weights.sum(0).max() == 1
        centred = CANDIDATES - CANDIDATES.mean(0)
        cosines = torch.cosine_similarity(dictionary.directions[:, None], centred, dim=-1)
        torch.testing.assert_close(cosines.max(1).values, torch.ones(30))

    def test_more_latents_than_candidates_start_at_different_mixtures(self) -> None:
        weights = ArchetypalDictionary(torch.randn(7, 3), 20).weights
        assert len(weights.unique(dim=0)) == 20
        torch.testing.assert_close(weights.sum(-1), torch.ones(20))

    def test_the_seed_decides_where_rows_start(self) -> None:
        first, again, other = (self.build(9, 5, seed).directions for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("size", [1e-3, 1.0, 100.0])
    def test_projection_makes_the_weights_row_stochastic_and_bounds_the_relaxation(
        self, size: float
    ) -> None:
        dictionary = perturbed(ArchetypalDictionary(CANDIDATES, 9, delta=0.3), size)
        assert (dictionary.weights >= 0).all()
        torch.testing.assert_close(dictionary.weights.sum(-1), torch.ones(9))
        assert (dictionary.relaxation.norm(dim=-1) <= 0.3 * (1 + 1e-6)).all()

    def test_projection_by_hand(self) -> None:
        dictionary = ArchetypalDictionary(torch.eye(4), 2, delta=2.0)
        with torch.no_grad():
            dictionary.weights.copy_(torch.tensor([[0.9, 0.3, -3.0, 0.0], [-1.0, 0.0, -2.0, -0.1]]))
            dictionary.relaxation.copy_(torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
        dictionary.project_()
        # Of the second row nothing is left, so it starts again at equal parts.
        expected = torch.tensor([[0.75, 0.25, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
        torch.testing.assert_close(dictionary.weights.detach(), expected)
        # The first row of the relaxation has length 5, the second is within the bound.
        expected = torch.tensor([[1.2, 0.0, 1.6, 0.0], [0.0, 1.0, 0.0, 0.0]])
        torch.testing.assert_close(dictionary.relaxation.detach(), expected)

    def test_without_relaxation_directions_are_in_the_cone_of_the_candidates(self) -> None:
        # Few candidates in many dimensions, where the cone is thin.
        candidates = torch.randn(5, 12)
        # Little enough that no row loses all its weights and starts again at equal parts, which are
        # no direction at all.
        dictionary = perturbed(ArchetypalDictionary(candidates, 8, delta=0.0), 0.2)
        centred = (candidates - candidates.mean(0)).numpy()
        for direction, weights in zip(
            dictionary.directions.detach().numpy(), dictionary.weights.detach(), strict=True
        ):
            assert nnls(centred.T, direction)[1] < 1e-5
            mixture = weights.numpy() @ centred
            cosine = mixture @ direction / (mixture @ mixture) ** 0.5
            assert cosine == pytest.approx(1.0, abs=1e-5)
        freed = perturbed(ArchetypalDictionary(candidates, 8, delta=0.5), 1.0).directions
        assert nnls(centred.T, freed[0].detach().numpy())[1] > 0.1

    @pytest.mark.parametrize("scale", [1e-4, 1e4])
    def test_neither_the_unit_nor_the_mean_of_the_activations_matters(self, scale: float) -> None:
        plain = ArchetypalDictionary(CANDIDATES, 9).directions
        moved = ArchetypalDictionary(scale * (CANDIDATES + 3.0), 9).directions
        torch.testing.assert_close(moved, plain, atol=1e-5, rtol=1e-4)

    def test_equal_candidates_are_rejected(self) -> None:
        with pytest.raises(OrbitLensError, match="rows that differ.*received 4 equal ones"):
            ArchetypalDictionary(torch.full((4, 3), 0.1), 2)

    @pytest.mark.parametrize("delta", [-0.1, float("nan")])
    def test_a_negative_relaxation_is_rejected(self, delta: float) -> None:
        with pytest.raises(OrbitLensError, match="`delta`: expected at least 0"):
            ArchetypalDictionary(CANDIDATES, 2, delta=delta)


@pytest.mark.parametrize("hidden", [None, 32])
def test_training_keeps_the_constraints_and_lowers_the_loss(hidden: int | None) -> None:
    sae = archetypal_sae(CANDIDATES, 16, 3, hidden=hidden, delta=0.2)
    start = sae.dictionary.weights.clone()
    result = fit(sae, STORE, epochs=15, lr=3e-3)
    dictionary = result.sae.dictionary
    assert isinstance(dictionary, ArchetypalDictionary)
    assert result.history.loss[-1] < 0.8 * result.history.loss[0]
    assert (dictionary.weights >= 0).all()
    torch.testing.assert_close(dictionary.weights.sum(-1), torch.ones(16))
    assert not torch.allclose(dictionary.weights, start, atol=0.05)
    norms = dictionary.relaxation.norm(dim=-1)
    assert 0.1 < norms.max() <= 0.2 * (1 + 1e-6)
    torch.testing.assert_close(result.sae.W_dec.norm(dim=-1), torch.ones(16))


class TestKmeans:
    def test_finds_well_separated_clusters(self) -> None:
        centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
        noise = 0.1 * torch.randn(50, 3, 2, generator=torch.Generator().manual_seed(0))
        found = kmeans_candidates((centres + noise).flatten(0, 1), 3)
        assert torch.cdist(centres, found).min(1).values.max() < 0.2

    def test_the_seed_decides(self) -> None:
        x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        first, again, other = (kmeans_candidates(x, 10, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("n", [0, 4])
    def test_more_clusters_than_distinct_samples_are_rejected(self, n: int) -> None:
        x = torch.tensor([[0.0], [1.0], [2.0]]).repeat(10, 1)
        with pytest.raises(OrbitLensError, match=f"1 to 3 clusters.*received {n}"):
            kmeans_candidates(x, n)

    def test_as_many_clusters_as_distinct_samples_are_the_samples(self) -> None:
        x = torch.tensor([[0.0], [1.0], [2.0]]).repeat(10, 1)
        torch.testing.assert_close(kmeans_candidates(x, 3).sort(dim=0).values, x[:3])

    def test_values_that_are_not_finite_are_rejected(self) -> None:
        with pytest.raises(OrbitLensError, match="finite numbers"):
            kmeans_candidates(torch.tensor([[0.0], [float("nan")]]), 1)
