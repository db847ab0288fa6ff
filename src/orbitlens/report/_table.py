"""Tables of the pages: two rows of headings, and the best entries marked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbitlens.report._notation import figure, finite

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """Text of one entry, and whether it is the best of its column or row."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """Heading of a row, small print below it, the colour slot of its SAE, and its entries."""

    heading: str
    details: tuple[str, ...]
    slot: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Heading:
    """Heading of one column, its explanation, and whether it is the first of its span."""

    heading: str
    meaning: str
    first: bool


@dataclass(frozen=True)
class Span:
    """Heading of several columns, their number, the colour slot of their SAE, an explanation."""

    heading: str
    columns: int
    slot: int | None = None
    meaning: str = ""


@dataclass(frozen=True)
class Column:
    """A figure of every row: its key in the records, heading, explanation, and text.

    The better value is "low" or "high", or None where neither is better.
    """

    key: str
    heading: str
    meaning: str
    better: str | None = None
    write: Callable[[Any], str] = figure


@dataclass(frozen=True)
class Table:
    """Caption, heading of the row headings, upper and lower column headings, and rows."""

    caption: str
    corner: str
    spans: tuple[Span, ...]
    columns: tuple[Heading, ...]
    rows: tuple[Row, ...]

    @property
    def legend(self) -> dict[str, str]:
        """Explanations by heading, each once."""
        entries: tuple[Span | Heading, ...] = (*self.spans, *self.columns)
        return {entry.heading: entry.meaning for entry in entries if entry.meaning}


def recorded_columns(
    groups: Mapping[str, Sequence[Column]], records: Sequence[Record]
) -> dict[str, list[Column]]:
    """Keep the columns that have a figure in some record, and the groups that have a column."""
    shown = {
        heading: [c for c in columns if any(r.get(c.key) is not None for r in records)]
        for heading, columns in groups.items()
    }
    return {heading: columns for heading, columns in shown.items() if columns}


def make_headings(
    groups: Mapping[str, Sequence[Column]], meanings: Mapping[str, str]
) -> tuple[tuple[Span, ...], tuple[Heading, ...]]:
    """Return the two rows of headings; `meanings` explains some of the groups."""
    spans = (
        Span(heading, len(columns), meaning=meanings.get(heading, ""))
        for heading, columns in groups.items()
    )
    headings = (
        Heading(column.heading, column.meaning, first=column is columns[0])
        for columns in groups.values()
        for column in columns
    )
    return tuple(spans), tuple(headings)


def is_completed(sae: Record) -> bool:
    """Say whether the training of an SAE ran to its end. Only then do its figures compete."""
    return sae.get("status") in (None, "completed")


def mark_best(
    values: Sequence[Any],
    write: Callable[[Any], str],
    better: str | None,
    competing: Sequence[bool],
) -> list[Cell]:
    """Write values and mark the best finite one among the competing ones.

    `better` is "low" or "high"; None marks nothing. Nothing is marked where all competing values
    are equal.
    """
    numbers = [
        finite(value) if competes else None
        for value, competes in zip(values, competing, strict=True)
    ]
    known = {number for number in numbers if number is not None}
    best = None
    if better is not None and len(known) > 1:
        best = min(known) if better == "low" else max(known)
    return [
        Cell(write(value), best is not None and number == best)
        for value, number in zip(values, numbers, strict=True)
    ]
