"""Bias adaptation: the feedback worked by hand, tied weights, codes that move with the input."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import cyclic
from orbitlens.kernels import Pattern, SparseCodes
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import (
    SAE,
    BiasAdaptation,
    Encoder,
    FreeDictionary,
    JumpReLU,
    OnePose,
    OrbitDictionary,
    ReLU,
    Sparsity,
    TransposedEncoder,
    bias_adaptation_sae,
    compose,
    dense,
)
from orbitlens.testing import LATENTS, EncoderContract, SparsityContract
from orbitlens.training._stack import stack_saes
from orbitlens.typing import Tensor

TARGETS: dict[str, Any] = {"groups": 3, "htf": 0.3, "ltf": 0.03}


class TestReLU(SparsityContract):
    def build(self) -> Sparsity:
        return ReLU()


class TestJumpReLU(SparsityContract):
    def build(self) -> Sparsity:
        return JumpReLU(LATENTS)


class TestBiasAdaptation(SparsityContract):
    def build(self) -> Sparsity:
        return BiasAdaptation(LATENTS, **TARGETS)


class TestBiasAdaptationWithReLU(SparsityContract):
    def build(self) -> Sparsity:
        return BiasAdaptation(LATENTS, jump=False, **TARGETS)


class TestTransposedEncoder(EncoderContract):
    def build(self, d_in: int, d_sae: int, seed: int) -> Encoder:
        return TransposedEncoder(FreeDictionary(d_sae, d_in, seed=seed))

    def test_a_stack_encodes_as_its_members_alone(self) -> None:
        """The encoder of a stack is the transpose of the stack's own dictionary."""
        saes = [compose(BiasAdaptation(9, **TARGETS), FreeDictionary(9, 5, seed=s)) for s in (0, 1)]
        x = random(2, 6, 5)
        alone = torch.stack([sae.encoder(own) for sae, own in zip(saes, x, strict=True)])
        torch.testing.assert_close(stack_saes(saes).encoder(x), alone)

    def test_another_dictionary_than_that_of_the_sae_is_refused(self) -> None:
        encoder = self.build(5, 9, 0)
        with pytest.raises(OrbitLensError, match="transpose of the SAE's own dictionary"):
            SAE(encoder, ReLU(), FreeDictionary(9, 5))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fires(rule: BiasAdaptation, pre: Tensor) -> SparseCodes:
    """The entries that fire."""
    rows, columns = (rule.eligible(pre) > 0).nonzero(as_tuple=True)
    starts = torch.bincount(rows, minlength=len(pre)).cumsum(0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), starts])
    pattern = Pattern(starts, columns, pre.shape[1])
    return SparseCodes(pre[rows, columns], pattern, (1, *pre.shape))


def test_targets_fall_geometrically_from_group_to_group() -> None:
    rule = BiasAdaptation(6, groups=3, htf=0.4, ltf=0.1)
    torch.testing.assert_close(rule.targets, torch.tensor([0.4, 0.4, 0.2, 0.2, 0.1, 0.1]))


def test_the_feedback_by_hand() -> None:
    """Algorithm 2, with rates that are easy to follow.

    Targets are .5 and .25. Latent 0 fires for 3 of 4 samples, at most with 4: -1 - .5 * 4 = -3.
    Latent 1 never fires: r of its group is 4, min(-1 + .1 * 4, 0) = -.6. Latent 2 fires for one of
    four, which is its target: unchanged. Latent 3 would be raised above 0.
    """
    rule = BiasAdaptation(
        4, groups=2, htf=0.5, ltf=0.25, samples=4, gamma_minus=0.5, gamma_plus=0.1
    )
    rule.biases.copy_(torch.tensor([-1.0, -1.0, -1.0, -0.1]))
    pre = torch.tensor([[5.0, 0, 9, 0], [3, 1, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0.1]])
    rule.observe_(fires(rule, pre[:3]))
    rule.steer_()
    assert rule.biases.tolist() == pytest.approx([-1, -1, -1, -0.1])  # three samples are too few
    rule.observe_(fires(rule, pre[3:]))
    rule.steer_()
    assert rule.biases.tolist() == pytest.approx([-3, -0.6, -1, 0])
    for counts in (rule.fired, rule.largest, rule.seen):
        assert not counts.any()


