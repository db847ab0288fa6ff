"""Tables of a run: one of all SAEs, and those of the probes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orbitlens.metrics._turning_words import TURNS
from orbitlens.report._notation import SaeStyle, figure, finite, percent, score
from orbitlens.report._readings import competes
from orbitlens.report._table import (
    Column,
    Heading,
    Record,
    Row,
    Span,
    Table,
    is_completed,
    make_headings,
    mark_best,
    recorded_columns,
)

_Styles = Mapping[str, SaeStyle]

_MEANINGS = {
    "Reconstruction, as it comes": "D(E(ψ(gx))) compared with ψ(gx)",
    "Reconstruction, transported": "ρ(g) D(E(ψ(gx))) compared with ψ(gx), with the true g",
}


def _reconstruction(prefix: str) -> tuple[Column, ...]:
    explained = "Share of the variance explained, 1 − normalised MSE"
    unexplained = "Share of the variance left unexplained: 0 is perfect, 1 no better than the mean"
    return (
        Column(f"{prefix}mse", "MSE", "Mean squared error per dimension", "low"),
        Column(f"{prefix}normalised_mse", "Norm. MSE", unexplained, "low"),
        Column(f"{prefix}explained_variance", "Expl. var.", explained, "high", score),
    )


_SAE_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Reconstruction, as it comes": _reconstruction(""),
    "Reconstruction, transported": (
        *_reconstruction("transported_"),
        Column(
            "inferred_normalised_mse",
            "Norm. MSE by ĝ",
            "The same without knowing g: moved by ĝ = argmin ‖ψ(gx) − ρ(ĝ) D(E(ψ(gx)))‖",
            "low",
        ),
    ),
    "Base model": (
        Column(
            "spliced_mse",
            "Spliced MSE",
            "Error of the base model's output when the reconstruction replaces the activation",
            "low",
        ),
    ),
    "Sparsity": (
        Column("l0", "L0", "Mean number of active latents per activation", None),
        Column("dead_latents", "Dead", "Latents that fire for no held-out sample", "low"),
    ),
    "Symmetry": (
        Column(
            "code_invariance_error",
            "Code inv. error",
            "Change of the code when the input is moved: 0 no change, 1 other latents fire. For an "
            "orbit SAE, of the code summed over the group",
            "low",
        ),
        Column(
            "output_invariance_error",
            "Output inv. error",
            "Change of D(E(ψ(gx))) when the input is moved: 0 no change",
            "low",
        ),
        Column(
            "equivariance_error",
            "Equiv. error",
            "Distance of the final reconstruction of gx from ρ(g) times that of x, relative to its "
            "variance",
            "low",
        ),
        Column(
            "orientation_accuracy",
            "Orient. found",
            "Share of samples with the right inferred ĝ",
            "high",
            percent,
        ),
        Column(
            "moved_codes",
            "Codes moved",
            "Orbit SAE: share of active codes that move as predicted when the input moves, "
            "z(hx)[hg] active where z(x)[g] is",
            "high",
            percent,
        ),
    ),
}

_OTHER_FEATURES = (
    Column(
        "invariant_features",
        "Are invariant",
        "More than half of the strength of the codes stays when the input moves",
    ),
    Column("other_features", "Do neither", "Neither share is clearly above one half"),
    Column(
        "rare_features",
        "Are too rare",
        "The feature fires on the orbits of fewer than 10 held-out inputs, too few to tell",
    ),
)


def sae_table(saes: Record, styles: _Styles) -> Table:
    """Lay out the figures of all SAEs, one row each, without the figures that no SAE has.

    The best finite value of each column is marked, among the SAEs that compete, see `competes`.
    """
    return _of_columns(_SAE_COLUMNS, "Every SAE on held-out activations", saes, styles)


def features_table(saes: Record, styles: _Styles, moving: str) -> Table | None:
    """Lay out how many features of each SAE move, are invariant or do neither.

    `moving` is the word for the first, see `moving_word`. A run of an earlier version has no such
    table.
    """
    first = Column(
        "turning_features",
        "Turn" if moving == TURNS else "Move",
        "More than half of the strength of the codes of moved inputs is where the group puts it: "
        f"the feature {moving}",
    )
    columns = {"Features that": (first, *_OTHER_FEATURES)}
    table = _of_columns(columns, "What the features of every SAE do", saes, styles)
    return table if table.columns else None


def _of_columns(
    columns: Mapping[str, tuple[Column, ...]], caption: str, saes: Record, styles: _Styles
) -> Table:
    records = {name: sae or {} for name, sae in saes.items()}
    shown = recorded_columns(columns, list(records.values()))
    spans, headings = make_headings(shown, _MEANINGS)
    cells = [
        mark_best(
            [record.get(c.key) for record in records.values()],
            c.write,
            c.better,
            [competes(record) and _explains(record, c.key) for record in records.values()],
        )
        for group in shown.values()
        for c in group
    ]
    return Table(
        caption=caption,
        corner="SAE",
        spans=spans,
        columns=headings,
        rows=tuple(
            Row(
                heading=styles[name].label,
                details=_size(record),
                slot=styles[name].slot,
                cells=tuple(column[i] for column in cells),
            )
            for i, (name, record) in enumerate(records.items())
        ),
    )


def _explains(record: Record, key: str) -> bool:
    """Say whether the reconstruction of a column explains anything, an R^2 from 0."""
    prefix = next((p for p in ("transported_", "inferred_") if key.startswith(p)), "")
    if key.removeprefix(prefix) not in ("mse", "normalised_mse", "explained_variance"):
        return True
    error = finite(record.get(f"{prefix}normalised_mse"))
    return error is None or error <= 1


def _size(record: Record) -> tuple[str, ...]:
    """Describe the size of an SAE, and its status if its training was not completed."""
    parts = [
        f"{figure(record['atoms'])} atoms" if record.get("atoms") else "",
        f"{figure(record['d_sae'])} latents" if record.get("d_sae") else "",
        f"k = {record['k']}" if record.get("k") else "",
        f"{figure(record['parameters'])} parameters" if record.get("parameters") else "",
        "" if is_completed(record) else str(record["status"]),
    ]
    return tuple(filter(None, parts))


_FAMILIES = {
    "S": "a shape, anywhere",
    "SO": "a shape in an orientation",
    "SP": "a shape in a quadrant",
    "SPO": "a shape, quadrant and orientation",
}
_PROTOCOLS = {
    "none": ("F1", "Macro F1 over the tasks of the row, without a transport"),
    "oracle": ("oracle", "F1 with the truncated reconstruction moved by the true g"),
    "inferred": ("inferred", "F1 with it moved by the inferred ĝ, without knowing g"),
    "invariant": ("invariant", "F1 of probes on codes summed over the group"),
    "oriented": ("oriented", "F1 of probes on truncated reconstructions of turned atoms"),
}
_SCORES = {
    "accuracy": ("Accuracy", "Share of held-out samples classified correctly"),
    "macro_f1": ("Macro F1", "F1 averaged over the classes"),
}


@dataclass(frozen=True)
class _Entries:
    """One column of a table of probes, with the value of each row.

    Columns of one contest compete for the best entry of a row; None never competes.
    """

    sae: str
    heading: str
    meaning: str
    contest: str | None
    values: Mapping[Any, Any]


def probe_tables(saes: Record, styles: _Styles) -> list[Table]:
    """Lay out the scores of the probes; no table where there are none.

    Binary tasks (kind "shapes") get one table per number of latents, with one row per task family.
    Its columns are the protocols, or the two readouts of an orbit SAE. Classes (kind "logistic")
    get one table, with one row per number of latents. The best entry of each row is marked; entries
    that know the true orientation do not compete.
    """
    records = {name: sae or {} for name, sae in saes.items()}
    return [
        *_family_tables(_rows_of(records, "shapes"), records, styles),
        *_class_tables(_rows_of(records, "logistic"), records, styles),
    ]


def _rows_of(records: Record, kind: str) -> dict[str, list[Record]]:
    """Return the rows of each SAE with probes of one kind."""
    probes = {name: record.get("probe") or {} for name, record in records.items()}
    return {
        name: rows
        for name, probe in probes.items()
        if probe.get("kind") == kind
        and (rows := [row for row in probe.get("rows") or () if row and _is_whole(row, kind)])
    }


def _is_whole(row: Record, kind: str) -> bool:
    """Say whether a row tells what it is about."""
    known = row.get("latents") is not None
    protocol = row.get("readout") or row.get("orientation")
    return known and (kind != "shapes" or None not in (row.get("task"), protocol))


def _family_tables(
    rows: Mapping[str, list[Record]], records: Record, styles: _Styles
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
                heading, meaning = _PROTOCOLS.get(protocol, (protocol, ""))
                contest = None if protocol == "oracle" else "F1"
                values = {row["task"]: row.get("f1") for row in here if _protocol(row) == protocol}
                columns.append(_Entries(name, heading, meaning, contest, values))
        headings = {
            family: (family, _family_details(family, tasks[family]))
            for family in families
            if family in tasks
        }
        caption = f"F1 of probes on {_count(latents, 'latent')}, by task family"
        tables.append(_grid(caption, "Task", headings, columns, records, styles))
    return tables


def _protocol(row: Record) -> str:
    """Return the readout of an orbit SAE, or which orientation the probe knew."""
    return str(row.get("readout") or row.get("orientation"))


def _family_details(family: str, tasks: int | None) -> tuple[str, ...]:
    count = _count(tasks, "task") if tasks else ""
    return tuple(filter(None, (_FAMILIES.get(family, ""), count)))


def _count(number: int, thing: str) -> str:
    return f"{figure(number)} {thing}{'' if number == 1 else 's'}"


def _class_tables(
    rows: Mapping[str, list[Record]], records: Record, styles: _Styles
) -> list[Table]:
    counts = sorted({row["latents"] for sae in rows.values() for row in sae})
    if not counts:
        return []
    columns = [
        _Entries(name, heading, meaning, key, {row["latents"]: row.get(key) for row in found})
        for name, found in rows.items()
        for key, (heading, meaning) in _SCORES.items()
    ]
    classes = next((records[name]["probe"].get("classes") for name in rows), None)
    into = f" into {figure(classes)} classes" if classes else ""
    headings = {count: (figure(count), ()) for count in counts}
    caption = f"Logistic probes{into}, by the number of latents"
    return [_grid(caption, "Latents", headings, columns, records, styles)]


def _grid(
    caption: str,
    corner: str,
    headings: Mapping[Any, tuple[str, tuple[str, ...]]],
    columns: list[_Entries],
    records: Record,
    styles: _Styles,
) -> Table:
    counts = {
        name: sum(column.sae == name for column in columns)
        for name in dict.fromkeys(column.sae for column in columns)
    }
    rows = []
    for key, (heading, details) in headings.items():
        values = [column.values.get(key) for column in columns]
        cells = mark_best(values, score, None, [False] * len(values))
        for contest in {column.contest for column in columns} - {None}:
            competing = [c.contest == contest and competes(records[c.sae]) for c in columns]
            judged = mark_best(values, score, "high", competing)
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
