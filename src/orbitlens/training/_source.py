"""A store as training sees it: its scale and its means."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import torch

from orbitlens.checks import as_axes, usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.metrics.reconstruction import squared_error
from orbitlens.typing import Float, Numbers, Orbits, Tensor

_CHUNK = 2**17
"""Numbers that are processed together, so that they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Source:
    """A store of n orbits of |G| = `order` rows.

    `scale` is the factor that brings its activations to a mean square of one about their mean;
    `orbit_mean` is the mean scaled activation under each element. Activations that do not vary, but
    for rounding, are not scaled.
    """

    n: int
    order: int
    scale: float
    orbit_mean: Float[Tensor, "group dim"]
    varies: bool

    @classmethod
    def of(cls, blocks: Iterable[Orbits], n: int, device: torch.device) -> "Source":
        """Measure the blocks of n unscaled orbits."""
        mean, scale = statistics(blocks)
        factor = 1.0 if scale is None else scale
        return cls(n, len(mean), factor, (mean * factor).float().to(device), scale is not None)

    def squared_deviations(
        self, rows: Float[Tensor, "rows dim"], *, moved: bool
    ) -> Float[Tensor, " rows"]:
        """Squared distances of rows from the mean of all, or of the canonical ones; float64."""
        around = self.orbit_mean.mean(0) if moved else self.orbit_mean[0]
        parts = rows.split(max(1, _CHUNK // len(around)))
        return torch.cat([squared_error(part, around.expand_as(part)).double() for part in parts])


def statistics(blocks: Iterable[Orbits]) -> tuple[Float[Tensor, "group dim"], float | None]:
    """Return the mean under each element, [|G|, dim], and the factor to unit variance.

    Every block, [batch, |G|, dim], is read once and summed in float64; there is at least one. The
    factor is None if the activations are constant, but for rounding.
    """
    remaining = iter(blocks)
    first = next(remaining)
    # About a typical activation, so that small differences survive the squares.
    orbits = max(1, _CHUNK // first[0].numel())
    shift = first[:orbits].double().mean((0, 1))
    sums = torch.zeros(first.shape[1:], dtype=torch.float64)
    squares, power, count = 0.0, 0.0, 0
    for block in chain([first], remaining):
        for part in block.split(orbits):
            exact = part.double()
            power += float(exact.square().sum())
            exact -= shift
            sums += exact.sum(0)
            squares += float(exact.square().sum())
            count += len(part)
    mean = sums / count
    if not math.isfinite(power):
        raise OrbitLensError(
            "activations to train on",
            expected="finite numbers",
            received="NaN or infinity",
            remedy="harvest them again, or leave these samples out",
        )
    numbers = count * mean.numel()
    variance = squares / numbers - float(mean.mean(0).square().mean())
    deviation, size = math.sqrt(max(variance, 0.0)), math.sqrt(power / numbers)
    # A deviation below this share of the size is float32 rounding.
    return mean + shift, 1.0 / deviation if deviation > 1e-6 * size else None


@usual_torch()
def unit_scale(orbits: Numbers) -> float:
    """Return the factor that brings activations to a mean square of one about their mean.

    Args:
        orbits: Activations, shape [batch, group, dim].

    Returns:
        The factor; 1 for activations without variance.

    Raises:
        OrbitLensError: If the orbits are empty, of another shape, or not finite.

    Example:
        >>> unit_scale(torch.tensor([[[1.0], [5.0]]]))
        0.5
    """
    scale = statistics([as_axes("orbits", orbits, "batch group dim", least=1)])[1]
    return 1.0 if scale is None else scale
