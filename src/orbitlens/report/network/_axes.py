"""Where figures of a layer stand on an axis, and what its ticks say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orbitlens.report._names import element_label

_LOWEST_R2 = -0.5
_DECADES = (-6, 3)
_MOST_TICKS = 4


@dataclass(frozen=True)
class Axis:
    """Where values stand on a panel.

    Args:
        low: The value at the left; what is below is drawn there.
        high: The value at the right.
        ticks: Label of each tick.
        log: Whether values are compared by their ratios.
    """

    low: float
    high: float
    ticks: Mapping[float, str]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the place of a value, from 0 at the left to 1 at the right."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def r2_axis(values: Sequence[float]) -> Axis:
    """Span 0 to 1, or -0.5 to 1 where there are negative values: these have no lower bound."""
    ticks = {0.0: "0", 0.5: "0.5", 1.0: "1"}
    lowest = min(values)
    if lowest >= 0:
        return Axis(0.0, 1.0, ticks)
    cut = "≤ " if lowest < _LOWEST_R2 else ""
    return Axis(_LOWEST_R2, 1.0, {_LOWEST_R2: f"{cut}−0.5", **ticks})


def unit_axis(values: Sequence[float]) -> Axis:
    """Span 0 to 1; a correlation below 0 is as good as none."""
    return Axis(0.0, 1.0, {0.0: "≤ 0" if min(values) < 0 else "0", 0.5: "0.5", 1.0: "1"})


def log_axis(values: Sequence[float]) -> Axis:
    """Span the decades of the values, from a millionth at the least to a thousand at the most.

    Example:
        >>> log_axis([0.02, 0.3]).ticks
        {0.01: '0.01', 0.1: '0.1', 1.0: '1'}
    """
    lowest, highest = _DECADES
    positive = [math.log10(value) for value in values if value > 0] or [lowest]
    low = min(max(math.floor(min(positive)), lowest), highest - 1)
    high = min(max(math.ceil(max(positive)), low + 1), highest)
    step = math.ceil((high - low) / (_MOST_TICKS - 1))
    high = low + step * math.ceil((high - low) / step)
    ticks = {10.0**power: _power_of_ten(power) for power in range(low, high + 1, step)}
    first, last = 10.0**low, 10.0**high
    if min(values) < first:
        ticks[first] = f"≤ {ticks[first]}"
    if max(values) > last:
        ticks[last] = f"≥ {ticks[last]}"
    return Axis(first, last, ticks, log=True)


def _power_of_ten(power: int) -> str:
    return f"{10.0**power:g}" if abs(power) <= 3 else element_label(f"10^{power}")
