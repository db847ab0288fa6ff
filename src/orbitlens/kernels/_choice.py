"""The choice of kernels for a device: compiled loops, Triton's, or none."""

import warnings
from functools import cache
from types import ModuleType

import torch

from orbitlens.errors import one_line
from orbitlens.typing import Tensor

_WORTH_IT = 2**16
"""Numbers from which on compiled loops are faster than torch on a CPU."""
_LONG = 515
"""Entries of the example's long row, which a GPU sums in three pieces."""


def kernels_for(tensor: Tensor, numbers: int) -> ModuleType | None:
    """Return the kernels for a tensor such as this and so many numbers; None leaves it to torch."""
    if tensor.is_cuda:
        fits = tensor.dtype in (torch.float32, torch.bfloat16)
    else:
        fits = tensor.is_cpu and tensor.dtype == torch.float32 and numbers >= _WORTH_IT
    return kernels_on(tensor.device) if fits else None


@cache
def kernels_on(device: torch.device) -> ModuleType | None:
    """Return `_cpu` or `_gpu` if it is available and computes an example correctly.

    Kernels that fail the example are not used; a warning gives the reason.
    """
    kernels: ModuleType
    if device.type == "cpu":
        from orbitlens.kernels import _cpu

        kernels = _cpu
    else:
        from orbitlens.kernels import _gpu

        kernels = _gpu
    return kernels if kernels.available() and _compute_an_example(kernels, device) else None


def _compute_an_example(kernels: ModuleType, device: torch.device) -> bool:
    """Compare kernels with a dense product; the host waits for a GPU here."""
    # A long row, an empty one, and one entry; the sums are exact in float32.
    starts = torch.tensor([0, _LONG, _LONG, _LONG + 1], device=device)
    rows = torch.tensor([0] * _LONG + [2], device=device)
    columns = torch.arange(_LONG + 1, device=device) % 5
    vectors = torch.arange(5.0 * 40, device=device).view(5, 40)
    values = 1.0 + torch.arange(_LONG + 1, device=device) % 3
    dense = torch.zeros(3, 5, device=device)
    dense.view(-1).scatter_add_(0, rows * 5 + columns, values)
    exact = (vectors[:3, None] * vectors).sum(-1)[rows, columns]
    try:
        # Compilers warn of their own settings, which the user did not choose.
        with warnings.catch_warnings(action="ignore"):
            sums = kernels.weighted_sums(starts, columns, values, vectors)
            products = kernels.entry_products(starts, columns, vectors[:3], vectors)
        works = torch.equal(sums, (dense[..., None] * vectors).sum(1))
        works = works and torch.equal(products, exact)
        reason = "its sums are wrong"
    except Exception as error:  # A compiler fails in many ways; torch remains in every case.
        works, reason = False, one_line(error)
    if not works:
        message = f"{kernels.NAME} is not used on {device}: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return works
