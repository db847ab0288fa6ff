"""Files and arrays of others, ten of each kind: the right numbers, or one line.

    OMP_NUM_THREADS=1 python benchmarks/reliability/files.py

It exits with 1 if any instance is wrong or crashed.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from outcomes import show
from safetensors.torch import save_file
from torch import nn

import orbitlens as ol
from orbitlens.typing import Tensor

DRAWN: dict[str, Any] = {"generator": torch.Generator().manual_seed(0)}
D, F, K = 6, 20, 4
X = torch.randn(40, D, **DRAWN)
CYCLIC = ol.groups.cyclic(4)


def weights(**changed: Tensor) -> dict[str, Tensor]:
    """Return the tensors of a TopK SAE whose directions have lengths from 0.2 to 4."""
    made = {
        "W_enc": torch.randn(D, F, **DRAWN),
        "b_enc": torch.randn(F, **DRAWN),
        "W_dec": torch.randn(F, D, **DRAWN) * torch.linspace(0.2, 4, F)[:, None],
        "b_dec": torch.randn(D, **DRAWN),
    }
    return {**made, **changed}


def record(**changed: Any) -> dict[str, Any]:
    """Return `cfg.json` as SAELens 6 writes it, with fields changed; `...` leaves one out."""
    fields = {
        "architecture": "topk",
        "k": K,
        "d_in": D,
        "d_sae": F,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": {"sae_lens_version": "6.5.1", "hook_name": "blocks.5.hook_resid_post"},
        **changed,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def of_saelens(fields: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return codes and reconstructions as SAELens' TopKSAE computes them, in float64."""
    w = {name: tensor.double() for name, tensor in tensors.items()}
    norms = w["W_dec"].norm(dim=1)
    x = X.double() - (w["b_dec"] if fields.get("apply_b_dec_to_input", True) else 0)
    pre = x @ w["W_enc"] + w["b_enc"]
    rescales = fields.get("rescale_acts_by_decoder_norm", False)
    pre = pre * norms if rescales else pre
    top = pre.topk(fields["k"], dim=1)
    codes = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    # A direction without length has a code of 0, and adds nothing.
    return codes, ((codes / norms).nan_to_num() if rescales else codes) @ w["W_dec"] + w["b_dec"]


def loads(fields: dict[str, Any], tensors: dict[str, Tensor] | None = None) -> bool:
    """Load an SAE from such files, and compare it with SAELens."""
    tensors = weights() if tensors is None else tensors
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, f"{folder}/sae_weights.safetensors")
        Path(folder, "cfg.json").write_text(json.dumps(fields))
        sae = ol.load(folder)
    with torch.no_grad():
        found = sae(X)
    codes, x_hat = of_saelens(fields, tensors)
    close = [
        torch.allclose(one.double(), two, rtol=1e-4, atol=1e-4)
        for one, two in ((found.codes, codes), (found.x_hat, x_hat))
    ]
    return all(close)


def sparsify_folder() -> bool:
    """Load the folder that sparsify writes: other names of files and tensors."""
    with tempfile.TemporaryDirectory() as folder:
        tensors = {"encoder.weight": torch.ones(F, D), "encoder.bias": torch.ones(F)}
        save_file(
            {**tensors, "W_dec": torch.ones(F, D), "b_dec": torch.ones(D)},
            f"{folder}/sae.safetensors",
        )
        fields = {
            "activation": "topk",
            "num_latents": F,
            "k": K,
            "d_in": D,
            "normalize_decoder": True,
        }
        Path(folder, "cfg.json").write_text(json.dumps(fields))
        ol.load(folder)
    return False


def saev_of_a_later_protocol() -> bool:
    """Import a cache of saev whose protocol is not known."""
    with tempfile.TemporaryDirectory() as folder:
        fields = {"layers": [3], "content_tokens_per_example": 2, "cls_token": False, "d_model": 3}
        fields |= {"n_examples": 4, "ckpt": "vit", "protocol": "9.0.0"}
        Path(folder, "metadata.json").write_text(json.dumps(fields))
        Path(folder, "shards.json").write_text(
            json.dumps([{"name": "acts000000.bin", "n_examples": 4}])
        )
        np.ones((4, 1, 2, 3), "<f4").tofile(f"{folder}/acts000000.bin")
        ol.activations.import_activations(folder)
    return False


