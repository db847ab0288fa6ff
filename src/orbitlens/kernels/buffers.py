"""Memory that large results lie in step after step.

The allocator gives blocks of tens of MiB back to the system as soon as they are free, and takes
others from it: every page of them is then cleared and mapped anew. For the two gradients of a step
at d_in 768 and 16384 latents that took longer than their sums.
"""

import math
import weakref
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import final

import numpy as np
import torch

from orbitlens.typing import Tensor

_SMALLEST = 2**20
"""Bytes from which a result is kept; smaller ones the allocator keeps itself."""

_DIGITS = 4
"""Leading binary digits of a size that count."""
_SIMILAR = 2
"""Times by which a block may be larger than what lies in it."""


@final
class Memory:
    """Blocks that are used again once nobody holds a tensor in them any more.

    Within `with memory:` the function `empty` takes from it; the blocks go with the memory. On a
    GPU torch keeps blocks itself.

    Example:
        >>> memory, like = Memory(), torch.zeros(())
        >>> with memory:
        ...     first = empty(2**19, like=like)
        ...     place = first.data_ptr()
        ...     another = empty(2**19, like=like).data_ptr() != place
        ...     del first
        ...     again = empty(2**19, like=like).data_ptr() == place
        >>> another, again
        (True, True)
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._users: list[Callable[[], np.ndarray | None]] = []
        self._token: Token[Memory | None] | None = None

    def __enter__(self) -> None:
        self._token = _present.set(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            _present.reset(self._token)

    @property
    def size(self) -> int:
        """Bytes that are kept, used or not."""
        return sum(len(block) for block in self._blocks)

    def take(self, size: int) -> Tensor:
        """Return at least so many bytes that nobody uses."""
        # Few sizes, so that results whose number of entries changes find each other's blocks.
        step = 1 << max(0, size.bit_length() - _DIGITS)
        size = -(-size // step) * step
        place = self._free(size)
        if place is None:
            place = len(self._blocks)
            self._blocks.append(torch.empty(size, dtype=torch.uint8).numpy())
            self._users.append(_nobody)
        # A view of its own for each use: it lives as long as the tensors that lie in it.
        own = self._blocks[place][:]
        self._users[place] = weakref.ref(own)
        return torch.from_numpy(own)

    def _free(self, size: int) -> int | None:
        """The place of the smallest free block that will do; else one in its place is given up."""
        free = sorted(
            (len(block), place)
            for place, (block, user) in enumerate(zip(self._blocks, self._users, strict=True))
            if user() is None
        )
        for length, place in free:
            if size <= length <= _SIMILAR * size:
                return place
        for length, place in reversed(free):
            if length < size <= _SIMILAR * length:  # what lay there finds room in the larger one
                del self._blocks[place], self._users[place]
                break
        return None


def _nobody() -> None:
    """Who uses a new block."""


_present: ContextVar[Memory | None] = ContextVar("memory", default=None)


def empty(*shape: int, like: Tensor) -> Tensor:
    """Return a tensor with no numbers yet, in kept memory where there is some; see `Memory`.

    Args:
        shape: Its shape.
        like: A tensor of the type and on the device wanted.

    Example:
        >>> empty(2, 3, like=torch.zeros(1)).shape
        torch.Size([2, 3])
    """
    memory, size = _present.get(), math.prod(shape) * like.element_size()
    if memory is None or like.device.type != "cpu" or size < _SMALLEST:
        return like.new_empty(shape)
    return memory.take(size)[:size].view(like.dtype).view(shape)
