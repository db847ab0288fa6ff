"""The hash that identifies inputs."""

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor


def header_hash(dtype: str, shape: tuple[int, ...]) -> Any:
    """Return a hash that begins with the type and shape of inputs; their numbers follow."""
    return hashlib.sha256(f"{dtype}{tuple(shape)}".encode())


def numbers_of(values: Shaped[Tensor, "*axes"]) -> Shaped[np.ndarray, "*axes"]:
    """Return the numbers of a tensor in order; bfloat16, which NumPy has not, as its bits."""
    values = values.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()
