"""Parts of the orbit SAE: contracts and hand-worked cases. C3, three atoms, five dimensions."""

import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral
from orbitlens.reps import direct_sum, irreps, isotypic_basis, regular
from orbitlens.sae import (
    BatchTopK,
    Dictionary,
    Encoder,
    OnePose,
    OrbitDictionary,
    OrbitLinearEncoder,
    OrbitMLPEncoder,
    Sparsity,
    Tied,
    TopK,
)
from orbitlens.sae._stabilisers import cosets, stabilisers
from orbitlens.testing import (
    LATENTS,
    ORDER,
    DictionaryContract,
    EncoderContract,
    SparsityContract,
)
from orbitlens.typing import Tensor

GROUP = cyclic(ORDER)
BASIS = isotypic_basis(direct_sum(regular(GROUP), irreps(GROUP)[1]))
TIED = Tied(GROUP, BASIS.multiplicities)


class TestOrbitLinearEncoder(EncoderContract):
    def build(self, d_in: int, d_sae: int, seed: int) -> Encoder:
        assert d_in == TIED.dim
        return OrbitLinearEncoder(d_sae // ORDER, TIED, seed=seed)


class TestOrbitMLPEncoder(EncoderContract):
    def build(self, d_in: int, d_sae: int, seed: int) -> Encoder:
        assert d_in == TIED.dim
        return OrbitMLPEncoder(d_sae // ORDER, 7, TIED, seed=seed)


class TestOnePose(SparsityContract):
    def build(self) -> Sparsity:
        return OnePose(TopK(2), ORDER)

    def relabelling(self) -> Tensor:
        """Elements may be renamed, and the latents of each."""
        latents = torch.arange(LATENTS).view(ORDER, -1)
        rows = [row[torch.randperm(len(row))] for row in latents[torch.randperm(ORDER)]]
        return torch.cat(rows)

    def test_the_element_whose_codes_are_largest_together_wins_by_hand(self) -> None:
        # 3^2 = 9 against 2^2 + 2.5^2 = 10.25; a third latent of the first counts for nothing.
        pre = torch.tensor([[3.0, 0.0, 0.9, 2.0, 2.5, -9.0]])
        assert OnePose(TopK(2), 2)(pre).tolist() == [[0.0, 0.0, 0.0, 2.0, 2.5, 0.0]]
        assert OnePose(TopK(1), 2)(pre).tolist() == [[3.0, 0.0, 0.0, 0.0, 0.0, 0.0]]


class TestOnePoseOfBatchTopK(SparsityContract):
    def build(self) -> Sparsity:
        return OnePose(BatchTopK(2), ORDER)

    def relabelling(self) -> Tensor:
        return TestOnePose().relabelling()

    def test_it_learns_the_threshold_of_what_it_lets_pass(self) -> None:
        rule = OnePose(BatchTopK(1), 2)
        rule.calibrate_([torch.tensor([[9.0, 1.0, 5.0, 4.0], [0.0, 0.0, 2.0, 0.5]])], 2)
        assert isinstance(rule.rule, BatchTopK)
        assert rule.rule.threshold.item() == 1.0  # of 9, 1 and 2, 0.5
        rule.scale_(2.0)
        assert rule.eval()(torch.tensor([[2.5, 1.5, 0.0, 0.0]])).tolist() == [[2.5, 0.0, 0.0, 0.0]]


class TestOrbitDictionary(DictionaryContract):
    def build(self, d_sae: int, d_in: int, seed: int) -> Dictionary:
        assert d_in == len(BASIS.T)
        return OrbitDictionary(d_sae // ORDER, BASIS, seed=seed)

    def shared_mean(self, dictionary: Dictionary) -> Tensor:
        assert isinstance(dictionary, OrbitDictionary)
        return 2.0 * dictionary.T[:, 0]

    def make_special_(self, dictionary: Dictionary, number: int) -> None:
        """Atom 0 of every second member is left alone by the whole group."""
        assert isinstance(dictionary, OrbitDictionary)
        with torch.no_grad():
            dictionary.atoms[0] = torch.eye(5)[0 if number % 2 else 1]

    def test_atoms_have_unit_length_on_average_over_the_group(self) -> None:
        dictionary = OrbitDictionary(4, BASIS, seed=1)
        lengths = dictionary.by_element(dictionary.directions.square().sum(-1)).mean(0)
        torch.testing.assert_close(lengths, torch.ones(4))

    def test_pooling_and_counting_together_are_sums_over_the_elements(self) -> None:
        dictionary, codes = OrbitDictionary(3, BASIS), torch.arange(9.0)
        assert dictionary.pooled(codes[None]).tolist() == [[9.0, 12.0, 15.0]]
        assert dictionary.together(codes).tolist() == [9.0, 12.0, 15.0] * 3
        assert dictionary.by_element(codes)[2].tolist() == [6.0, 7.0, 8.0]

    def test_of_equal_orientations_the_first_that_answers_most_is_admitted(self) -> None:
        dictionary = OrbitDictionary(3, BASIS)
        self.make_special_(dictionary, 1)
        dictionary.settle_()
        assert dictionary.stabilisers.T.tolist() == [[True] * 3, *[[True, False, False]] * 2]
        pre = torch.tensor([[1.0, 5.0, 5.0, 4.0, 5.0, 5.0, 4.0, 5.0, 5.0]])
        admitted = dictionary.by_element(dictionary.admitted(pre))[0]
        assert admitted[:, 0].tolist() == [-torch.inf, 4.0, -torch.inf]
        assert (admitted[:, 1:] == 5.0).all()

    def test_the_tolerance_decides_how_much_an_element_may_change_an_atom(self) -> None:
        # cos = 1 - 0.02: an atom with 1 - s of the invariant direction and s of one that turns.
        share = 0.02 / (1 - torch.cos(torch.tensor(2 * torch.pi / 3)))
        atom = torch.tensor([(1 - share).sqrt(), share.sqrt(), 0.0, 0.0, 0.0])
        for tolerance, alone in ((0.021, 3), (0.019, 1)):
            dictionary = OrbitDictionary(1, BASIS, tolerance=tolerance)
            with torch.no_grad():
                dictionary.atoms[0] = atom
            assert dictionary.stabilisers.sum() == alone

    @pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
    def test_a_tolerance_out_of_range_is_refused(self, tolerance: float) -> None:
        with pytest.raises(OrbitLensError, match="below 1, which merges everything, received"):
            OrbitDictionary(3, BASIS, tolerance=tolerance)


def test_what_is_nearly_left_alone_by_elements_of_no_subgroup_has_a_true_stabiliser() -> None:
    # r and r^-1 change it little, r^2 and r^3 much: no subgroup but the trivial one.
    near = torch.tensor([1.0, 0.97, 0.2, 0.1, 0.2, 0.97])[:, None]
    assert stabilisers(cyclic(6), near, 0.05).flatten().tolist() == [True] + [False] * 5
    # Also r^2 and r^4: these alone are one.
    near = torch.tensor([1.0, 0.2, 0.99, 0.1, 0.99, 0.2])[:, None]
    assert stabilisers(cyclic(6), near, 0.05).flatten().tolist() == [True, False] * 3


def test_cosets_are_left_ones() -> None:
    group = dihedral(3)  # e, r, r^2, s, r s, r^2 s
    flip = torch.zeros(6, 1, dtype=torch.bool)
    flip[[0, 3]] = True
    found = cosets(group, flip).flatten().tolist()
    by_hand = [min(group.multiply(g, h) for h in (0, 3)) for g in range(6)]
    assert found == by_hand == [0, 1, 2, 0, 1, 2]
    # r s H = {r s, r}, whereas H r s = {r s, s r s = r^2}.
    assert group.multiply(3, 4) == 2
