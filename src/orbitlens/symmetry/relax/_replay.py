"""The memory of transitions that batches are drawn from."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Transitions(NamedTuple):
    """Steps s, a -> r, s', and whether the task is over at s'."""

    states: Float[Tensor, "batch dim"]
    actions: Int[Tensor, " batch"]
    rewards: Float[Tensor, " batch"]
    following: Float[Tensor, "batch dim"]
    ended: Bool[Tensor, " batch"]


class Replay:
    """A ring of the latest transitions."""

    def __init__(self, size: int, dim: int) -> None:
        self._parts = Transitions(
            torch.zeros(size, dim),
            torch.zeros(size, dtype=torch.int64),
            torch.zeros(size),
            torch.zeros(size, dim),
            torch.zeros(size, dtype=torch.bool),
        )
        self.size, self._next, self.filled = size, 0, 0

    def add(self, found: Transitions) -> None:
        """Keep some transitions in the place of the oldest ones."""
        n = len(found.actions)
        where = (self._next + torch.arange(n)) % self.size
        for kept, new in zip(self._parts, found, strict=True):
            kept[where] = new
        self._next = (self._next + n) % self.size
        self.filled = min(self.filled + n, self.size)

    def draw(self, n: int, generator: torch.Generator) -> Transitions:
        """Return transitions drawn at random, with replacement."""
        where = torch.randint(self.filled, (n,), generator=generator)
        return Transitions(*(part[where] for part in self._parts))
