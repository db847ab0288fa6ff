"""A table as the page shows it: headings over headings, and the best entries marked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbitlens.report.numbers import finite

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
