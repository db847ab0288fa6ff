"""The picture of a network: one row per layer, and panels side by side.

All sizes are in pixels; the template draws the picture in the colours of the page.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orbitlens.report._notation import IrrepStyle, figure, finite, percent, score, short_name
from orbitlens.report._table import Record
from orbitlens.report.network._branches import feeding, layer_name
from orbitlens.report.network._parts import (
    Axis,
    Bar,
    Mark,
    NetworkChart,
    Panel,
    RowName,
    Series,
    log_axis,
    r2_axis,
    unit_axis,
)
from orbitlens.report.network._use import LayerUse, places_in_picture
from orbitlens.report.network._use_chart import USE_ROOM, USE_WEIGHT, shown_kinds, use_panel
from orbitlens.report.network._words import legend_of, verdict_mark

_NAMES_WIDTH = 190.0
_PANELS_WIDTH = 1026.0
_PADDING = 24.0
_AXIS = 22.0
_LONGEST_NAME = 25
# Rows get narrower the more there are: (up to so many layers, pixels per row).
_ROW_HEIGHTS = ((40, 24.0), (80, 20.0), (math.inf, 16.0))


@dataclass(frozen=True)
class _Kind:
    """A kind of panel: its figures, the lowest first, and how to choose an axis and write values.

    `weight` is its width relative to the other panels.
    """

    heading: str
    unit: str
    weight: float
    marks: Mapping[str, Mark]
    axis: Callable[[Sequence[float]], Axis]
    write: Callable[[object], str]


_KINDS = (
    _Kind(
        "R²",
        "share of variance predicted",
        260.0,
        {
            "control_r2": Mark("shuffled elements", "cross", "--muted"),
            "identity_r2": Mark("identity, no transport", "square", "--baseline"),
            "free_r2": Mark("unconstrained", "ring", "--ink"),
            "r2": Mark("exact, with 95% interval", "dot", "--accent"),
        },
        r2_axis,
        score,
    ),
    _Kind(
        "Relation error",
        "log scale",
        166.0,
        {"relation_error": Mark("unconstrained", "ring", "--ink")},
        log_axis,
        figure,
    ),
    _Kind(
        "Scores",
        "canonical correlation",
        160.0,
        {
            "invariance_score": Mark("invariance", "square", "--series-0"),
            "equivariance_score": Mark("equivariance", "dot", "--accent"),
        },
        unit_axis,
        score,
    ),
    _Kind(
        "Lie derivative",
        "error, log scale",
        192.0,
        {
            "lie_translation": Mark("translation, per pixel", "diamond", "--series-4"),
            "lie_rotation": Mark("rotation, per degree", "dot", "--series-2"),
        },
        log_axis,
        figure,
    ),
)
_SPECTRUM, _SPECTRUM_WEIGHT = "Symmetry spectrum", 248.0


def network_chart(
    layers: Sequence[Record], irreps: Sequence[IrrepStyle], uses: Sequence[LayerUse] = ()
) -> NetworkChart | None:
    """Lay out the picture of the layers, without panels that have no finite figure.

    `irreps` are in the order of each layer's spectrum; `uses` say how much layers use of their
    parts. None stands for no layers.
    """
    if not layers:
        return None
    row = next(height for most, height in _ROW_HEIGHTS if len(layers) <= most)
    rows = [_AXIS + row * (place + 0.5) for place in range(len(layers))]
    shown = [
        kind
        for kind in _KINDS
        if any(finite(layer.get(key)) is not None for layer in layers for key in kind.marks)
    ]
    spectra = any(_shares(layer, irreps) for layer in layers)
    placed = places_in_picture(layers, uses)
    used = shown_kinds(placed)
    weights = [kind.weight for kind in shown]
    weights += [_SPECTRUM_WEIGHT] * spectra + [USE_WEIGHT] * len(used)
    scale = (_PANELS_WIDTH + USE_ROOM * len(used)) / (sum(weights) or 1.0)
    panels = [_mark_panel(kind, kind.weight * scale, layers, rows) for kind in shown]
    # Beside R², if there is one: how much is predicted, which irreps carry it, and by which parts.
    place = 1 if _KINDS[0] in shown else 0
    panels[place:place] = [
        *([_spectrum_panel(_SPECTRUM_WEIGHT * scale, layers, irreps, rows)] if spectra else []),
        *(use_panel(kind, USE_WEIGHT * scale, _PADDING, layers, placed, rows) for kind in used),
    ]
    verdicts = [verdict_mark(layer) for layer in layers]
    return NetworkChart(
        names_width=_NAMES_WIDTH,
        height=2 * _AXIS + row * len(layers),
        axis=_AXIS,
        row=row,
        legend=legend_of(verdicts),
        names=tuple(
            RowName(short_name(layer_name(layer), _LONGEST_NAME), layer_name(layer), y, verdict)
            for layer, y, verdict in zip(layers, rows, verdicts, strict=True)
        ),
        panels=tuple(panels),
    )


def _mark_panel(
    kind: _Kind, width: float, layers: Sequence[Record], rows: Sequence[float]
) -> Panel:
    columns = {key: [finite(layer.get(key)) for layer in layers] for key in kind.marks}
    axis = kind.axis([v for column in columns.values() for v in column if v is not None])
    before = feeding(layers)

    def place(value: float) -> float:
        return round(_PADDING + axis.share(value) * (width - 2 * _PADDING), 1)

    series = []
    for key, mark in kind.marks.items():
        points = [
            None if value is None else (place(value), y)
            for value, y in zip(columns[key], rows, strict=True)
        ]
        if any(points):
            series.append(
                Series(
                    mark=mark,
                    points=tuple(point for point in points if point is not None),
                    trend=_trend(points, before),
                    intervals=_intervals(layers, rows, place) if key == "r2" else (),
                )
            )
    return Panel(
        heading=kind.heading,
        unit=kind.unit,
        width=round(width, 1),
        legend=tuple(each.mark for each in reversed(series)),
        ticks=tuple((place(value), label) for value, label in axis.ticks.items()),
        series=tuple(series),
        bars=(),
        readings=tuple(_reading(layer, kind) for layer in layers),
    )


def _intervals(
    layers: Sequence[Record], rows: Sequence[float], place: Callable[[float], float]
) -> tuple[tuple[float, float, float], ...]:
    return tuple(
        (place(low), place(high), y)
        for layer, y in zip(layers, rows, strict=True)
        if (low := finite(layer.get("r2_low"))) is not None
        and (high := finite(layer.get("r2_high"))) is not None
    )


def _trend(points: Sequence[tuple[float, float] | None], before: Sequence[Sequence[int]]) -> str:
    """Draw lines to each point from those of the layers that feed its layer."""
    steps: list[str] = []
    pen: tuple[float, float] | None = None
    for point, places in zip(points, before, strict=True):
        if point is None:
            continue
        starts = [start for place in places if (start := points[place]) is not None]
        for start in starts:
            steps += [] if start == pen else [f"M{start[0]} {start[1]}"]
            steps.append(f"L{point[0]} {point[1]}")
            pen = point
        if not starts:
            steps.append(f"M{point[0]} {point[1]}")
            pen = point
    return "".join(steps)


def _reading(layer: Record, kind: _Kind) -> str:
    figures = [
        f"{mark.label.partition(',')[0]} {kind.write(layer.get(key))}"
        for key, mark in reversed(list(kind.marks.items()))
    ]
    return f"{layer_name(layer)}\n{kind.heading}: {'; '.join(figures)}"


def _shares(layer: Record, irreps: Sequence[IrrepStyle]) -> list[float]:
    """Return the spectrum of a layer, empty unless it is complete."""
    shares = [finite(share) for share in layer.get("spectrum") or ()]
    known = [max(share, 0.0) for share in shares if share is not None]
    return known if len(known) == len(shares) == len(irreps) else []


def _spectrum_panel(
    width: float, layers: Sequence[Record], irreps: Sequence[IrrepStyle], rows: Sequence[float]
) -> Panel:
    marks = tuple(Mark(i.label, "bar", f"--series-{i.slot}", i.strength) for i in irreps)
    room = width - 2 * _PADDING
    bars, readings = [], []
    for layer, y in zip(layers, rows, strict=True):
        shares = _shares(layer, irreps)
        left, written = 0.0, []
        for mark, share in zip(marks, shares, strict=False):
            right = min(left + share, 1.0)
            if right > left:
                x = round(_PADDING + left * room, 1)
                bars.append(Bar(mark, x, y, round(_PADDING + right * room - x, 1)))
            left = right
            written.append(f"{mark.label} {percent(share)}")
        readings.append(f"{layer_name(layer)}\n{_SPECTRUM}: {'; '.join(written) or figure(None)}")
    return Panel(
        heading=_SPECTRUM,
        unit="share of the energy",
        width=round(width, 1),
        legend=marks,
        ticks=tuple((round(_PADDING + s * room, 1), f"{s:.0%}") for s in (0.0, 0.5, 1.0)),
        series=(),
        bars=tuple(bars),
        readings=tuple(readings),
    )