def saelens_cache(name: str, fields: dict[str, Any]) -> bool:
    """Import a cache of SAELens that says that its rows have another order."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "state.json").write_text(json.dumps({"_data_files": [{"filename": "a"}]}))
        Path(folder, name).write_text(json.dumps(fields))
        ol.activations.import_activations(folder, group="C4", kind="saelens")
    return False


SETTINGS: dict[str, Callable[[], bool]] = {
    "both settings at once": partial(
        loads, record(apply_b_dec_to_input=False, rescale_acts_by_decoder_norm=True)
    ),
    "a direction of length zero, rescaled": partial(
        loads,
        record(rescale_acts_by_decoder_norm=True),
        weights(W_dec=torch.cat([torch.zeros(1, D), torch.ones(F - 1, D)])),
    ),
    "weights in bfloat16": partial(
        loads, record(dtype="bfloat16"), {n: t.bfloat16() for n, t in weights().items()}
    ),
    "fields of the training beside": partial(
        loads, record(aux_loss_coefficient=1.0, decoder_init_norm=0.1, use_sparse_activations=True)
    ),
    "SAELens 5: topk by activation_fn_str": partial(
        loads,
        record(
            architecture="standard",
            activation_fn_str="topk",
            activation_fn_kwargs={"k": K},
            k=...,
        ),
    ),
    "a matryoshka SAE": partial(
        loads, record(architecture="matryoshka_batchtopk", matryoshka_widths=[5, 20])
    ),
    "a transcoder, with another width out": partial(
        loads, record(architecture="transcoder", d_out=9)
    ),
    "no word on apply_b_dec_to_input": partial(loads, record(apply_b_dec_to_input=...)),
    "normalisation of another name": partial(loads, record(normalize_activations="unit_rms")),
    "a folder of sparsify": sparsify_folder,
    "a cache of SAELens that was shuffled": partial(
        saelens_cache, "cache_activations_runner_cfg.json", {"shuffle": True}
    ),
    "a cache of SAELens with indices of rows": partial(
        saelens_cache, "state.json", {"_data_files": [], "_indices_data_files": [{"filename": "i"}]}
    ),
    "a cache of saev of a later protocol": saev_of_a_later_protocol,
}


def values(scale: float = 1.0, n: int = 60) -> np.ndarray:
    """Return activations of some size, [n, 4, 8]."""
    return (scale * np.random.default_rng(0).normal(size=(n, 4, 8))).astype(np.float32)


def kept(array: Any, dtype: str = "float16", *, within: float = 1e-2, **how: Any) -> bool:
    """Store an array, and compare what is read back with it."""
    store = ol.activations.store_from_array(array, group=CYCLIC, dtype=dtype, **how)
    wanted = np.asarray(array, np.float64).reshape(store.orbits().shape)
    lost = np.linalg.norm(store.orbits().double().numpy() - wanted)
    return bool(lost <= within * np.linalg.norm(wanted))


def attention() -> bool:
    """Store softmax outputs over many classes, about 1e-6 each."""
    logits = torch.from_numpy(values()).repeat(1, 1, 20_000)
    return kept(logits.softmax(-1).numpy())


def one_layer_of_small_weights() -> bool:
    """Harvest a layer whose outputs are about 1e-7 in float16."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e-7)
    pictures = torch.rand(20, 1, 8, 8, **DRAWN)
    action = ol.actions.images(CYCLIC)
    given = {"inputs": pictures, "action": action, "layer": "0", "positions": "all"}
    exact = ol.harvest(network, **given).orbits()
    half = ol.harvest(network, **given, dtype="float16").orbits()
    return bool((half - exact).norm() <= 1e-2 * exact.norm())


def a_small_shard_among_large_ones() -> bool:
    """Store samples of which the last shard alone is tiny."""
    array = np.concatenate([values(n=20_000), values(1e-8, n=20_000)]).repeat(32, axis=2)
    store = ol.activations.store_from_array(array, group=CYCLIC, dtype="float16", out=_new())
    tail = store.orbits(np.arange(39_000, 40_000)).numpy()
    return bool(np.linalg.norm(tail - array[39_000:]) <= 1e-2 * np.linalg.norm(array[39_000:]))


def small_import(size: float, dtype: str) -> bool:
    """Import a .npy file of float64 numbers of some size."""
    rows = np.random.default_rng(0).normal(size=(40, 8)) * size
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/acts.npy", rows)
        store = ol.activations.import_activations(f"{folder}/acts.npy", group="C4", dtype=dtype)
        found = store.orbits().double().numpy().reshape(rows.shape)
    return bool(np.linalg.norm(found - rows) <= 1e-2 * np.linalg.norm(rows))


def _new() -> str:
    return f"{tempfile.mkdtemp()}/acts.zarr"


RANGES: dict[str, Callable[[], bool]] = {
    "attention over 160,000 places": attention,
    "a layer of small weights, harvested": one_layer_of_small_weights,
    "only the last shard is small": a_small_shard_among_large_ones,
    "mostly zeros, few large": partial(kept, np.where(values() > 2, values(), 0)),
    "half of the samples tiny": partial(kept, values() * np.tile([[[1]], [[1e-9]]], (30, 1, 1))),
    "all zeros": partial(kept, np.zeros((5, 4, 8))),
    "float64 below float32, imported": partial(small_import, 1e-50, "float32"),
    "float64 of 1e-30 as bfloat16": partial(small_import, 1e-30, "bfloat16"),
    "float64 of 1e-30 as float16": partial(small_import, 1e-30, "float16"),
    "1e-45 as bfloat16": partial(kept, values(1e-45), "bfloat16"),
    "from 1e-8 to 1e8 as float16": partial(kept, values() * 10.0 ** np.arange(-8, 9, 2.25)[:8]),
    "whole numbers beyond 2^24": partial(kept, np.full((2, 4, 8), 2**30 + 1), "float32"),
}


def main() -> None:
    """Show both tables; exit with 1 if any instance is wrong or crashed."""
    faults = 0
    for kind, instances in {"Settings of other programs": SETTINGS, "Ranges": RANGES}.items():
        try:
            show(kind, instances)
        except SystemExit as ended:
            faults += int(ended.code or 0)
        print()
    sys.exit(int(faults > 0))


if __name__ == "__main__":
    main()
