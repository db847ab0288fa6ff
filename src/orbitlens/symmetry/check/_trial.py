"""The outputs for moved inputs beside their targets, in one call or in several.

The outputs of a function with random numbers differ from their targets by these, too. The squared
distance of the means is estimated without them, from pairs of calls c and c',

    ||E d||^2 = mean over c != c' of <d_c, d_c'>,   d_c = f_c(gx) - rho(g) f_c(x)
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from jaxtyping import Float, Shaped
from torch import Tensor

from orbitlens.symmetry.check._errors import Difference
from orbitlens.symmetry.check._function import Function, rows, wide
from orbitlens.symmetry.check._moves import Move
from orbitlens.symmetry.check._spread import variance_of

CALLS = 8  # of a function with random numbers


class Outcome(NamedTuple):
    """How far f(gx) is from rho(g) f(x) and from a wrong target; the variance of f(gx)."""

    right: Difference
    wrong: Difference
    variance: float


class Trial(NamedTuple):
    """A function, inputs, and the outputs of one call; of `CALLS`, if it draws random numbers.

    Distances are in units of `unit`.
    """

    run: Function
    inputs: Shaped[Tensor, "n *axes"]
    still: tuple[Tensor, ...]
    unit: float

    def outcome(self, move: Move, wrong: Move) -> Outcome:
        """Compare the outputs for moved inputs with both targets."""
        inputs = move.inputs(self.inputs)
        moved = [self.run(inputs) for _ in self.still]
        right, other = (self._difference(moved, each.outputs) for each in (move, wrong))
        return Outcome(right, other, variance_of(moved[0], self.unit))

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
            return Difference(distances, None)
        own = sum((_squares(each) for each in parts[1:]), _squares(parts[0]))
        pairs = _squares(sum(parts[1:], parts[0])) - own
        return Difference(distances, (pairs / (calls * (calls - 1))).cpu())


def _squares(differences: Shaped[Tensor, "n numbers"]) -> Float[Tensor, " n"]:
    return differences.abs().square().sum(1)
