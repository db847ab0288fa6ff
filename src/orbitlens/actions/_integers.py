"""Unsigned integers under moves that PyTorch has for signed ones only."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


def of_any_integers(move: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let `move(..., inputs, element)` that rearranges entries take unsigned integers too.

    PyTorch flips signed ones only, and the bits are the same.
    """

    @wraps(move)
    def moves(*arguments: Any) -> Tensor:
        *first, inputs, element = arguments
        signed = _SIGNED.get(inputs.dtype)
        if signed is None:
            return move(*arguments)
        return move(*first, inputs.view(signed), element).view(inputs.dtype)

    return moves
