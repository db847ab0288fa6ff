"""Tests to inherit: one contract class for each kind of part, and `assert_equivariant`.

The test file of a part subclasses its contract, with one method that builds the part:

    class TestTopK(SparsityContract):
        def build(self) -> Sparsity:
            return TopK(3)
"""

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.reps import homomorphism_errors, regular
from orbitlens.sae import SAE, Dictionary, Encoder, FreeDictionary, LinearEncoder, Sparsity, TopK
from orbitlens.symmetry.split import SplitModel
from orbitlens.training import VIEWS, Objective
from orbitlens.training._stack import stack_saes
from orbitlens.transport import Motion
from orbitlens.typing import Float, Int, Matrices, Tensor

__all__ = [
    "LATENTS",
    "ORDER",
    "DictionaryContract",
    "EncoderContract",
    "ObjectiveContract",
    "SparsityContract",
    "SplitContract",
    "TransportContract",
    "assert_equivariant",
]

_BATCH, _DIM, _MEMBERS = 6, 5, 4
LATENTS, ORDER = 9, 3
"""The latents that a contract builds, and the order of a group that divides them."""


def assert_equivariant(
    function: Callable[[Float[Tensor, "batch dim"]], Float[Tensor, "batch out"]],
    input_matrices: Matrices,
    output_matrices: Float[Tensor, "group out out"],
    x: Float[Tensor, "batch dim"],
    *,
    tolerance: float = 1e-4,
) -> None:
    """Check f(rho_in(g) x) = rho_out(g) f(x) for every element g.

    Args:
        function: f.
        input_matrices: rho_in, shape [|G|, dim, dim].
        output_matrices: rho_out, shape [|G|, out, out].
        x: Inputs to try, shape [batch, dim].
        tolerance: Largest ||difference|| / ||f(x)|| allowed, default 1e-4.

    Raises:
        OrbitLensError: Naming the element with the largest error.

    Example:
        >>> rho = regular(cyclic(3)).matrices
        >>> assert_equivariant(torch.relu, rho, rho, torch.randn(4, 3, dtype=torch.float64))
    """
    plain = function(x)
    scale = plain.norm().clamp_min(1e-12)
    errors = torch.stack(
        [
            (function(x @ before.T) - plain @ after.T).norm() / scale
            for before, after in zip(input_matrices, output_matrices, strict=True)
        ]
    )
    worst = int(errors.argmax())  # NaN counts as the largest
    if not errors[worst] <= tolerance:
        raise OrbitLensError(
            "equivariance",
            expected=f"a relative error of at most {tolerance:g}",
            received=f"{errors[worst]:.3g} at element {worst}",
            remedy="the function does not commute with these representations",
        )


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _moved_off_its_start(module: nn.Module, seed: int) -> None:
    """Give every parameter a value of its own, biases that start at zero included."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.add_(0.5 * _random(*parameter.shape, seed=100 * seed + number))


class EncoderContract(ABC):
    """The tests that every encoder passes."""

    @abstractmethod
    def build(self, d_in: int, d_sae: int, seed: int) -> Encoder:
        """Build the encoder under test."""

    def test_gives_one_pre_activation_per_latent(self) -> None:
        encoder = self.build(_DIM, LATENTS, 0)
        assert encoder(_random(_BATCH, _DIM)).shape == (_BATCH, LATENTS)
        assert (encoder.d_in, encoder.d_sae) == (_DIM, LATENTS)

    def test_its_settings_say_its_hidden_width(self) -> None:
        encoder = self.build(_DIM, LATENTS, 0)
        assert encoder.settings() == {"hidden": encoder.hidden}

    def test_the_seed_decides_the_weights(self) -> None:
        x = _random(_BATCH, _DIM)
        first, again, other = (self.build(_DIM, LATENTS, seed)(x) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_scaling_makes_it_homogeneous(self) -> None:
        encoder, x = self.build(_DIM, LATENTS, 0), _random(_BATCH, _DIM)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(0.1)
        before = encoder(x)
        encoder.scale_(3.0)
        torch.testing.assert_close(encoder(3.0 * x), 3.0 * before, rtol=1e-4, atol=1e-5)

    def test_a_stack_encodes_as_its_members_alone(self) -> None:
        encoders = [self.build(_DIM, LATENTS, seed) for seed in range(_MEMBERS)]
        for seed, encoder in enumerate(encoders):
            _moved_off_its_start(encoder, seed)
        members = [SAE(encoder, TopK(1), FreeDictionary(LATENTS, _DIM)) for encoder in encoders]
        x = _random(_MEMBERS, _BATCH, _DIM)
        alone = torch.stack([encoder(own) for encoder, own in zip(encoders, x, strict=True)])
        torch.testing.assert_close(stack_saes(members).encoder(x), alone, rtol=1e-4, atol=1e-5)


class SparsityContract(ABC):
    """The tests that every sparsity rule passes."""

    @abstractmethod
    def build(self) -> Sparsity:
        """Build the rule under test, with k at most LATENTS."""

    def test_its_settings_build_it_again(self) -> None:
        rule = self.build()
        widths = {"k": rule.k, "d_sae": LATENTS, "n_atoms": LATENTS // ORDER}
        again = type(rule).from_settings({**widths, **json.loads(json.dumps(rule.settings()))})
        assert again.settings() == rule.settings()
        pre = _random(_BATCH, LATENTS)
        assert torch.equal(again(pre), rule(pre))

    def test_codes_are_non_negative_and_keep_the_values_of_pre_activations(self) -> None:
        pre = _random(_BATCH, LATENTS)
        codes = self.build()(pre)
        assert (codes >= 0).all()
        torch.testing.assert_close(codes[codes > 0], pre[codes > 0])

    def test_keeps_at_most_k_per_sample_on_average(self) -> None:
        rule = self.build()
        codes = rule(_random(_BATCH, LATENTS))
        assert 0 < (codes > 0).sum() <= rule.k * _BATCH

    def relabelling(self) -> Int[Tensor, " latents"]:
        """Return a random permutation of latents that the rule commutes with; any by default.

        Override it for a rule that treats some latents as one, such as those of a group element.
        """
        return torch.randperm(LATENTS)

    def test_commutes_with_permutations_of_latents(self) -> None:
        pre, order = _random(_BATCH, LATENTS), self.relabelling()
        torch.testing.assert_close(self.build()(pre)[:, order], self.build()(pre[:, order]))

    def test_latents_that_may_not_fire_do_not(self) -> None:
        pre = _random(_BATCH, LATENTS)
        pre[:, ::2] = -torch.inf
        rule = self.build()
        codes = rule(pre)
        assert codes.isfinite().all()
        assert not codes[:, ::2].any()
        rule.calibrate_([pre], len(pre))
        assert torch.isfinite(rule.eval()(pre)).all()

    def test_encoding_does_not_write_state(self) -> None:
        rule = self.build()
        before = {name: value.clone() for name, value in rule.state_dict().items()}
        rule(_random(_BATCH, LATENTS))
        rule.eval()
        rule(_random(_BATCH, LATENTS))
        assert all(torch.equal(value, before[name]) for name, value in rule.state_dict().items())

    def test_after_calibration_k_codes_per_sample_are_kept_on_average(self) -> None:
        rule, pre = self.build(), _random(200, LATENTS).abs()
        rule.calibrate_([pre], len(pre))
        rule.eval()
        assert (rule(pre) > 0).sum() == rule.k * 200

    def test_after_training_a_row_alone_equals_its_row_in_a_batch(self) -> None:
        rule, pre = self.build(), _random(_BATCH, LATENTS)
        rule.calibrate_([pre], len(pre))
        rule.eval()
        alone = torch.cat([rule(row[None]) for row in pre])
        torch.testing.assert_close(alone, rule(pre))

    def test_a_stack_keeps_what_its_members_keep_alone(self) -> None:
        rules, pre = [self.build() for _ in range(_MEMBERS)], _random(_MEMBERS, _BATCH, LATENTS)
        for seed, rule in enumerate(rules):
            rule.calibrate_([_random(_BATCH, LATENTS, seed=seed + 1)], _BATCH)
        members = [
            SAE(LinearEncoder(_DIM, LATENTS), r, FreeDictionary(LATENTS, _DIM)) for r in rules
        ]
        stack = stack_saes(members).sparsity
        for training in (True, False):
            alone = [rule.train(training)(own) for rule, own in zip(rules, pre, strict=True)]
            torch.testing.assert_close(stack.train(training)(pre), torch.stack(alone))


class DictionaryContract(ABC):
    """The tests that every dictionary passes."""

    @abstractmethod
    def build(self, d_sae: int, d_in: int, seed: int) -> Dictionary:
        """Build the dictionary under test."""

    def test_its_settings_build_it_again(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        settings = json.loads(json.dumps(dictionary.settings()))
        assert dictionary.name == settings.get("dictionary", "free")
        again = dictionary.from_settings({"d_sae": LATENTS, "d_in": _DIM, **settings})
        again.load_state_dict(dictionary.state_dict())
        again.settle_()
        assert torch.equal(again.directions, dictionary.directions)
        assert again.settings() == dictionary.settings()

    def test_builds_the_encoders_that_it_names(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        for hidden, kind in zip((None, 7), dictionary.encoders, strict=True):
            encoder = dictionary.make_encoder(hidden=hidden, seed=0)
            assert type(encoder) is kind
            assert (encoder.d_in, encoder.d_sae, encoder.hidden) == (_DIM, LATENTS, hidden)

    def test_serves_the_views_that_it_has_and_refuses_the_others(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        refused = set()
        for view in VIEWS:
            try:
                dictionary.check_views([view])
            except OrbitLensError:
                refused.add(view)
        missing = {"x_hat_orbit": not dictionary.orbit_order, "pooled": dictionary.group is None}
        assert refused - {"pooled_moved"} == {view for view, lacks in missing.items() if lacks}

    def test_decoding_is_affine_in_the_codes(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        z, w = _random(_BATCH, LATENTS), _random(_BATCH, LATENTS, seed=1)
        bias = dictionary(torch.zeros(_BATCH, LATENTS))
        torch.testing.assert_close(dictionary(z + w), dictionary(z) + dictionary(w) - bias)

    def test_a_unit_code_gives_its_direction(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        torch.testing.assert_close(
            dictionary(torch.eye(LATENTS)) - dictionary.b_dec, dictionary.directions
        )

    def test_reading_directions_does_not_write_and_projection_is_idempotent(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        with torch.no_grad():
            for parameter in dictionary.parameters():
                parameter.mul_(1.7)
        before = {name: value.clone() for name, value in dictionary.state_dict().items()}
        _ = dictionary.directions
        assert all(torch.equal(v, before[name]) for name, v in dictionary.state_dict().items())
        dictionary.project_()
        once = dictionary.directions.clone()
        dictionary.project_()
        torch.testing.assert_close(dictionary.directions, once)

    def test_scaling_makes_it_homogeneous(self) -> None:
        dictionary, codes = self.build(LATENTS, _DIM, 0), _random(_BATCH, LATENTS)
        _moved_off_its_start(dictionary, 1)
        assert dictionary.b_dec.any()
        before = dictionary(codes)
        dictionary.scale_(3.0)
        torch.testing.assert_close(dictionary(3.0 * codes), 3.0 * before, rtol=1e-4, atol=1e-5)

    def test_a_stack_decodes_and_projects_as_its_members_alone(self) -> None:
        dictionaries = [self.build(LATENTS, _DIM, seed) for seed in range(_MEMBERS)]
        for seed, dictionary in enumerate(dictionaries):
            _moved_off_its_start(dictionary, seed)
        members = [SAE(LinearEncoder(_DIM, LATENTS), TopK(1), each) for each in dictionaries]
        stack, codes = stack_saes(members).dictionary, _random(_MEMBERS, _BATCH, LATENTS)
        for project in (False, True):
            if project:
                for dictionary in (stack, *dictionaries):
                    dictionary.project_()
            alone = [each(own) for each, own in zip(dictionaries, codes, strict=True)]
            torch.testing.assert_close(stack(codes), torch.stack(alone), rtol=1e-4, atol=1e-5)
            for name, tensor in stack.state_dict().items():
                own = torch.stack([each.state_dict()[name] for each in dictionaries])
                torch.testing.assert_close(tensor, own, rtol=1e-4, atol=1e-5)

    def test_the_centre_is_the_bias_in_the_coordinates_that_the_encoder_takes(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        _moved_off_its_start(dictionary, 1)
        centre = dictionary.coordinates(dictionary.b_dec.unsqueeze(0))[0]
        torch.testing.assert_close(centre, dictionary.centre, rtol=1e-4, atol=1e-5)

    def test_a_centred_dictionary_starts_at_a_mean_that_all_elements_share(self) -> None:
        dictionary = self.build(LATENTS, _DIM, 0)
        mean = self.shared_mean(dictionary)
        dictionary.center_(mean.expand(ORDER, _DIM))
        torch.testing.assert_close(dictionary.b_dec, mean, rtol=1e-4, atol=1e-5)

    def shared_mean(self, dictionary: Dictionary) -> Float[Tensor, " dim"]:
        """Return a mean activation that no element moves: any, unless overridden."""
        del dictionary
        return _random(_DIM)

    def test_a_stack_admits_and_counts_as_its_members_alone(self) -> None:
        dictionaries = [self.build(LATENTS, _DIM, seed) for seed in range(_MEMBERS)]
        for number, dictionary in enumerate(dictionaries):
            self.make_special_(dictionary, number)
            dictionary.settle_()
        members = [SAE(LinearEncoder(_DIM, LATENTS), TopK(1), each) for each in dictionaries]
        stack, pre = stack_saes(members).dictionary, _random(_MEMBERS, _BATCH, LATENTS)
        for _ in range(2):
            alone = [each.admitted(own) for each, own in zip(dictionaries, pre, strict=True)]
            assert torch.equal(stack.admitted(pre), torch.stack(alone))
            alone = [each.together(own) for each, own in zip(dictionaries, pre[:, 0], strict=True)]
            torch.testing.assert_close(stack.together(pre[:, 0]), torch.stack(alone))
            stack.settle_()

    def make_special_(self, dictionary: Dictionary, number: int) -> None:
        """Write directions that change which latents are admitted; none by default."""
        del dictionary, number


class ObjectiveContract(ABC):
    """The tests that every objective passes: one value per sample, independent of the others."""

    @abstractmethod
    def build(self) -> Objective:
        """Return the objective under test."""

    def views(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return random views for the arguments that the objective names."""
        kinds = inspect.signature(self.build()).parameters.values()
        names = [p.name for p in kinds if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        return {
            name: _random(*_view_shape(name), seed=VIEWS.index(name)).to(dtype) for name in names
        }

    def test_gives_one_non_negative_value_per_sample(self) -> None:
        values = self.build()(**self.views())
        assert values.shape == (_BATCH,)
        assert (values >= 0).all()

    def test_each_value_depends_on_its_own_sample_alone(self) -> None:
        values = self.build()(**self.views())
        order = torch.randperm(_BATCH)
        torch.testing.assert_close(
            self.build()(**{name: view[order] for name, view in self.views().items()}),
            values[order],
        )

    def test_repeating_the_batch_leaves_the_mean(self) -> None:
        repeated = {name: torch.cat([view] * 10) for name, view in self.views().items()}
        torch.testing.assert_close(
            self.build()(**repeated).mean(), self.build()(**self.views()).mean()
        )

    def test_members_of_a_stack_get_what_they_get_alone(self) -> None:
        objective, views = self.build(), self.views()
        other = {name: view.roll(1, dims=-1) for name, view in views.items()}
        pairs = [torch.stack([view, other[name]]) for name, view in views.items()]
        together = torch.vmap(lambda *own: objective(**dict(zip(views, own, strict=True))))(*pairs)
        alone = torch.stack([objective(**views), objective(**other)])
        torch.testing.assert_close(together, alone)

    def test_is_zero_where_all_views_agree(self) -> None:
        same = {name: torch.ones_like(view) for name, view in self.views().items()}
        assert self.build()(**same).abs().max() == 0

    def test_gradient_agrees_with_finite_differences(self) -> None:
        views = {n: v.requires_grad_() for n, v in self.views(torch.float64).items()}
        assert torch.autograd.gradcheck(
            lambda *values: self.build()(**dict(zip(views, values, strict=True))),
            tuple(views.values()),
        )


def _view_shape(name: str) -> tuple[int, ...]:
    if name.startswith("codes"):
        return _BATCH, LATENTS
    if name.startswith("pooled"):
        return _BATCH, LATENTS // ORDER
    return (_BATCH, ORDER, _DIM) if name.endswith("orbit") else (_BATCH, _DIM)


class TransportContract(ABC):
    """The tests that every transport passes, on data with an exact linear action."""

    recovers = True
    group = cyclic(4)
    positions = 1

    @abstractmethod
    def build(self, store: ActivationStore, train: Int[np.ndarray, " n"]) -> Motion:
        """Fit the motion under test."""

    @property
    def exact_matrices(self) -> Matrices:
        """The representation that moves the data; the regular one."""
        return regular(self.group).matrices.float()

    def store(self) -> ActivationStore:
        """Return orbits that the representation moves exactly, at every position."""
        start = _random(400, self.positions, self.exact_matrices.shape[-1])
        orbits = torch.einsum("gij,npj->ngpi", self.exact_matrices, start)
        return store_from_array(orbits.squeeze(2), group=self.group)

    def fitted(self) -> Matrices:
        """Fit on the training part."""
        store = self.store()
        return self.build(store, store.split()[0]).matrices.float()

    def test_identity_element_gets_the_identity_matrix(self) -> None:
        eye = torch.eye(self.exact_matrices.shape[-1])
        torch.testing.assert_close(self.fitted()[0], eye, atol=1e-4, rtol=0)

    def test_recovers_the_exact_action(self) -> None:
        error = (self.fitted() - self.exact_matrices).abs().max()
        assert (error < 2e-2) == self.recovers

    def test_is_a_representation_on_exact_data(self) -> None:
        errors = homomorphism_errors(self.group, self.fitted().double())
        assert errors.max() < 5e-2

    def test_reading_it_gives_the_same_bits_again(self) -> None:
        assert torch.equal(self.fitted(), self.fitted())


class SplitContract(ABC):
    """The tests that every model with a split code passes, untrained and after some training."""

    tolerance = 1e-12
    """Largest error, absolute and relative; that of an exact model in float64."""

    @abstractmethod
    def build(self) -> SplitModel:
        """Build the model under test, untrained; an exact one in float64."""

    @abstractmethod
    def inputs(self) -> Float[Tensor, "n *input"]:
        """Return inputs of which none is its own image under another element."""

    def elements(self, model: SplitModel, n: int) -> Iterator[Tensor]:
        """Yield elements for n inputs; ten batches that are drawn, unless overridden."""
        for seed in range(10):
            yield model.draw(n, torch.Generator().manual_seed(seed))

    def cases(self) -> Iterator[tuple[SplitModel, Tensor, Tensor]]:
        """Yield the model, inputs and elements, before and after a few steps of training."""
        model, x = self.build(), self.inputs()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for steps in (0, 5):
            for _ in range(steps):
                optimiser.zero_grad()
                (model(x) - x).square().mean().backward()
                optimiser.step()
            yield from ((model, x, g) for g in self.elements(model, len(x)))

    def check_close(self, found: Tensor, expected: Tensor) -> None:
        """Check that two tensors agree within the tolerance."""
        torch.testing.assert_close(found, expected, rtol=self.tolerance, atol=self.tolerance)

    def test_the_code_of_a_moved_input_is_the_code_moved(self) -> None:
        for model, x, g in self.cases():
            found, expected = model.encode(model.move(g, x)), model.act(g, model.encode(x))
            self.check_close(found.invariant, expected.invariant)
            self.check_close(expected.invariant, model.encode(x).invariant)
            self.check_close(found.pose, expected.pose)

    def test_a_moved_code_decodes_to_the_moved_reconstruction(self) -> None:
        for model, x, g in self.cases():
            code = model.encode(x)
            found, expected = model.decode(model.act(g, code)), model.decode(code)
            self.check_close(found, model.move(g, expected))
            self.check_close(model(x), expected)
