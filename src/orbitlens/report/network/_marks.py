"""What the picture of a network is made of, in pixels; the template draws it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """How one kind of figure is drawn, and what it is called in the legend.

    Args:
        label: What it is.
        shape: "dot", "ring", "square", "cross", "diamond" or "bar".
        colour: A variable of the style sheet.
        strength: Opacity, from 0 to 1.
    """

    label: str
    shape: str
    colour: str
    strength: float = 1.0


@dataclass(frozen=True)
class Series:
    """One figure of every layer, drawn as marks.

    Args:
        mark: How it is drawn.
        points: Where, in pixels; layers without the figure have none.
        trend: An SVG path through the points, with gaps where there are none.
        intervals: Left, right and height of each interval.
    """

    mark: Mark
    points: tuple[tuple[float, float], ...]
    trend: str
    intervals: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Bar:
    """One piece of a stacked bar.

    Args:
        mark: How it is drawn.
        x: Its left edge.
        y: The middle of its row.
        width: Its width.
    """

    mark: Mark
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Panel:
    """One chart of the picture.

    Args:
        heading: What it shows.
        unit: What its axis is.
        width: Its width in pixels.
        legend: What its marks are.
        ticks: Place and label of each tick.
        series: What is drawn as marks, the lowest first.
        bars: What is drawn as bars.
        readings: The figures of each row, written out.
    """

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
    """The name of a layer beside its row.

    Args:
        short: The name as it fits.
        full: The whole name.
        y: The middle of the row.
        verdict: The mark of the layer's verdict, or None where there is none.
    """

    short: str
    full: str
    y: float
    verdict: Mark | None


@dataclass(frozen=True)
class NetworkChart:
    """The picture of a network.

    Args:
        names_width: Width of the names in pixels.
        height: Height in pixels.
        axis: Height of the ticks above the first and below the last row.
        row: Height of a row.
        legend: The marks of the verdicts.
        names: The names of the rows.
        panels: The panels, from left to right.
    """

    names_width: float
    height: float
    axis: float
    row: float
    legend: tuple[Mark, ...]
    names: tuple[RowName, ...]
    panels: tuple[Panel, ...]
