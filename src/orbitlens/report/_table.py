"""A table as the page shows it: headings over headings, and the best entries marked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbitlens.report._numbers import figure, finite

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Args:
        text: What it says.
        best: Whether it is the best of its column or row.
    """

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        heading: What the row is about.
        details: What stands in small print under it; may be empty.
        slot: The colour of the SAE that the row is about, or None.
        cells: The entries.
    """

    heading: str
    details: tuple[str, ...]
    slot: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Heading:
    """A heading over one column.

    Args:
        heading: Its text.
        meaning: One line that explains it.
        first: Whether it is the first under its span.
    """

    heading: str
    meaning: str
    first: bool


@dataclass(frozen=True)
class Span:
    """A heading over several columns.

    Args:
        heading: Its text.
        columns: How many it spans.
        slot: The colour of the SAE that they are about, or None.
        meaning: One line that explains it; may be empty.
    """

    heading: str
    columns: int
    slot: int | None = None
    meaning: str = ""


@dataclass(frozen=True)
class Column:
    """One figure that every row has.

    Args:
        key: Its name in the records of the rows.
        heading: What stands over the column.
        meaning: One line that explains it.
        better: "low", "high", or None where neither is better.
        write: Turns the figure into text.
    """

    key: str
    heading: str
    meaning: str
    better: str | None = None
    write: Callable[[Any], str] = figure


@dataclass(frozen=True)
class Table:
    """A table with two rows of headings.

    Args:
        caption: What it shows.
        corner: What the row headings are.
        spans: The upper headings.
        columns: The lower headings.
        rows: The rows.
    """

    caption: str
    corner: str
    spans: tuple[Span, ...]
    columns: tuple[Heading, ...]
    rows: tuple[Row, ...]

    @property
    def legend(self) -> dict[str, str]:
        """Every heading that has an explanation, once."""
        entries: tuple[Span | Heading, ...] = (*self.spans, *self.columns)
        return {entry.heading: entry.meaning for entry in entries if entry.meaning}


def recorded(
    groups: Mapping[str, Sequence[Column]], records: Sequence[Record]
) -> dict[str, list[Column]]:
    """Leave out the figures that no record has, and the groups that have none.

    Args:
        groups: Columns by the heading over them.
        records: The figures of each row.

    Example:
        >>> x, y = Column("x", "X", "the first"), Column("y", "Y", "the second")
        >>> shown = recorded({"both": [x, y], "one": [y]}, [{"x": 1}])
        >>> {heading: len(columns) for heading, columns in shown.items()}
        {'both': 1}
    """
    shown = {
        heading: [c for c in columns if any(r.get(c.key) is not None for r in records)]
        for heading, columns in groups.items()
    }
    return {heading: columns for heading, columns in shown.items() if columns}


def head(
    groups: Mapping[str, Sequence[Column]], meanings: Mapping[str, str]
) -> tuple[tuple[Span, ...], tuple[Heading, ...]]:
    """Lay out the two rows of headings.

    Args:
        groups: Columns by the heading over them.
        meanings: One line that explains a group, where it needs one.
    """
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


def completed(sae: Record) -> bool:
    """Say whether an SAE's figures may compete: its training did not end early."""
    return sae.get("status") in (None, "completed")


def marked(
    values: Sequence[Any],
    write: Callable[[Any], str],
    better: str | None,
    competing: Sequence[bool],
) -> list[Cell]:
    """Write values and mark the best of them.

    Args:
        values: Numbers, or None.
        write: Turns a value into text.
        better: "low" or "high"; None marks nothing.
        competing: Which of them may be marked; a value that is not finite never is.

    Returns:
        One cell per value; none is marked where all that compete are equal.

    Example:
        >>> [cell.best for cell in marked([3, 1, 2], str, "low", [True, False, True])]
        [False, False, True]
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
