"""The number of the outputs that is missed by most, in units of its own spread.

    e_c(g)^2 = mean over i of (f(g x_i) - rho(g) f(x_i))_c^2 / s_c^2

The spread s of all outputs is that of the largest ones, and small ones hide behind it. A number
that nothing but rounding spreads is left out: in float64, its spread would go away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from orbitlens.reps import Representation
from orbitlens.symmetry.check._function import rows, wide
from orbitlens.symmetry.check._moves import Output
from orbitlens.symmetry.check._spread import (
    CONSTANT_STEPS,
    TOLERANCE,
    precision_of,
    rounding_of,
)
from orbitlens.symmetry.check._trial import Outcome

_KEPT = 0.5  # of its spread, which a number keeps in float64


@final
@dataclass(frozen=True)
class WorstOutput:
    """The number of the outputs that is missed by most, in units of its own spread.

    Args:
        place: Its place in the output of one input.
        element: Name of the element under which it is missed by most.
        error: Root mean square of what it is missed by; two unrelated numbers differ by 1.4.
    """

    place: tuple[int, ...]
    element: str
    error: float

    @property
    def name(self) -> str:
        """What it is called, such as "output 1" or "output (3, 0, 2)"."""
        return f"output {self.place[0] if len(self.place) == 1 else self.place}"


def keeps_numbers_apart(output: Output) -> bool:
    """Tell whether no element mixes the numbers of the outputs, but for their signs."""
    if isinstance(output, Representation):
        off = output.matrices - torch.diag_embed(output.matrices.diagonal(dim1=1, dim2=2))
        return not bool(off.any())
    return output is None


def worst_output(
    outputs: Shaped[Tensor, "n *axes"],
    names: Sequence[str],
    outcomes: Sequence[Outcome],
    unit: float,
    in_float64: Callable[[], Sequence[Outcome] | None],
) -> WorstOutput | None:
    """Return the worst number beyond rounding; None where rounding may explain all of them."""
    if outputs[0].numel() < 2:
        return None
    errors, spread = _errors(outcomes)
    sizes = rows(wide(outputs) / unit).abs().square().mean(0).sqrt().cpu()
    told = (spread > CONSTANT_STEPS * precision_of(outputs) * sizes) & (errors > TOLERANCE)
    seen = told & (errors * spread > rounding_of(outputs, unit, 0.0))
    if bool((told & ~seen).any()):
        found = in_float64()
        seen = seen if found is None else told & _stays(errors, spread, *_errors(found))
    errors = torch.where(seen, errors, 0.0)
    if not bool(errors.any()):
        return None
    element, number = divmod(int(errors.argmax()), errors.shape[1])
    place = np.unravel_index(number, tuple(outputs.shape[1:]))
    return WorstOutput(
        tuple(int(each) for each in place), names[element], float(errors[element, number])
    )


def _errors(
    outcomes: Sequence[Outcome],
) -> tuple[Float[Tensor, "moves numbers"], Float[Tensor, " numbers"]]:
    """Return the error of each number in units of its own spread, and that spread."""
    spread = torch.stack([each.variances for each in outcomes]).mean(0).sqrt()
    squares = [each.right.numbers for each in outcomes if each.right.numbers is not None]
    errors = torch.stack(squares).sqrt() / spread
    return errors.nan_to_num(0.0, 0.0, 0.0), spread


def _stays(
    errors: Float[Tensor, "moves numbers"],
    spread: Float[Tensor, " numbers"],
    errors_in_float64: Float[Tensor, "moves numbers"],
    spread_in_float64: Float[Tensor, " numbers"],
) -> Bool[Tensor, "moves numbers"]:
    """Tell which errors and spreads are in float64 as they were, so that they are no rounding."""
    return (errors_in_float64 > _KEPT * errors) & (spread_in_float64 > _KEPT * spread)
