"""SAEs that SAELens wrote: every field of `cfg.json` that changes a number is applied or refused.

SAELens' TopK SAE computes, with the settings apply_b_dec_to_input and rescale_acts_by_decoder_norm,

    a = (x - b_dec) W_enc + b_enc      x W_enc + b_enc without the first
    z = TopK(relu(a ||D_i||))          TopK(relu(a)) without the second
    x_hat = (z / ||D_i||) D + b_dec    z D + b_dec without the second

`as_ours` folds both into the weights. A field that is not known is refused by its name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.typing import Tensor

_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
_FOLDED = ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm")
_KWARGS = "activation_fn_kwargs"
_REMEDY = "give an SAE without it, or fold it into the weights in SAELens first"
# The value with which a field changes nothing; the first one counts where the field is missing.
_ONLY: dict[str, tuple[Any, ...]] = {
    "architecture": ("topk",),
    "normalize_activations": ("none",),
    "reshape_activations": ("none", None),
    "activation_fn": ("topk", None),
    "activation_fn_str": ("topk", None),
    "finetuning_scaling_factor": (False, None),
    "noise": (0, 0.0, None, False),
    "noise_std": (0, 0.0, None),
    "hidden": (None,),
    "dictionary": ("free",),
    "dtype": ("float32", "float16", "bfloat16", "torch.float32", "torch.bfloat16", "torch.float16"),
}
# Widths, and what says where the SAE comes from and how it was trained.
_HARMLESS = frozenset(
    (
        *("d_in", "d_sae", "k", "device", "metadata", "model_name", "model_class_name"),
        *("model_kwargs", "model_from_pretrained_kwargs", "hook_name", "hook_point", "hook_layer"),
        *("hook_point_layer", "hook_head_index", "hook_point_head_index", "hook_eval"),
        *("prepend_bos", "context_size", "seqpos_slice", "seqpos", "exclude_special_tokens"),
        *("dataset_path", "dataset_trust_remote_code", "is_dataset_tokenized", "streaming"),
        *("training_tokens", "neuronpedia_id", "release", "sae_id", "seed"),
        *("sae_lens_version", "sae_lens_training_version", "sparsity", "l0", "uuid"),
        *("decoder_init_norm", "use_sparse_activations", "aux_loss_coefficient", "k_aux"),
        *("b_dec_init_method", "init_encoder_as_decoder_transpose", "lr", "l1_coefficient"),
        *("mse_loss_normalization", "lp_norm", "train_batch_size_tokens", "finetuning_method"),
        *("normalize_sae_decoder", "dead_feature_window", "feature_sampling_window"),
    )
)


def is_foreign(record: Mapping[str, Any]) -> bool:
    """Return whether another program than OrbitLens wrote a `cfg.json`."""
    noted = record.get("metadata")
    ours = isinstance(noted, Mapping) and noted.get("library") == "orbitlens"
    return "schema" not in record and not ours


def as_ours(
    path: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the weights with which our SAE gives the codes and reconstructions of SAELens'."""
    if set(tensors) != {*_TENSORS}:
        raise _refused(path, f"the tensors {', '.join(_TENSORS)}", ", ".join(sorted(tensors)))
    shifts, rescales = (_switch(path, record, name) for name in _FOLDED)
    return _folded(tensors, shifts=shifts, rescales=rescales)


def check_fields(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a field of `cfg.json` that changes numbers in a way that is not known."""
    for name, value in record.items():
        known = _ONLY.get(name)
        if known is not None and value not in known:
            raise _refused(path, f"`{name}` {known[0]!r}", repr(value))
        if known is None and name not in _HARMLESS and name not in _FOLDED and name != _KWARGS:
            raise _refused(path, "fields that OrbitLens understands", f"`{name}` {value!r}")
    if "normalize_activations" not in record:
        raise _refused(path, "`normalize_activations` 'none'", "no such field")
    if record.get(_KWARGS) not in (None, {}, {"k": record["k"]}):
        raise _refused(path, f"`{_KWARGS}` with k = {record['k']}", repr(record[_KWARGS]))


def _folded(tensors: Mapping[str, Tensor], *, shifts: bool, rescales: bool) -> dict[str, Tensor]:
    W_enc, b_enc, W_dec, b_dec = (tensors[name].double() for name in _TENSORS)
    if not shifts:
        b_enc = b_enc + b_dec @ W_enc
    if rescales:
        norms = W_dec.norm(dim=1)
        W_enc, b_enc = W_enc * norms, b_enc * norms
        # An atom without length has codes of zero.
        W_dec = W_dec / norms.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    found = zip(_TENSORS, (W_enc, b_enc, W_dec, b_dec), strict=True)
    return {name: tensor.float() for name, tensor in found}


def _switch(path: Path, record: Mapping[str, Any], name: str) -> bool:
    """Return a field that is true or false; the second may be missing, as it is younger."""
    value = record.get(name, False if name == _FOLDED[1] else None)
    if not isinstance(value, bool):
        raise _refused(path, f"`{name}` true or false", repr(value))
    return value


def _refused(path: Path, expected: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"{path} of another program", expected=expected, received=received, remedy=_REMEDY
    )
