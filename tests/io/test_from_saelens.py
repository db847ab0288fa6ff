"""SAEs of SAELens give the codes that SAELens gives, or are refused by the field's name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from orbitlens.errors import OrbitLensError
from orbitlens.io import load
from orbitlens.sae import SAE
from orbitlens.typing import Tensor

RECORD: dict[str, Any] = {
    "architecture": "topk",
    "k": 3,
    "d_in": 6,
    "d_sae": 16,
    "dtype": "float32",
    "device": "cuda",
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "reshape_activations": "none",
    "rescale_acts_by_decoder_norm": False,
    "metadata": {"sae_lens_version": "6.0.0", "hook_name": "blocks.3.hook_resid_post"},
}


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    lengths = torch.linspace(0.3, 3, 16)[:, None]
    return {
        "W_enc": random(6, 16),
        "b_enc": random(16),
        "W_dec": random(16, 6) * lengths,
        "b_dec": random(6),
    }


def write(folder: Path, record: dict[str, Any], tensors: dict[str, Tensor] | None = None) -> Path:
    save_file(weights() if tensors is None else tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(record))
    return folder


def by_hand(x: Tensor, *, shifts: bool, rescales: bool) -> tuple[Tensor, Tensor]:
    """The codes and reconstructions of SAELens, as `TopKSAE` computes them."""
    w = weights()
    norms = w["W_dec"].norm(dim=1)
    pre = (x - w["b_dec"] if shifts else x) @ w["W_enc"] + w["b_enc"]
    pre = pre * norms if rescales else pre
    top = pre.topk(3, dim=1)
    codes = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    return codes, (codes / norms if rescales else codes) @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("rescales", [True, False])
def test_settings_that_change_numbers_are_applied(
    tmp_path: Path, shifts: bool, rescales: bool
) -> None:
    record = {
        **RECORD,
        "apply_b_dec_to_input": shifts,
        "rescale_acts_by_decoder_norm": rescales,
    }
    sae = load(write(tmp_path, record))
    assert isinstance(sae, SAE)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    codes, x_hat = by_hand(x, shifts=shifts, rescales=rescales)
    assert torch.allclose(sae.encode(x), codes, atol=1e-5)
    assert torch.allclose(sae(x).x_hat, x_hat, atol=1e-5)
    assert (codes > 0).any()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("normalize_activations", "layer_norm"),
        ("normalize_activations", "constant_norm_rescale"),
        ("normalize_activations", "expected_average_only_in"),
        ("reshape_activations", "hook_z"),
        ("architecture", "jumprelu"),
        ("architecture", ["topk"]),
        ("activation_fn_str", "relu"),
        ("activation_fn_kwargs", {"k": 4}),
        ("activation_fn_kwargs", "k"),
        ("finetuning_scaling_factor", True),
        ("noise", 0.1),
        ("apply_b_dec_to_input", None),
        ("apply_b_dec_to_input", "no"),
        ("dtype", "float8_e4m3fn"),
        ("a_field_of_tomorrow", 2),
    ],
)
def test_settings_that_are_not_understood_are_refused_by_name(
    tmp_path: Path, field: str, value: Any
) -> None:
    with pytest.raises(OrbitLensError, match=rf"cfg\.json.*`{field}`"):
        load(write(tmp_path, {**RECORD, field: value}))


def test_normalisation_that_is_not_stated_is_not_guessed(tmp_path: Path) -> None:
    record = {name: value for name, value in RECORD.items() if name != "normalize_activations"}
    with pytest.raises(OrbitLensError, match="`normalize_activations` 'none', received no such"):
        load(write(tmp_path, record))


def test_further_tensors_are_refused(tmp_path: Path) -> None:
    more = {**weights(), "scaling_factor": torch.ones(16)}
    with pytest.raises(OrbitLensError, match="scaling_factor"):
        load(write(tmp_path, RECORD, more))


def test_weights_of_half_precision_are_read_in_full(tmp_path: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in weights().items()}
    sae = load(write(tmp_path, {**RECORD, "dtype": "bfloat16"}, half))
    assert isinstance(sae, SAE)
    assert torch.equal(sae.W_dec, half["W_dec"].float())
