"""Parts of the picture of a network: marks, bars, panels and axes. All sizes are in pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orbitlens.report._notation import element_label

_LOWEST_R2 = -0.5
_DECADES = (-6, 3)
_SPREADS = (0.1, 1000.0)
_MOST_TICKS = 4


@dataclass(frozen=True)
class Mark:
    """The look of one kind of figure: legend, shape, variable of the style sheet, opacity.

    Shapes are "dot", "ring", "square", "cross", "diamond" and "bar".
    """

    label: str
    shape: str
    colour: str
    strength: float = 1.0


@dataclass(frozen=True)
class Series:
    """One figure of every layer: points, an SVG path, and (left, right, y) intervals.

    The path joins each layer to those that feed it. Layers without the figure have no point and
    leave a gap in the path.
    """

    mark: Mark
    points: tuple[tuple[float, float], ...]
    trend: str
    intervals: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Bar:
    """A piece of a stacked bar: its left edge, the middle of its row, and its width."""

    mark: Mark
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Panel:
    """One chart of the picture: ticks (place, label), series or bars, and each row as text."""

    heading: str
    unit: str
    width: float
    legend: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]
    bars: tuple[Bar, ...]
    readings: tuple[str, ...]


@dataclass(frozen=True)
class RowName:
    """Short and full name of a layer, the middle of its row, and the mark of its verdict."""

    short: str
    full: str
    y: float
    verdict: Mark | None


@dataclass(frozen=True)
class NetworkChart:
    """The picture of a network: the heights of its ticks and rows, row names, and panels."""

    names_width: float
    height: float
    axis: float
    row: float
    legend: tuple[Mark, ...]
    names: tuple[RowName, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Axis:
    """The axis of a panel from low to high, with the label of each tick; log has a log scale."""

    low: float
    high: float
    ticks: Mapping[float, str]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the place of a value, cut to the axis, from 0 at the left to 1 at the right."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def r2_axis(values: Sequence[float]) -> Axis:
    """Return an axis from 0 to 1, or from -0.5 where there are negative values."""
    ticks = {0.0: "0", 0.5: "0.5", 1.0: "1"}
    lowest = min(values)
    if lowest >= 0:
        return Axis(0.0, 1.0, ticks)
    cut = "≤ " if lowest < _LOWEST_R2 else ""
    return Axis(_LOWEST_R2, 1.0, {_LOWEST_R2: f"{cut}−0.5", **ticks})


def unit_axis(values: Sequence[float]) -> Axis:
    """Return an axis from 0 to 1; a correlation below 0 is drawn at 0."""
    return Axis(0.0, 1.0, {0.0: "≤ 0" if min(values) < 0 else "0", 0.5: "0.5", 1.0: "1"})


def log_axis(values: Sequence[float]) -> Axis:
    """Return a logarithmic axis over the decades of the values, within 10^-6 to 10^3."""
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


def share_axis(values: Sequence[float]) -> Axis:
    """Return a logarithmic axis of shares from 0.1% to 100%."""
    low, high = "≤ " * (min(values) < 0.001), "≥ " * (max(values) > 1)
    ticks = {0.001: f"{low}0.1%", 0.01: "1%", 0.1: "10%", 1.0: f"{high}100%"}
    return Axis(0.001, 1.0, ticks, log=True)


def spread_axis(values: Sequence[float]) -> Axis:
    """Return an axis from 0 to a round number above the values, within 0.1 to 1000."""
    lowest, highest = _SPREADS
    largest = min(max(*values, lowest), highest)
    decade = 10.0 ** math.floor(math.log10(largest))
    top = next(decade * step for step in (1, 2, 5, 10) if decade * step >= largest)
    cut = "≥ " if max(values) > top else ""
    return Axis(0.0, top, {0.0: "0", top / 2: f"{top / 2:g}", top: f"{cut}{top:g}"})


def _power_of_ten(power: int) -> str:
    return f"{10.0**power:g}" if abs(power) <= 3 else element_label(f"10^{power}")
