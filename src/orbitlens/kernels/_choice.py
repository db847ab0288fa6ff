"""Which kernels compute products with a sparse matrix: compiled ones, Triton's, or torch's own."""

import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

import torch

from orbitlens.errors import one_line
from orbitlens.typing import Tensor

_WORTH_IT = 2**16
"""Numbers to look at, below which a CPU is done with them whoever does it."""


def kernels_for(tensor: Tensor, numbers: int) -> ModuleType | None:
    """Return the kernels that take a tensor such as this, if there are any.

    Args:
        tensor: What they are to take.
        numbers: How many numbers they are to look at.
    """
    if tensor.is_cuda:
        taken = tensor.dtype in (torch.float32, torch.bfloat16)
    else:
        taken = tensor.is_cpu and tensor.dtype == torch.float32 and numbers >= _WORTH_IT
    return kernels_on(tensor.device) if taken else None


@cache
def kernels_on(device: torch.device) -> ModuleType | None:
    """Return the module of kernels for a device, asked for an example first; once of each device.

    Returns:
        `cpu` or `gpu`; None where what these need is not there, and where
        the example fails, with a warning that says how.
    """
    name = "cpu" if device.type == "cpu" else "gpu"
    kernels = import_module(f"orbitlens.kernels._{name}")
    return kernels if kernels.available() and _work(kernels, device) else None


def _work(kernels: ModuleType, device: torch.device) -> bool:
    """Whether kernels give what they should for an example, which waits for a GPU."""
    from orbitlens.kernels._pattern import PIECE, Pattern

    # One row of three pieces, an empty one, and one entry; the sums are exact in float32.
    long = 2 * PIECE + 3
    starts = torch.tensor([0, long, long, long + 1], device=device)
    pattern = Pattern(starts, torch.arange(long + 1, device=device) % 5, 5)
    vectors = torch.arange(5.0 * 40, device=device).view(5, 40)
    values = 1.0 + torch.arange(long + 1, device=device) % 3
    dense = torch.zeros(3, 5, device=device)
    dense.view(-1).scatter_add_(0, pattern.rows * 5 + pattern.columns, values)
    exact = (vectors[:3, None] * vectors).sum(-1)[pattern.rows, pattern.columns]
    try:
        # Compilers warn of their own settings, which are none of the user's.
        with warnings.catch_warnings(action="ignore"):
            sums = kernels.weighted_sums(pattern, values, vectors)
            products = kernels.entry_products(pattern, vectors[:3], vectors)
        works = torch.equal(sums, (dense[..., None] * vectors).sum(1))
        works = works and torch.equal(products, exact)
        how = "its sums are wrong"
    except Exception as error:  # A compiler fails in many ways, and each leaves torch.
        works, how = False, one_line(error)
    if not works:
        message = f"{kernels.NAME} is not used on {device}: {how}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return works
