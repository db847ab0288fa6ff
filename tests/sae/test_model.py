"""The composition."""

import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.sae import (
    SAE,
    FreeDictionary,
    LinearEncoder,
    TopK,
    archetypal_sae,
    batch_topk_sae,
    crosscoder_sae,
    orbit_dictionary,
    topk_sae,
)
from orbitlens.training._stack import stack_saes


def archetypal(d_in: int, d_sae: int, k: int, *, hidden: int | None = None, seed: int = 0) -> SAE:
    candidates = torch.randn(20, d_in, generator=torch.Generator().manual_seed(7))
    return archetypal_sae(candidates, d_sae, k, hidden=hidden, seed=seed)


def crosscoder(d_in: int, d_sae: int, k: int, *, hidden: int | None = None, seed: int = 0) -> SAE:
    return crosscoder_sae(d_in, d_sae, k, 3, hidden=hidden, seed=seed)


BUILDERS = [topk_sae, batch_topk_sae, archetypal, crosscoder]


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("hidden", [None, 11])
def test_forward_is_encode_then_decode(build, hidden: int | None) -> None:
    sae, x = build(5, 8, 2, hidden=hidden), torch.randn(4, 5)
    pre, codes, x_hat = sae(x)
    assert pre.shape == codes.shape == (4, 8)
    torch.testing.assert_close(sae.encode(x), codes)
    torch.testing.assert_close(sae.decode(codes), x_hat)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("hidden", [None, 11])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_folding_the_scale_changes_the_unit_and_nothing_else(
    build, hidden: int | None, scale: float
) -> None:
    sae, x = build(5, 8, 2, hidden=hidden), torch.randn(64, 5)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
        sae.dictionary.project_()
    sae.sparsity.calibrate_([sae(scale * torch.randn(64, 5)).pre], 64)
    sae.eval()
    before, directions = sae(scale * x), sae.W_dec.clone()
    sae.fold_scale_(scale)
    after = sae(x)
    torch.testing.assert_close(after.codes * scale, before.codes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.x_hat * scale, before.x_hat, rtol=1e-4, atol=1e-5)
    assert torch.equal(sae.W_dec, directions)


def test_decoding_a_transported_dictionary_is_transporting_the_reconstruction() -> None:
    sae, codes = topk_sae(4, 6, 2), torch.rand(3, 6)
    with torch.no_grad():
        sae.dictionary.b_dec += 1.0
    rho = torch.linalg.qr(torch.randn(4, 4)).Q
    moved_dictionary = codes @ (sae.W_dec @ rho.T) + sae.b_dec @ rho.T
    torch.testing.assert_close(sae.decode(codes) @ rho.T, moved_dictionary)


@pytest.mark.parametrize("build", BUILDERS)
def test_a_linear_encoder_starts_as_the_transposed_dictionary(build) -> None:
    sae = build(4, 6, 2)
    assert isinstance(sae.encoder, LinearEncoder)
    torch.testing.assert_close(sae.encoder.W_enc, sae.W_dec.T)


def test_eval_then_train_restores_behaviour_and_both_return_the_sae() -> None:
    sae, x = batch_topk_sae(4, 6, 2), torch.randn(9, 4)
    before = sae.encode(x)
    assert sae.eval() is sae
    assert sae.train() is sae
    torch.testing.assert_close(sae.encode(x), before)


@pytest.mark.parametrize("build", BUILDERS)
def test_k_above_the_number_of_latents_is_rejected(build) -> None:
    with pytest.raises(OrbitLensError, match="at most the number of latents, 8, received 9"):
        build(4, 8, 9)


def test_parts_of_different_widths_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match=r"\(4, 8\).*received \(5, 8\)"):
        SAE(LinearEncoder(4, 8), TopK(2), FreeDictionary(8, 5))


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("hidden", [None, 11])
def test_a_stacked_call_equals_the_calls_alone(build, hidden: int | None) -> None:
    members, x = (
        [build(5, 8, 2, hidden=hidden, seed=seed) for seed in range(3)],
        torch.randn(3, 6, 5),
    )
    for member in members:
        with torch.no_grad():
            for parameter in member.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    stacked = stack_saes(members)
    stacked.dictionary.project_()
    for output, member, own in zip(stacked(x).x_hat, members, x, strict=True):
        member.dictionary.project_()
        torch.testing.assert_close(output, member(own).x_hat, rtol=1e-4, atol=1e-5)


def test_a_stacked_crosscoder_reconstructs_the_orbits_of_its_members() -> None:
    members, codes = [crosscoder(5, 8, 2, seed=seed) for seed in range(2)], torch.rand(2, 6, 8)
    for member in members:
        member.dictionary.center_(torch.randn(3, 5))
    orbits = stack_saes(members).dictionary.orbit(codes)
    for orbit, member, own in zip(orbits, members, codes, strict=True):
        torch.testing.assert_close(orbit, member.dictionary.orbit(own), rtol=1e-4, atol=1e-5)


def test_the_dictionary_of_an_sae_that_is_no_orbit_sae_is_refused_by_its_name() -> None:
    message = "`mine`: expected an orbit SAE, .*received an SAE with a FreeDictionary"
    with pytest.raises(OrbitLensError, match=message):
        orbit_dictionary(topk_sae(4, 8, 2), name="`mine`")


@pytest.mark.parametrize("build", BUILDERS)
def test_a_trained_sae_needs_no_no_grad(build) -> None:
    sae, x = build(4, 8, 2), torch.randn(5, 4)
    assert sae.encode(x).requires_grad
    sae.eval()
    codes = sae.encode(x)
    assert codes.numpy().shape == (5, 8)
    assert sae.decode(codes).numpy().shape == (5, 4)
    assert all(parameter.requires_grad for parameter in sae.parameters())
    assert sae.train().decode(codes).requires_grad


@pytest.mark.parametrize("build", BUILDERS)
def test_a_trained_sae_has_the_gradients_that_its_input_asks_for(build) -> None:
    sae = build(4, 8, 2).eval()
    x = torch.randn(5, 4, requires_grad=True)
    (found,) = torch.autograd.grad(sae(x).x_hat.sum(), x)
    parts = sae.of_coordinates(sae.dictionary.coordinates(x))
    torch.testing.assert_close(found, torch.autograd.grad(parts.x_hat.sum(), x)[0])
    codes = sae.encode(torch.randn(5, 4)).requires_grad_()
    assert torch.autograd.grad(sae.decode(codes).sum(), codes)[0].any()


def test_transforms_of_functions_differentiate_a_trained_sae() -> None:
    sae, x = topk_sae(4, 8, 2).eval(), torch.randn(4)
    loss = lambda x: sae.encode(x).square().sum()  # noqa: E731
    wanted = torch.autograd.grad(loss(x.requires_grad_()), x)[0]
    torch.testing.assert_close(torch.func.grad(loss)(x.detach()), wanted)
    each = torch.func.vmap(torch.func.grad(loss))(x.detach()[None])
    torch.testing.assert_close(each[0], wanted)
    weights = {name: own.detach() for name, own in sae.named_parameters()}
    of_weights = lambda w: torch.func.functional_call(sae, w, (x.detach(),)).codes.sum()  # noqa: E731
    found = torch.func.grad(of_weights)(weights)
    assert found["encoder.W_enc"].any()
