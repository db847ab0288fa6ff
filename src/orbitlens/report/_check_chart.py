"""The picture of a check: one row per error, on one logarithmic axis. Sizes are in pixels."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from orbitlens.report._notation import figure, finite, short_name
from orbitlens.report._table import Record
from orbitlens.report.network._parts import Mark, NetworkChart, Panel, RowName, Series, log_axis

_NAMES, _WIDTH, _PADDING, _AXIS = 140.0, 360.0, 26.0, 22.0
_ROW, _NARROW, _MANY = 24.0, 16.0, 60
_APART = 0.24  # of a row, between the middles of two marks
_LONGEST_NAME = 17
_LOWEST = 1e-7  # below the axis: where an error of 0 is drawn


def check_chart(
    rows: Mapping[str, Mapping[str, Record | None]],
    marks: Mapping[str, Mark],
    unit: str,
    words: Mapping[str, str] = MappingProxyType({}),
) -> NetworkChart | None:
    """Lay out errors: `rows` has for each row the figures of each mark; None without any.

    Figures are a record with "mean" and, where there is a spread, its ends "low" and "high". Marks
    are drawn in their order, the first above the others. `words` explains the names of rows.
    """
    known = {
        key: [_mean(row.get(key)) for row in rows.values()]
        for key in marks
        if any(_mean(row.get(key)) is not None for row in rows.values())
    }
    ends = [
        end
        for row in rows.values()
        for key in known
        for side in ("low", "high")
        if (end := finite((row.get(key) or {}).get(side))) is not None
    ]
    values = [value for column in known.values() for value in column if value is not None] + ends
    if not values:
        return None
    axis = log_axis([value or _LOWEST for value in values])
    full = {name: f"{name}, {words[name]}" if words.get(name) else name for name in rows}
    height = _ROW if len(rows) <= _MANY else _NARROW
    places = [_AXIS + height * (place + 0.5) for place in range(len(rows))]

    def beside(key: str, y: float) -> float:
        """Return the height of a mark: intervals that overlap lie below each other."""
        offset = list(known).index(key) - (len(known) - 1) / 2
        return round(y + _APART * height * offset, 1)

    def place(value: float) -> float:
        return round(_PADDING + axis.share(value) * (_WIDTH - 2 * _PADDING), 1)

    def spread(row: Record | None, y: float) -> list[tuple[float, float, float]]:
        low, high = (finite((row or {}).get(key)) for key in ("low", "high"))
        if low is None or high is None:
            return []
        return [(place(max(low, 0.0)), place(max(high, 0.0)), y)]

    series = [
        Series(
            mark=marks[key],
            points=tuple(
                (place(value), beside(key, y))
                for value, y in zip(known[key], places, strict=True)
                if value is not None
            ),
            trend="",
            intervals=tuple(
                each
                for row, y in zip(rows.values(), places, strict=True)
                for each in spread(row.get(key), beside(key, y))
            ),
        )
        for key in reversed(known)
    ]
    panel = Panel(
        heading="Error",
        unit=unit,
        width=_WIDTH,
        legend=tuple(marks[key] for key in known),
        ticks=tuple((place(value), label) for value, label in axis.ticks.items()),
        series=tuple(series),
        bars=(),
        readings=tuple(_reading(full[name], row, marks, list(known)) for name, row in rows.items()),
    )
    return NetworkChart(
        names_width=_NAMES,
        height=2 * _AXIS + height * len(rows),
        axis=_AXIS,
        row=height,
        legend=(),
        names=tuple(
            RowName(short_name(name, _LONGEST_NAME), full[name], y, None)
            for name, y in zip(rows, places, strict=True)
        ),
        panels=(panel,),
    )


def _mean(row: Record | None) -> float | None:
    value = finite((row or {}).get("mean"))
    return None if value is None else max(value, 0.0)


def _reading(
    name: str,
    row: Mapping[str, Record | None],
    marks: Mapping[str, Mark],
    known: Sequence[str],
) -> str:
    told = [
        f"{marks[key].label.partition(',')[0]} {figure((row.get(key) or {}).get('mean'))}"
        for key in known
    ]
    return f"{name}\n{'; '.join(told)}"
