"""SAEs with bias adaptation as files: read back exactly, and as SAELens reads them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orbitlens.files import read_json
from orbitlens.groups import cyclic
from orbitlens.io import load, save
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import (
    SAE,
    BiasAdaptation,
    FreeDictionary,
    OrbitDictionary,
    bias_adaptation_sae,
    compose,
    dense,
)
from orbitlens.typing import Tensor

TARGETS: dict[str, Any] = {"groups": 3, "htf": 0.3, "ltf": 0.03}
X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


def build(kind: str, *, jump: bool) -> SAE:
    """An SAE whose biases and scales are all different."""
    if kind == "free":
        sae = bias_adaptation_sae(4, 24, jump=jump, **TARGETS)
    else:
        dictionary = OrbitDictionary(6, isotypic_basis(regular(cyclic(4))), tolerance=1e-4)
        sae = compose(BiasAdaptation(6, orientations=4, jump=jump, **TARGETS), dictionary)
    rule = sae.sparsity
    rule.biases.copy_(-torch.linspace(0.1, 0.6, len(rule.biases)))
    with torch.no_grad():
        rule.scales.copy_(torch.linspace(0.5, 1.5, len(rule.scales)))
        sae.dictionary.get_parameter("b_dec" if kind == "free" else "bias").fill_(0.2)
    return sae.eval()


every_sae = pytest.mark.parametrize(
    ("kind", "jump"), [(kind, jump) for kind in ("free", "orbit") for jump in (False, True)]
)


@every_sae
def test_round_trip(tmp_path: Path, kind: str, jump: bool) -> None:
    sae = build(kind, jump=jump)
    loaded = load(save(sae, tmp_path / "sae"))
    assert isinstance(loaded, SAE)
    assert loaded.sparsity.settings() == sae.sparsity.settings()
    assert not loaded.dictionary.bias_weights.requires_grad
    for name in ("biases", "scales", "targets"):
        assert torch.equal(getattr(loaded.sparsity, name), getattr(sae.sparsity, name))
    # An orbit SAE's atoms get unit length again when they are read, which may move a last bit.
    torch.testing.assert_close(loaded.encode(X), sae.encode(X), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(loaded(X).x_hat, sae(X).x_hat, rtol=1e-6, atol=1e-6)
    assert (sae.encode(X) > 0).any()


def test_the_counts_of_a_training_are_not_in_the_file(tmp_path: Path) -> None:
    save(build("free", jump=True), tmp_path / "sae")
    found = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    assert set(found) == {"W_dec", "b_dec", "biases", "scales"}


def as_in_saelens(folder: Path) -> tuple[dict[str, Any], Tensor, Tensor]:
    """The codes and reconstructions of SAELens 6, as StandardSAE and JumpReLUSAE compute them."""
    w, record = load_file(folder / "sae_weights.safetensors"), read_json(folder / "cfg.json")
    pre = (X - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    codes = torch.relu(pre)
    if record["architecture"] == "jumprelu":
        assert w["threshold"].dtype == torch.float32
        codes = codes * (pre > w["threshold"])
    return record, codes, codes @ w["W_dec"] + w["b_dec"]


@every_sae
def test_written_out_saelens_reads_the_same_codes(tmp_path: Path, kind: str, jump: bool) -> None:
    sae = build(kind, jump=jump)
    folder = save(dense(sae), tmp_path / "sae")
    record, codes, x_hat = as_in_saelens(folder)
    assert record["architecture"] == ("jumprelu" if jump else "standard")
    assert "k" not in record
    assert (codes > 0).any()
    torch.testing.assert_close(codes, sae.encode(X), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(x_hat, sae(X).x_hat, rtol=1e-5, atol=1e-6)
    loaded = load(folder)
    assert isinstance(loaded, SAE)
    assert torch.equal(loaded.encode(X), dense(sae).encode(X))
    assert type(loaded.dictionary) is FreeDictionary


@every_sae
def test_saelens_itself_reads_it(tmp_path: Path, kind: str, jump: bool) -> None:
    saelens = pytest.importorskip("sae_lens")
    sae = build(kind, jump=jump)
    theirs = saelens.SAE.load_from_disk(str(save(dense(sae), tmp_path / "sae")))
    torch.testing.assert_close(theirs.encode(X), sae.encode(X), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(theirs(X), sae(X).x_hat, rtol=1e-5, atol=1e-6)