def test_a_group_that_fires_for_nothing_comes_back() -> None:
    rule = BiasAdaptation(4, groups=2, htf=0.9, ltf=0.5, samples=2, gamma_plus=0.5)
    rule.biases.copy_(torch.tensor([0.0, 0, -9, -9]))
    pre = torch.tensor([[2.0, 0, 3, 3], [0, 4, 3, 3]])
    rule.observe_(fires(rule, pre))
    rule.steer_()
    assert rule.biases.tolist() == pytest.approx([0, 0, -9 + 0.5 * 3, -9 + 0.5 * 3])


@settings(max_examples=25)
@given(st.integers(0, 2**20), st.floats(0, 1), st.floats(0, 1))
def test_a_bias_stays_between_zero_and_the_longest_activation(
    seed: int, gamma_minus: float, gamma_plus: float
) -> None:
    """The bound -1 of the paper, in the unit of the activations, holds by itself."""
    rule = BiasAdaptation(
        6,
        groups=2,
        htf=0.4,
        ltf=0.2,
        samples=5,
        gamma_minus=gamma_minus,
        gamma_plus=gamma_plus,
    )
    x = 3 * random(5, 4, seed=seed)
    pre = x @ FreeDictionary(6, 4, seed=seed).W_dec.detach().T
    for _ in range(4):
        rule.observe_(fires(rule, pre))
        rule.steer_()
        assert (rule.biases <= 0).all()
        assert (rule.biases >= -x.norm(dim=1).max() * (1 + 1e-5)).all()


def test_a_sample_fires_an_atom_once_in_whichever_orientation() -> None:
    rule = BiasAdaptation(2, groups=2, htf=0.9, ltf=0.4, orientations=3)
    #            element 0     1     2, two atoms each
    pre = torch.tensor([[1.0, 0, 2.0, 0, 3.0, 0], [0, 0, 0, 5.0, 0, 0], [0, 0, 0, 0, 0, 0]])
    rule.observe_(fires(rule, pre))
    assert rule.fired.tolist() == [1, 1]
    assert rule.largest.tolist() == [3, 5]
    moved = pre.view(3, 3, 2).roll(1, dims=1).flatten(1)
    rule.observe_(fires(rule, moved))
    assert rule.fired.tolist() == [2, 2]
    assert rule.largest.tolist() == [3, 5]


@pytest.mark.parametrize("jump", [False, True])
def test_codes_of_entries_are_those_of_the_forward_pass(jump: bool) -> None:
    rule, pre = BiasAdaptation(9, jump=jump, **TARGETS), random(5, 9)
    with torch.no_grad():
        rule.scales.copy_(torch.linspace(0, 2, 9))
    rule.biases.copy_(-torch.linspace(0, 1, 9))
    found = fires(rule, pre)
    codes = SparseCodes(rule.of_entries(found), found.pattern, found.shape)
    torch.testing.assert_close(codes.dense()[0], rule(pre))
    expected = pre if jump else pre + rule.biases
    torch.testing.assert_close(rule(pre), rule.scales * expected * (pre + rule.biases > 0))


def test_the_jump_leaves_the_bias_out() -> None:
    pre = torch.tensor([[3.0]])
    for jump, code in ((True, 3.0), (False, 1.0)):
        rule = BiasAdaptation(1, groups=1, htf=0.1, ltf=0.1, jump=jump)
        rule.biases.fill_(-2.0)
        assert rule(pre).item() == code
        assert rule(pre - 1.5).item() == 0.0


