"""The tables of the probes: task families or numbers of latents against SAEs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orbitlens.report._names import SaeStyle
from orbitlens.report._numbers import figure, score
from orbitlens.report._table import Heading, Record, Row, Span, Table, completed, marked

_FAMILIES = {
    "S": "a shape, anywhere",
    "SO": "a shape in an orientation",
    "SP": "a shape in a quadrant",
    "SPO": "a shape, quadrant and orientation",
}
_ORIENTATIONS = {
    "none": ("F1", "Macro F1 over the tasks of the row; no transport is applied"),
    "oracle": ("oracle", "F1 where the truncated reconstruction is moved by the true g"),
    "inferred": ("inferred", "F1 where it is moved by the inferred ĝ, without knowing g"),
}
_READOUTS = {
    "invariant": ("invariant", "F1 where probes see codes summed over the group"),
    "oriented": ("oriented", "F1 where they see truncated reconstructions of turned atoms"),
}
_SCORES = {
    "accuracy": ("Accuracy", "Share of held-out samples classified rightly"),
    "macro_f1": ("Macro F1", "F1 averaged over the classes"),
}


@dataclass(frozen=True)
class _Column:
    """One column of a table.

    Args:
        sae: Name of the SAE.
        heading: What stands over the column.
        meaning: One line that explains it.
        contest: Columns of one contest compete for the best entry of a row; None competes nowhere.
        values: The entry of each row.
    """

    sae: str
    heading: str
    meaning: str
    contest: str | None
    values: Mapping[Any, Any]


def probe_tables(saes: Record, styles: Mapping[str, SaeStyle]) -> list[Table]:
    """Lay out what the probes found.

    Binary tasks (kind "shapes") get one table per number of latents, with a row per task family and
    the protocols with the true and with the inferred orientation, or the two readouts of an orbit
    SAE, side by side. Classes (kind
    "logistic") get one table with a row per number of latents. The best entry of a row is marked;
    entries that were told the true orientation do not compete.

    Args:
        saes: The figures of each SAE; `probe` may be missing or None.
        styles: Label and colour of each SAE.

    Returns:
        The tables; none where nothing was probed.

    Example:
        >>> from orbitlens.report._names import sae_styles
        >>> row = {"latents": 2, "accuracy": 0.9, "macro_f1": 0.8}
        >>> saes = {"vanilla": {"probe": {"kind": "logistic", "classes": 10, "rows": [row]}}}
        >>> [cell.text for cell in probe_tables(saes, sae_styles(saes))[0].rows[0].cells]
        ['0.900', '0.800']
    """
    records = {name: sae or {} for name, sae in saes.items()}
    return [
        *_family_tables(_rows_of(records, "shapes"), records, styles),
        *_class_tables(_rows_of(records, "logistic"), records, styles),
    ]


def _rows_of(records: Record, kind: str) -> dict[str, list[Record]]:
    """Collect the rows of the SAEs that were probed in one way."""
    probes = {name: record.get("probe") or {} for name, record in records.items()}
    return {
        name: list(probe["rows"])
        for name, probe in probes.items()
        if probe.get("kind") == kind and probe.get("rows")
    }


def _family_tables(
    rows: Mapping[str, list[Record]], records: Record, styles: Mapping[str, SaeStyle]
) -> list[Table]:
    everything = [row for sae in rows.values() for row in sae]
    families = dict.fromkeys([*_FAMILIES, *(row["task"] for row in everything)])
    tasks = {row["task"]: row.get("tasks") for row in everything}
    tables = []
    for latents in sorted({row["latents"] for row in everything}):
        columns = []
        for name, found in rows.items():
            here = [row for row in found if row["latents"] == latents]
            for protocol in dict.fromkeys(map(_protocol, here)):
                heading, meaning = {**_ORIENTATIONS, **_READOUTS}.get(protocol, (protocol, ""))
                contest = None if protocol == "oracle" else "F1"
                values = {row["task"]: row.get("f1") for row in here if _protocol(row) == protocol}
                columns.append(_Column(name, heading, meaning, contest, values))
        headings = {
            family: (family, _family_details(family, tasks[family]))
            for family in families
            if family in tasks
        }
        caption = f"F1 of probes that see {_counted(latents, 'latent')}, by task family"
        tables.append(_grid(caption, "Task", headings, columns, records, styles))
    return tables


def _protocol(row: Record) -> str:
    """Whose orientation a probe was told, or which readout of an orbit SAE it sees."""
    return str(row.get("readout") or row["orientation"])


def _family_details(family: str, tasks: int | None) -> tuple[str, ...]:
    count = _counted(tasks, "task") if tasks else ""
    return tuple(filter(None, (_FAMILIES.get(family, ""), count)))


def _counted(count: int, thing: str) -> str:
    return f"{figure(count)} {thing}{'' if count == 1 else 's'}"


def _class_tables(
    rows: Mapping[str, list[Record]], records: Record, styles: Mapping[str, SaeStyle]
) -> list[Table]:
    counts = sorted({row["latents"] for sae in rows.values() for row in sae})
    if not counts:
        return []
    columns = [
        _Column(name, heading, meaning, key, {row["latents"]: row.get(key) for row in found})
        for name, found in rows.items()
        for key, (heading, meaning) in _SCORES.items()
    ]
    classes = next((records[name]["probe"].get("classes") for name in rows), None)
    into = f" into {figure(classes)} classes" if classes else ""
    headings = {count: (figure(count), ()) for count in counts}
    caption = f"Logistic probes{into}, by the number of latents they see"
    return [_grid(caption, "Latents", headings, columns, records, styles)]


def _grid(
    caption: str,
    corner: str,
    headings: Mapping[Any, tuple[str, tuple[str, ...]]],
    columns: list[_Column],
    records: Record,
    styles: Mapping[str, SaeStyle],
) -> Table:
    counts = {
        name: sum(column.sae == name for column in columns)
        for name in dict.fromkeys(column.sae for column in columns)
    }
    rows = []
    for key, (heading, details) in headings.items():
        values = [column.values.get(key) for column in columns]
        cells = marked(values, score, None, [False] * len(values))
        for contest in {column.contest for column in columns} - {None}:
            competing = [c.contest == contest and completed(records[c.sae]) for c in columns]
            judged = marked(values, score, "high", competing)
            cells = [new if new.best else old for new, old in zip(judged, cells, strict=True)]
        rows.append(Row(heading=heading, details=details, slot=None, cells=tuple(cells)))
    return Table(
        caption=caption,
        corner=corner,
        spans=tuple(Span(styles[name].label, n, styles[name].slot) for name, n in counts.items()),
        columns=tuple(
            Heading(
                column.heading, column.meaning, first=i == 0 or columns[i - 1].sae != column.sae
            )
            for i, column in enumerate(columns)
        ),
        rows=tuple(rows),
    )
