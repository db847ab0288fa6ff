"""One contract of `encode`, `decode` and calls for every kind of SAE."""

import copy

import jaxtyping
import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens.errors import OrbitLensError
from orbitlens.sae import (
    SAE,
    archetypal_sae,
    batch_topk_sae,
    crosscoder_sae,
    orbit_sae,
    topk_sae,
)

DATA = ol.data.toy(n_features=8, orbit_size=4, n_samples=60, seed=0)
STORE = ol.store_from_array(DATA.orbits, group=DATA.group)
RHO = ol.fit_transport(STORE, "exact")
X = STORE.orbits()[:6].flatten(0, 1)
SAES = {
    "free": topk_sae(16, 24, 3),
    "hidden": topk_sae(16, 24, 3, hidden=9),
    "batch": batch_topk_sae(16, 24, 3),
    "archetypal": archetypal_sae(X, 24, 3),
    "crosscoder": crosscoder_sae(16, 24, 3, 4),
    "orbit": orbit_sae(16, 6, 3, RHO),
    "orbit hidden": orbit_sae(16, 6, 3, RHO, hidden=9, sparsity="batchtopk", one_pose=True),
}


@pytest.fixture(params=SAES)
def sae(request: pytest.FixtureRequest) -> SAE:
    return SAES[request.param].eval()


def test_any_axes_before_the_last_are_kept(sae: SAE) -> None:
    pre, codes, x_hat = sae(X)
    for axes in ((24,), (6, 4), (1, 2, 3, 4)):
        found = sae(X.reshape(*axes, 16))
        for part, rows in zip(found, (pre, codes, x_hat), strict=True):
            torch.testing.assert_close(part, rows.reshape(*axes, -1))
        torch.testing.assert_close(sae.decode(codes.reshape(*axes, -1)), x_hat.reshape(*axes, 16))
    torch.testing.assert_close(sae.encode(X[0]), codes[0])
    torch.testing.assert_close(sae.decode(codes[0]), x_hat[0])
    assert sae.encode(X[:0]).shape == (0, 24)
    assert sae.decode(codes[:0].reshape(0, 4, 24)).shape == (0, 4, 16)


def test_arrays_lists_and_other_types_are_converted(sae: SAE) -> None:
    codes = sae.encode(X)
    for same in (X.numpy(), X.double(), X.double().numpy(), X.tolist()):
        assert torch.equal(sae.encode(same), codes)
    assert sae.encode(X.half()).dtype == torch.float32
    with torch.inference_mode():
        read = X * 1
    assert torch.equal(sae.encode(read), codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sae.encode(X), codes)
    narrow = copy.deepcopy(sae).bfloat16()
    assert narrow.decode(narrow.encode(X)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (STORE, r"received an activation store; give its activations, `store.orbits\(\)`"),
        (X[:, :7], r"d_in = 16, received float32 of shape \[24, 7\]"),
        (torch.zeros(3, 16, dtype=torch.uint8), r"received uint8.*call .float\(\) first"),
        ([[1] * 16], "received int64"),
        (X.to(torch.complex64), "received complex64"),
        (torch.full((2, 16), torch.nan), "finite numbers that fit float32"),
        (torch.full((2, 16), 1e300, dtype=torch.float64), "finite numbers that fit float32"),
        (torch.tensor(1.0), r"of shape \[\]"),
        (None, "numbers: a tensor, an array or nested lists"),
    ],
)
def test_what_is_no_activation_is_refused_in_a_line(wrong: object, words: str) -> None:
    for sae in SAES.values():
        with pytest.raises(OrbitLensError, match=words):
            sae.encode(wrong)


def test_codes_of_another_width_are_refused(sae: SAE) -> None:
    with pytest.raises(OrbitLensError, match=r"`codes`.*d_sae = 24"):
        sae.decode(torch.zeros(3, 7))


def test_gradients_and_vmap_pass_through_the_door(sae: SAE) -> None:
    x = X.double().requires_grad_()
    sae(x).x_hat.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float64
    mapped = torch.vmap(sae.encode)(X.view(6, 4, 16))
    torch.testing.assert_close(mapped, sae.encode(X).view(6, 4, -1))


def test_counts_and_seeds_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a user's process, where annotations are not checked.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert topk_sae(np.int64(4), np.int32(8), np.int64(2), seed=np.int64(3)).d_sae == 8
    for wrong in ({"d_in": True}, {"k": 1.5}, {"seed": None}, {"d_sae": "8"}, {"hidden": 0}):
        with pytest.raises(OrbitLensError):
            topk_sae(**{"d_in": 4, "d_sae": 8, "k": 2, **wrong})


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_default_type_of_torch_does_not_change_an_sae(kind: torch.dtype) -> None:
    torch.set_default_dtype(kind)
    try:
        built = orbit_sae(16, 6, 3, RHO)
    finally:
        torch.set_default_dtype(torch.float32)
    usual = SAES["orbit"].state_dict()
    assert all(torch.equal(tensor, usual[name]) for name, tensor in built.state_dict().items())
