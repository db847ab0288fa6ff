"""The contracts of the parts of an SAE: encoder, sparsity rule, dictionary."""

import json
from abc import ABC, abstractmethod

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE, Dictionary, Encoder, FreeDictionary, LinearEncoder, Sparsity, TopK
from orbitlens.testing._sizes import (
    BATCH,
    DIM,
    LATENTS,
    MEMBERS,
    ORDER,
    moved_off_its_start,
    random,
)
from orbitlens.training import VIEWS
from orbitlens.training._stack import stack_saes
from orbitlens.typing import Float, Int, Tensor


class EncoderContract(ABC):
    """The tests that every encoder passes."""

    @abstractmethod
    def build(self, d_in: int, d_sae: int, seed: int) -> Encoder:
        """Build the encoder under test."""

    def test_gives_one_pre_activation_per_latent(self) -> None:
        encoder = self.build(DIM, LATENTS, 0)
        assert encoder(random(BATCH, DIM)).shape == (BATCH, LATENTS)
        assert (encoder.d_in, encoder.d_sae) == (DIM, LATENTS)

    def test_its_settings_say_its_hidden_width(self) -> None:
        encoder = self.build(DIM, LATENTS, 0)
        assert encoder.settings() == {"hidden": encoder.hidden}

    def test_the_seed_decides_the_weights(self) -> None:
        x = random(BATCH, DIM)
        first, again, other = (self.build(DIM, LATENTS, seed)(x) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_scaling_makes_it_homogeneous(self) -> None:
        encoder, x = self.build(DIM, LATENTS, 0), random(BATCH, DIM)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(0.1)
        before = encoder(x)
        encoder.scale_(3.0)
        torch.testing.assert_close(encoder(3.0 * x), 3.0 * before, rtol=1e-4, atol=1e-5)

    def test_a_stack_encodes_as_its_members_alone(self) -> None:
        encoders = [self.build(DIM, LATENTS, seed) for seed in range(MEMBERS)]
        for seed, encoder in enumerate(encoders):
            moved_off_its_start(encoder, seed)
        members = [SAE(encoder, TopK(1), FreeDictionary(LATENTS, DIM)) for encoder in encoders]
        x = random(MEMBERS, BATCH, DIM)
        alone = torch.stack([encoder(own) for encoder, own in zip(encoders, x, strict=True)])
        torch.testing.assert_close(stack_saes(members).encoder(x), alone, rtol=1e-4, atol=1e-5)


class SparsityContract(ABC):
    """The tests that every sparsity rule passes."""

    @abstractmethod
    def build(self) -> Sparsity:
        """Build the rule under test, with k at most LATENTS, or one that keeps what is positive."""

    def test_its_settings_build_it_again(self) -> None:
        rule = self.build()
        widths = {"k": rule.k, "d_sae": LATENTS, "n_atoms": LATENTS // ORDER}
        again = type(rule).from_settings({**widths, **json.loads(json.dumps(rule.settings()))})
        assert again.settings() == rule.settings()
        pre = random(BATCH, LATENTS)
        assert torch.equal(again(pre), rule(pre))

    def test_codes_are_non_negative_and_keep_the_values_of_pre_activations(self) -> None:
        pre = random(BATCH, LATENTS)
        codes = self.build()(pre)
        assert (codes >= 0).all()
        torch.testing.assert_close(codes[codes > 0], pre[codes > 0])

    def test_keeps_at_most_k_per_sample_on_average(self) -> None:
        rule = self.build()
        codes = rule(random(BATCH, LATENTS))
        assert 0 < (codes > 0).sum() <= (rule.k or LATENTS) * BATCH

    def relabelling(self) -> Int[Tensor, " latents"]:
        """Return a random permutation of latents that the rule commutes with; any by default.

        Override it for a rule that treats some latents as one, such as those of a group element.
        """
        return torch.randperm(LATENTS)

    def test_commutes_with_permutations_of_latents(self) -> None:
        pre, order = random(BATCH, LATENTS), self.relabelling()
        torch.testing.assert_close(self.build()(pre)[:, order], self.build()(pre[:, order]))

    def test_latents_that_may_not_fire_do_not(self) -> None:
        pre = random(BATCH, LATENTS)
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
        rule(random(BATCH, LATENTS))
        rule.eval()
        rule(random(BATCH, LATENTS))
        assert all(torch.equal(value, before[name]) for name, value in rule.state_dict().items())

    def test_after_calibration_k_codes_per_sample_are_kept_on_average(self) -> None:
        rule, pre = self.build(), random(200, LATENTS).abs()
        rule.calibrate_([pre], len(pre))
        rule.eval()
        assert (rule(pre) > 0).sum() == (rule.k or LATENTS) * 200

    def test_after_training_a_row_alone_equals_its_row_in_a_batch(self) -> None:
        rule, pre = self.build(), random(BATCH, LATENTS)
        rule.calibrate_([pre], len(pre))
        rule.eval()
        alone = torch.cat([rule(row[None]) for row in pre])
        torch.testing.assert_close(alone, rule(pre))

    def test_a_stack_keeps_what_its_members_keep_alone(self) -> None:
        rules, pre = [self.build() for _ in range(MEMBERS)], random(MEMBERS, BATCH, LATENTS)
        for seed, rule in enumerate(rules):
            rule.calibrate_([random(BATCH, LATENTS, seed=seed + 1)], BATCH)
        members = [SAE(LinearEncoder(DIM, LATENTS), r, FreeDictionary(LATENTS, DIM)) for r in rules]
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
        dictionary = self.build(LATENTS, DIM, 0)
        settings = json.loads(json.dumps(dictionary.settings()))
        assert dictionary.name == settings.get("dictionary", "free")
        again = dictionary.from_settings({"d_sae": LATENTS, "d_in": DIM, **settings})
        again.load_state_dict(dictionary.state_dict())
        again.settle_()
        assert torch.equal(again.directions, dictionary.directions)
        assert again.settings() == dictionary.settings()

    def test_builds_the_encoders_that_it_names(self) -> None:
        dictionary = self.build(LATENTS, DIM, 0)
        for hidden, kind in zip((None, 7), dictionary.encoders, strict=True):
            encoder = dictionary.make_encoder(hidden=hidden, seed=0)
            assert type(encoder) is kind
            assert (encoder.d_in, encoder.d_sae, encoder.hidden) == (DIM, LATENTS, hidden)

    def test_serves_the_views_that_it_has_and_refuses_the_others(self) -> None:
        dictionary = self.build(LATENTS, DIM, 0)
        refused = set()
        for view in VIEWS:
            try:
                dictionary.check_views([view])
            except OrbitLensError:
                refused.add(view)
        missing = {"x_hat_orbit": not dictionary.orbit_order, "pooled": dictionary.group is None}
        assert refused - {"pooled_moved"} == {view for view, lacks in missing.items() if lacks}

    def test_decoding_is_affine_in_the_codes(self) -> None:
        dictionary = self.build(LATENTS, DIM, 0)
        z, w = random(BATCH, LATENTS), random(BATCH, LATENTS, seed=1)
        bias = dictionary(torch.zeros(BATCH, LATENTS))
        torch.testing.assert_close(dictionary(z + w), dictionary(z) + dictionary(w) - bias)

    def test_a_unit_code_gives_its_direction(self) -> None:
        dictionary = self.build(LATENTS, DIM, 0)
        torch.testing.assert_close(
            dictionary(torch.eye(LATENTS)) - dictionary.b_dec, dictionary.directions
        )

    def test_reading_directions_does_not_write_and_projection_is_idempotent(self) -> None:
        dictionary = self.build(LATENTS, DIM, 0)
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
        dictionary, codes = self.build(LATENTS, DIM, 0), random(BATCH, LATENTS)
        moved_off_its_start(dictionary, 1)
        assert dictionary.b_dec.any()
        before = dictionary(codes)
        dictionary.scale_(3.0)
        torch.testing.assert_close(dictionary(3.0 * codes), 3.0 * before, rtol=1e-4, atol=1e-5)

    def test_a_stack_decodes_and_projects_as_its_members_alone(self) -> None:
        dictionaries = [self.build(LATENTS, DIM, seed) for seed in range(MEMBERS)]
        for seed, dictionary in enumerate(dictionaries):
            moved_off_its_start(dictionary, seed)
        members = [SAE(LinearEncoder(DIM, LATENTS), TopK(1), each) for each in dictionaries]
        stack, codes = stack_saes(members).dictionary, random(MEMBERS, BATCH, LATENTS)
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
        dictionary = self.build(LATENTS, DIM, 0)
        moved_off_its_start(dictionary, 1)
        centre = dictionary.coordinates(dictionary.b_dec.unsqueeze(0))[0]
        torch.testing.assert_close(centre, dictionary.centre, rtol=1e-4, atol=1e-5)

    def test_a_centred_dictionary_starts_at_a_mean_that_all_elements_share(self) -> None:
        dictionary = self.build(LATENTS, DIM, 0)
        mean = self.shared_mean(dictionary)
        dictionary.center_(mean.expand(ORDER, DIM))
        torch.testing.assert_close(dictionary.b_dec, mean, rtol=1e-4, atol=1e-5)

    def shared_mean(self, dictionary: Dictionary) -> Float[Tensor, " dim"]:
        """Return a mean activation that no element moves: any, unless overridden."""
        del dictionary
        return random(DIM)

    def test_a_stack_admits_and_counts_as_its_members_alone(self) -> None:
        dictionaries = [self.build(LATENTS, DIM, seed) for seed in range(MEMBERS)]
        for number, dictionary in enumerate(dictionaries):
            self.make_special_(dictionary, number)
            dictionary.settle_()
        members = [SAE(LinearEncoder(DIM, LATENTS), TopK(1), each) for each in dictionaries]
        stack, pre = stack_saes(members).dictionary, random(MEMBERS, BATCH, LATENTS)
        for _ in range(2):
            alone = [each.admitted(own) for each, own in zip(dictionaries, pre, strict=True)]
            assert torch.equal(stack.admitted(pre), torch.stack(alone))
            alone = [each.together(own) for each, own in zip(dictionaries, pre[:, 0], strict=True)]
            torch.testing.assert_close(stack.together(pre[:, 0]), torch.stack(alone))
            stack.settle_()

    def make_special_(self, dictionary: Dictionary, number: int) -> None:
        """Write directions that change which latents are admitted; none by default."""
        del dictionary, number
