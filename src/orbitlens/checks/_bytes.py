"""The numbers of a tensor as bytes, for digests, checksums and pipes."""

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor


def bytes_of(tensor: Shaped[Tensor, "*axes"]) -> UInt8[np.ndarray, " bytes"]:
    """Return the bytes of all numbers in order, without a copy where there need be none."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if flat.stride() == (0,):  # a tensor of one number may have it, and torch calls it contiguous
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy()