def test_one_set_of_weights_gets_the_gradient_of_both_sides() -> None:
    sae, x = bias_adaptation_sae(5, 9, centre="trained", **TARGETS), random(7, 5)
    W, b = (each.detach().requires_grad_() for each in (sae.W_dec, sae.b_dec))
    by_hand = torch.relu((x - b) @ W.T) @ W + b
    wanted = torch.autograd.grad((by_hand - x).square().sum(), [W, b])
    (sae(x).x_hat - x).square().sum().backward()
    weights = dict(sae.named_parameters())
    assert set(weights) == {"sparsity.scales", "dictionary.W_dec", "dictionary.b_dec"}
    for name, gradient in zip(("dictionary.W_dec", "dictionary.b_dec"), wanted, strict=True):
        torch.testing.assert_close(weights[name].grad, gradient)


def orbit_of(jump: bool, seed: int = 0, centre: str = "auto") -> SAE:
    """An orbit SAE of C4 whose weights and biases are none of them special."""
    dictionary = OrbitDictionary(6, isotypic_basis(regular(cyclic(4))), tolerance=1e-4, seed=seed)
    rule = BiasAdaptation(6, orientations=4, jump=jump, centre=centre, **TARGETS)
    sae = compose(rule, dictionary)
    sae.sparsity.biases.copy_(-torch.rand(6, generator=torch.Generator().manual_seed(1)) / 2)
    with torch.no_grad():
        sae.sparsity.scales.copy_(torch.linspace(0.5, 1.5, 6))
        dictionary.bias.fill_(0.3)
    return sae


@pytest.mark.parametrize("jump", [False, True])
def test_codes_of_an_orbit_sae_move_with_the_input(jump: bool) -> None:
    sae, x = orbit_of(jump), random(30, 4)
    before = sae.dictionary.by_element(sae.encode(x))
    assert 0 < (before > 0).float().mean() < 0.5
    for g, moved in enumerate(regular(cyclic(4)).matrices.float()):
        after = sae.dictionary.by_element(sae.encode(x @ moved.T))
        torch.testing.assert_close(after, before.roll(g, dims=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 7.0])
