"""The outputs for moved inputs beside their targets, in one call or in several.

The outputs of a function with random numbers differ from their targets by these, too. The squared
distance of the means is estimated without them, from pairs of calls c and c',

    ||E d||^2 = mean over c != c' of <d_c, d_c'>,   d_c = f_c(gx) - rho(g) f_c(x)
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from orbitlens.symmetry.check._errors import Difference
from orbitlens.symmetry.check._function import Function, rows, wide
from orbitlens.symmetry.check._moves import Move
from orbitlens.symmetry.check._spread import variances_of

CALLS = 8  # of a function with random numbers


class Outcome(NamedTuple):
    """How far f(gx) is from its target and from wrong ones; the variance of each number."""

    right: Difference
    wrong: Difference
    inverse: Difference | None
    variances: Float[Tensor, " numbers"]

    @property
    def variance(self) -> float:
        """The variance of f(gx)."""
        return float(torch.sum(self.variances))


class Trial(NamedTuple):
    """A function, inputs, and the outputs of one call; of `CALLS`, if it draws random numbers.

    Distances are in units of `unit`.
    """

    run: Function
    inputs: Shaped[Tensor, "n *axes"]
    still: tuple[Tensor, ...]
    unit: float

    def outcome(self, move: Move, wrong: Move | None = None) -> Outcome:
        """Compare the outputs for moved inputs with their target and with wrong ones."""
        inputs = move.inputs(self.inputs)
        moved = [self.run(inputs) for _ in self.still]
        right = self._difference(moved, move.outputs)
        other = right if wrong is None else self._difference(moved, wrong.outputs)
        inverse = self._difference(moved, move.inverse) if move.inverse else None
        return Outcome(right, other, inverse, variances_of(moved[0], self.unit))

    def difference(self, move: Move) -> Difference:
        """Compare the outputs for moved inputs with one target."""
        inputs = move.inputs(self.inputs)
        return self._difference((self.run(inputs) for _ in self.still), move.outputs)

    def _difference(
        self, moved: Iterable[Tensor], target: Callable[[Tensor], Tensor]
    ) -> Difference:
        parts = [
            rows(wide(one) - wide(target(still))) / self.unit
            for one, still in zip(moved, self.still, strict=True)
        ]
        calls = len(parts)
        distances = parts[0].abs().square().sum(1).sqrt().cpu()
        if calls == 1:
            return Difference(distances, None, _squares_of_numbers(parts[0]))
        own = sum((_squares(each) for each in parts[1:]), _squares(parts[0]))
        pairs = _squares(sum(parts[1:], parts[0])) - own
        return Difference(distances, (pairs / (calls * (calls - 1))).cpu())


def _squares_of_numbers(
    differences: Shaped[Tensor, "n numbers"],
) -> Float[Tensor, " numbers"]:
    return differences.abs().square().mean(0).cpu()


def _squares(differences: Shaped[Tensor, "n numbers"]) -> Float[Tensor, " n"]:
    return differences.abs().square().sum(1)
