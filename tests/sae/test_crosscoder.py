"""The group crosscoder: contract, theorems and hand-worked cases."""

import pytest
import torch

from orbitlens import objectives
from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.sae import CrosscoderDictionary, Dictionary, crosscoder_sae
from orbitlens.testing import ORDER, DictionaryContract
from orbitlens.training import fit

DATA = toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)


def with_biases(dictionary: CrosscoderDictionary) -> CrosscoderDictionary:
    with torch.no_grad():
        dictionary.b_dec.normal_()
        dictionary.offsets.normal_()
    return dictionary


class TestCrosscoderDictionary(DictionaryContract):
    def build(self, d_sae: int, d_in: int, seed: int) -> Dictionary:
        return CrosscoderDictionary(d_sae, d_in, ORDER, seed=seed)

    def test_the_block_of_the_identity_is_what_decoding_gives(self) -> None:
        dictionary, codes = with_biases(CrosscoderDictionary(9, 5, 4)), torch.rand(6, 9)
        orbit = dictionary.orbit(codes)
        assert orbit.shape == (6, 4, 5)
        torch.testing.assert_close(orbit[:, 0], dictionary(codes))
        assert torch.equal(dictionary.biases[0], dictionary.b_dec)

    def test_each_element_has_its_own_block_and_bias(self) -> None:
        dictionary, codes = with_biases(CrosscoderDictionary(9, 5, 4)), torch.rand(6, 9)
        for g, block in enumerate(dictionary.blocks):
            expected = codes @ block + dictionary.biases[g]
            torch.testing.assert_close(dictionary.orbit(codes)[:, g], expected)

    def test_scaling_makes_the_whole_orbit_homogeneous(self) -> None:
        dictionary, codes = with_biases(CrosscoderDictionary(9, 5, 4)), torch.rand(6, 9)
        before = dictionary.orbit(codes)
        dictionary.scale_(3.0)
        torch.testing.assert_close(dictionary.orbit(3.0 * codes), 3.0 * before)

    def test_projection_keeps_the_shares_of_the_elements(self) -> None:
        dictionary = CrosscoderDictionary(1, 1, 2)
        with torch.no_grad():
            dictionary.blocks.copy_(torch.tensor([[[1.0]], [[7.0]]]))
        dictionary.project_()
        # The mean of 1 and 49 is 25, so both blocks are divided by 5.
        torch.testing.assert_close(dictionary.blocks.flatten(), torch.tensor([0.2, 1.4]))

    def test_biases_start_at_the_mean_of_their_element(self) -> None:
        dictionary, means = CrosscoderDictionary(9, 5, 4), torch.randn(4, 5)
        dictionary.center_(means)
        torch.testing.assert_close(dictionary.biases, means)

    def test_a_store_of_another_group_is_rejected(self) -> None:
        with pytest.raises(OrbitLensError, match="orbits of 6 elements.*received 4"):
            fit(crosscoder_sae(16, 8, 2, 6), STORE, epochs=1)

    def test_an_order_below_one_is_rejected(self) -> None:
        with pytest.raises(OrbitLensError, match="`group_order`: expected at least 1, received 0"):
            CrosscoderDictionary(9, 5, 0)

    def test_the_trivial_group_has_one_block(self) -> None:
        dictionary, codes = CrosscoderDictionary(9, 5, 1), torch.rand(6, 9)
        torch.testing.assert_close(dictionary.orbit(codes)[:, 0], dictionary(codes))
        torch.testing.assert_close(dictionary.directions.norm(dim=-1), torch.ones(9))


def test_training_on_orbits_predicts_every_orientation_from_the_canonical_one() -> None:
    result = fit(
        crosscoder_sae(16, 16, 3, 4),
        STORE,
        objective=objectives.orbit_reconstruction,
        epochs=30,
        lr=3e-3,
    )
    dictionary = result.sae.dictionary
    assert isinstance(dictionary, CrosscoderDictionary)
    orbits = DATA.orbits[STORE.split()[1]]
    error = (dictionary.orbit(result.sae.encode(orbits[:, 0])) - orbits).square().sum((0, 2))
    power = (orbits - orbits.mean(0)).square().sum((0, 2))
    assert (error < 0.8 * power).all()
    torch.testing.assert_close(dictionary.blocks.square().sum(-1).mean(0), torch.ones(16))
