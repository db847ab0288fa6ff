"""In which precision the largest latents are searched."""

import torch

from orbitlens.errors import unknown_name
from orbitlens.sae import SAE

PRECISIONS = ("auto", "float32", "bfloat16")
_LARGE = 2**21
"""Weights of the last layer from which its product takes most of a step."""


def searches_in_bfloat16(precision: str, sae: SAE) -> bool:
    """Say whether to search in bfloat16.

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 for large SAEs on hardware with matrix
            units for it, the tensor cores of a GPU or the tiles (AMX) of a CPU.
        sae: The SAE, where it is trained.

    Raises:
        OrbitLensError: If the precision is another word.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> searches_in_bfloat16("auto", topk_sae(4, 8, 2))
        False
    """
    if precision not in PRECISIONS:
        raise unknown_name("`precision`", precision, PRECISIONS)
    if precision != "auto":
        return precision == "bfloat16"
    return sae.encoder.vectors.numel() >= _LARGE and _has_matrix_units(sae.b_dec.device)


def _has_matrix_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()
