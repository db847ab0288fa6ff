"""The largest of many numbers: of every row, and of a stream of blocks."""

from typing import final

import numpy as np
import torch

from orbitlens.typing import Float, Int, Tensor

_STRIPES = 8
_WORTH_IT = 4
"""Groups per number kept, from which on searching groups first is faster, measured on a CPU."""


def largest(
    values: Float[Tensor, "*rows width"], k: int
) -> tuple[Float[Tensor, "*rows k"], Int[Tensor, "*rows k"]]:
    """Return the k largest numbers of every row and their places, in no particular order.

    A row is cut into groups of 8; the k largest numbers lie in the k groups with the largest
    maxima. That is exact and reads the whole row only once.
    """
    groups = values.shape[-1] // _STRIPES
    if groups * _STRIPES != values.shape[-1] or groups < _WORTH_IT * k:
        return _top(values, k)
    # A group is every `groups`-th number, so that maxima are taken along memory.
    stripes = values.unflatten(-1, (_STRIPES, groups))
    _, best = _top(stripes.amax(-2), k)
    index = best.unsqueeze(-2).expand(*best.shape[:-1], _STRIPES, k)
    kept, place = _top(stripes.gather(-1, index).flatten(-2), k)
    stripe = place.div(k, rounding_mode="floor")
    return kept, stripe * groups + best.gather(-1, place - stripe * k)


def _top(values: Float[Tensor, "*rows width"], k: int) -> tuple[Tensor, Tensor]:
    top = values.topk(k, dim=-1, sorted=False)
    return top.values, top.indices


@final
class RunningLargest:
    """The `budget` largest positive numbers of a stream, and their places in it.

    Numbers that can no longer be among them are dropped, so memory is a few times the budget. Only
    numbers above `floor` can still be among them.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.floor, self._held = 0.0, 0
        self._values: list[Tensor] = []
        self._places: list[Tensor] = []

    def add(self, block: Float[Tensor, "rows columns"], *, first: int, stride: int) -> None:
        """Search a block; `first` is the place of its first number, `stride` that between rows."""
        if self.floor == 0.0:
            self.floor = self._bound(block)
        row, column = (block > self.floor).nonzero(as_tuple=True)
        self.take(block[row, column], first + row * stride + column)

    def take(self, values: Float[Tensor, " above"], places: Int[Tensor, " above"]) -> None:
        """Add numbers above the floor, with their places in the stream."""
        self._values.append(values)
        self._places.append(places)
        self._held += len(values)
        if self._held > 2 * self.budget:
            values, _ = self._reduce()
            self.floor = float(values.min())

    def _bound(self, block: Float[Tensor, "rows columns"]) -> float:
        """Return a number below at least `budget` numbers of a block, or 0."""
        groups = block.numel() // _STRIPES
        if groups < _WORTH_IT * self.budget or block.dtype != torch.float32:
            return 0.0
        maxima = block.flatten()[: groups * _STRIPES].view(_STRIPES, groups).amax(0)
        least, _ = _top(maxima, self.budget)
        return max(0.0, float(np.nextafter(least.min().numpy(), np.float32(-np.inf))))

    def finish(self) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
        """Return the numbers and their places, in the order of the stream, shape [kept] each."""
        values, places = self._reduce() if self._held > self.budget else self._join()
        order = places.argsort()
        return values[order], places[order]

    def _reduce(self) -> tuple[Tensor, Tensor]:
        values, places = self._join()
        top, index = _top(values, self.budget)
        self._values, self._places, self._held = [top], [places[index]], self.budget
        return top, places[index]

    def _join(self) -> tuple[Tensor, Tensor]:
        return torch.cat(self._values), torch.cat(self._places)