@pytest.mark.parametrize("build", ["free", "orbit"])
def test_codes_scale_with_the_activations(build: str, scale: float) -> None:
    sae = orbit_of(True) if build == "orbit" else bias_adaptation_sae(4, 9, **TARGETS)
    sae.sparsity.biases.sub_(0.3)
    x = random(20, 4)
    before = sae(x)
    sae.fold_scale_(1 / scale)
    after = sae(scale * x)
    torch.testing.assert_close(after.codes, scale * before.codes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.x_hat, scale * before.x_hat, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("jump", [False, True])
@pytest.mark.parametrize("build", ["free", "orbit"])
def test_written_out_it_is_the_same_sae(build: str, jump: bool) -> None:
    sae = orbit_of(jump)
    if build == "free":
        sae = bias_adaptation_sae(4, 9, jump=jump, **TARGETS)
        sae.sparsity.biases.sub_(0.2)
        with torch.no_grad():
            sae.sparsity.scales[0], sae.sparsity.scales[1] = 0.0, 2.0
    out, x = dense(sae), random(40, 4)
    assert type(out.sparsity) is (JumpReLU if jump else ReLU)
    torch.testing.assert_close(out.encode(x), sae.encode(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out(x).x_hat, sae(x).x_hat, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": 4}, r"`groups`: expected a number that divides the 9 latents.*received 4"),
        ({"groups": 0}, r"`groups`: expected at least 1, received 0"),
        ({"htf": 0.02}, r"`htf`: expected above `ltf`.*received htf 0.02, ltf 0.03 of 3 groups"),
        ({"htf": 0.03}, r"`htf`: expected above `ltf`"),
        ({"groups": 1}, r"of a single group equal to it.*one group has one target"),
        ({"htf": 1.0}, r"`htf`: expected a frequency between 0 and 1, received 1.0"),
        ({"ltf": 0}, r"`ltf`: expected a frequency between 0 and 1, received 0"),
        ({"ltf": -0.1}, r"`ltf`: expected a frequency between 0 and 1"),
        ({"ltf": float("nan")}, r"`ltf`: expected a frequency between 0 and 1, received nan"),
        ({"samples": 30}, r"`ltf`: expected at least one firing in 30 samples, 0.0333"),
        ({"gamma_minus": 1.5}, r"`gamma_minus`: expected 0 to 1, received 1.5"),
        ({"gamma_plus": -1}, r"`gamma_plus`: expected 0 to 1, received -1"),
        ({"centre": "mean"}, r"`centre`: expected one of auto, fixed, trained, received 'mean'"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_in_one_line(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message) as error:
        BiasAdaptation(9, **{**TARGETS, **wrong})
    assert "\n" not in str(error.value)


def test_groups_narrower_than_the_features_are_warned_about() -> None:
    with pytest.warns(OrbitLensWarning, match="groups of 3 latents: 4 features are expected"):
        bias_adaptation_sae(5, 9, features=4, **TARGETS)


@pytest.mark.parametrize("centre", ["auto", "fixed", "trained"])
def test_the_input_bias_is_trained_where_that_is_asked_for(centre: str) -> None:
    for sae in (bias_adaptation_sae(4, 9, centre=centre, **TARGETS), orbit_of(True, centre=centre)):
        assert sae.dictionary.bias_weights.requires_grad is (centre == "trained")
        assert sae.dictionary.get_parameter("W_dec" if sae.d_sae == 9 else "atoms").requires_grad


@pytest.mark.parametrize(
    ("rule", "tied", "message"),
    [
        (JumpReLU(1), False, "expected a rule for 24 latents, 1 of each atom.*received one for 1,"),
        (BiasAdaptation(12, **TARGETS), False, "received one for 12, 1 of each"),
        (BiasAdaptation(6, orientations=4, **TARGETS), False, "received one for 24, 4 of each"),
        (BiasAdaptation(24, **TARGETS), True, "24 latents, 4 of each atom.*one for 24, 1 of each"),
    ],
    ids=str,
)
def test_a_rule_with_numbers_of_other_latents_is_refused(
    rule: Sparsity, tied: bool, message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        compose(rule, orbit_of(True).dictionary if tied else FreeDictionary(24, 4))


def test_parts_that_were_changed_by_hand_are_refused() -> None:
    sae = orbit_of(True)
    sae.sparsity.scales.data[1] = -1.0
    with pytest.raises(OrbitLensError, match="`scales`.*expected 0 or more"):
        dense(sae)
    sae.dictionary = orbit_of(True, seed=1).dictionary
    with pytest.raises(OrbitLensError, match="transpose of the SAE's own dictionary"):
        sae.encode(random(3, 4))


def test_it_has_no_other_encoder_and_no_shared_pose() -> None:
    rule = BiasAdaptation(9, **TARGETS)
    with pytest.raises(OrbitLensError, match="`hidden`.*dictionary transposed, received 4"):
        compose(rule, FreeDictionary(9, 5), hidden=4)
    with pytest.raises(OrbitLensError, match=r"expected TopK\(k\) or BatchTopK\(k\)"):
        OnePose(rule, 3)


def test_a_row_of_zeros_and_one_of_another_width() -> None:
    """Nothing is divided by a length, so zeros are a row like others."""
    sae = bias_adaptation_sae(5, 9, **TARGETS)
    assert torch.equal(sae.encode(torch.zeros(1, 5)), torch.zeros(1, 9))
    with pytest.raises(OrbitLensError, match=r"shape \[..., 5\]"):
        sae.encode(torch.zeros(1, 4))
    with pytest.raises(OrbitLensError, match="finite"):
        sae.encode(torch.full((1, 5), torch.nan))
