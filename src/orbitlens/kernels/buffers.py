"""Reusable buffers for the large tensors of a training step.

The allocator returns free blocks of tens of MiB to the system and requests new ones, whose pages
are cleared and mapped again. For the two gradients of a step at d_in 768 and 16384 latents that
took longer than their sums.
"""

import math
import weakref
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import final

import numpy as np
import torch

from orbitlens.typing import Tensor

_SMALLEST = 2**20
"""Bytes from which on a buffer is kept; the allocator keeps smaller ones itself."""

_DIGITS = 4
"""Leading binary digits of a size; the others are rounded up."""
_SIMILAR = 2
"""How many times larger than its tensor a block may be."""


@final
class Memory:
    """Buffers that are reused once no tensor in them is alive.

    Inside `with memory:` the function `empty` takes its tensors from these buffers. They are freed
    with the memory. On a GPU torch keeps buffers itself.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._users: list[Callable[[], np.ndarray | None]] = []
        self._token: Token[Memory | None] | None = None

    def __enter__(self) -> None:
        self._token = _present.set(self)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _present.reset(self._token)

    @property
    def size(self) -> int:
        """Bytes of all buffers, in use or not."""
        return sum(len(block) for block in self._blocks)

    def take(self, size: int) -> Tensor:
        """Return a free buffer of at least `size` bytes."""
        # Few different sizes, so that tensors whose number of entries varies reuse each other's.
        step = 1 << max(0, size.bit_length() - _DIGITS)
        size = -(-size // step) * step
        place = self._make_room(size)
        if place is None:
            place = len(self._blocks)
            self._blocks.append(torch.empty(size, dtype=torch.uint8).numpy())
            self._users.append(_nobody)
        # A view for each use lives as long as the tensors in it.
        own = self._blocks[place][:]
        self._users[place] = weakref.ref(own)
        return torch.from_numpy(own)

    def _make_room(self, size: int) -> int | None:
        """Return the place of the smallest free block that fits; if none fits, drop a smaller."""
        free = sorted(
            (len(block), place)
            for place, (block, user) in enumerate(zip(self._blocks, self._users, strict=True))
            if user() is None
        )
        for length, place in free:
            if size <= length <= _SIMILAR * size:
                return place
        for length, place in reversed(free):
            if length < size <= _SIMILAR * length:  # the new, larger block serves its tensors too
                del self._blocks[place], self._users[place]
                break
        return None


def _nobody() -> None:
    """Stand for the user of a new block."""


_present: ContextVar[Memory | None] = ContextVar("memory", default=None)


def empty(*shape: int, like: Tensor) -> Tensor:
    """Return an uninitialised tensor, in a buffer of the present `Memory` if there is one."""
    memory, size = _present.get(), math.prod(shape) * like.element_size()
    if memory is None or like.device.type != "cpu" or size < _SMALLEST:
        return like.new_empty(shape)
    return memory.take(size)[:size].view(like.dtype).view(shape)
