"""The panels of a network's picture that show the use of parts. All sizes are in pixels."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from orbitlens.report._notation import figure, short_name
from orbitlens.report._table import Record
from orbitlens.report.network._branches import layer_name
from orbitlens.report.network._parts import Mark, Panel, Series
from orbitlens.report.network._use import USE_KINDS, LayerUse, part_names

USE_WEIGHT = 200.0
# The picture gets so much wider with each such panel.
USE_ROOM = 140.0
# With more parts than this, a row shows the smallest and the largest of them.
MOST_PARTS = 6
_SHAPES = ("dot", "square", "diamond", "ring", "cross", "dot")
_SLOTS = (1, 2, 3, 4, 5, 0)
_STEP, _ROOM = 6.0, 9.0
_LONGEST_PART = 22
_Value = Callable[[LayerUse], float | None]


def shown_kinds(placed: Mapping[int, LayerUse]) -> list[str]:
    """Return the kinds of use that have a figure in some row of the picture."""
    found = {use.kind for use in placed.values() if use.values}
    return [kind for kind in USE_KINDS if kind in found]


def use_panel(
    kind: str,
    width: float,
    padding: float,
    layers: Sequence[Record],
    placed: Mapping[int, LayerUse],
    rows: Sequence[float],
) -> Panel:
    """Lay out the parts of one kind, one mark each; `placed` says whose use stands in which row."""
    told = USE_KINDS[kind]
    own = {place: use for place, use in sorted(placed.items()) if use.kind == kind and use.values}
    axis = told.axis([value for use in own.values() for value in use.values])

    def place_of(value: float) -> float:
        return round(padding + axis.share(value) * (width - 2 * padding), 1)

    drawn = [
        Series(
            mark=mark,
            points=tuple(
                (place_of(value), round(rows[place] + shift, 1))
                for place, use in own.items()
                if (value := value_of(use)) is not None
            ),
            trend="",
            intervals=(),
        )
        for mark, shift, value_of in _marks(part_names(own.values(), kind), rows)
    ]
    return Panel(
        heading=told.heading,
        unit=told.unit,
        width=round(width, 1),
        legend=tuple(each.mark for each in drawn),
        ticks=tuple((place_of(value), label) for value, label in axis.ticks.items()),
        series=tuple(drawn),
        bars=(),
        readings=tuple(_reading(layer, kind, placed.get(i)) for i, layer in enumerate(layers)),
    )


def _marks(names: Sequence[str], rows: Sequence[float]) -> list[tuple[Mark, float, _Value]]:
    """Return the mark of each part, or of the ends of many; its shift in a row, and its value."""
    if len(names) > MOST_PARTS:
        return [
            (Mark("smallest part", "ring", "--ink"), 0.0, lambda use: min(use.values)),
            (Mark("largest part", "dot", "--accent"), 0.0, lambda use: max(use.values)),
        ]
    height = min((after - before for before, after in pairwise(rows)), default=math.inf)
    # Equal parts stand one above the other, so that each is seen.
    step = min(_STEP, (height - _ROOM) / max(len(names) - 1, 1))
    return [
        (
            Mark(short_name(name, _LONGEST_PART), shape, f"--series-{slot}"),
            step * (number - (len(names) - 1) / 2),
            partial(_value, name),
        )
        for number, (name, shape, slot) in enumerate(zip(names, _SHAPES, _SLOTS, strict=False))
    ]


def _value(name: str, use: LayerUse) -> float | None:
    part = use.parts.get(name)
    return None if part is None else part.value


def _reading(layer: Record, kind: str, use: LayerUse | None) -> str:
    told = USE_KINDS[kind]
    if use is None or use.kind != kind or not use.parts:
        return f"{layer_name(layer)}\n{told.heading}: {figure(None)}"
    parts = "; ".join(f"{name} {told.write(value)}" for name, value in use.parts.items())
    of = "" if use.layer == layer_name(layer) else f" of {use.layer}"
    return f"{layer_name(layer)}\n{told.heading}{of}: {parts}"
