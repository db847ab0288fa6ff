"""The grid of a choice between groups: a row for each layer, a column for each group."""

from collections.abc import Sequence
from dataclasses import dataclass

from orbitlens.report._notation import finite, score
from orbitlens.report._readings import part
from orbitlens.report._table import Record
from orbitlens.report.network._branches import feeding, layer_name
from orbitlens.report.network._groups_readings import groups_of, layers_under, shown_layers
from orbitlens.report.network._words import EQUIVARIANT, NONE, kind_of, lowest_band


@dataclass(frozen=True)
class GroupCell:
    """One layer under one group: R^2, short verdict, classes of its shade, and all as text."""

    r2: str
    verdict: str
    shade: str
    reading: str
    chosen: bool


@dataclass(frozen=True)
class GroupRow:
    """One layer: its name, what feeds it unless it is the row above, and a cell per group."""

    layer: str
    fed_by: str
    chosen: str
    cells: tuple[GroupCell | None, ...]


@dataclass(frozen=True)
class GroupGrid:
    """The names of the groups, and the rows of the layers in the order of the calls."""

    groups: tuple[str, ...]
    rows: tuple[GroupRow, ...]


def make_grid(record: Record) -> GroupGrid:
    """Lay out the figures of every layer under every group."""
    layers, chosen = shown_layers(record), part(record, "chosen")
    names = [str(group.get("name")) for group in groups_of(record)]
    rows = {name: {each.layer: each.row for each in layers_under(record, name)} for name in names}
    before = feeding(layers)
    return GroupGrid(
        groups=tuple(names),
        rows=tuple(
            GroupRow(
                layer=layer_name(layer),
                fed_by=_fed_by(layers, before[place], place),
                chosen=str(chosen.get(layer_name(layer)) or NONE),
                cells=tuple(
                    None
                    if (row := rows[name].get(layer_name(layer))) is None
                    else _cell(row, chosen=chosen.get(layer_name(layer)) == name)
                    for name in names
                ),
            )
            for place, layer in enumerate(layers)
        ),
    )


def _fed_by(layers: Sequence[Record], places: Sequence[int], place: int) -> str:
    if place == 0 or tuple(places) == (place - 1,):
        return ""
    return ", ".join(layer_name(layers[each]) for each in places) or "the input"


def _cell(row: Record, *, chosen: bool) -> GroupCell:
    figures = (
        ("R²", row.get("r2")),
        ("unconstrained", row.get("free_r2")),
        ("identity", row.get("identity_r2")),
        ("shuffled elements", row.get("control_r2")),
    )
    verdict = str(row.get("verdict") or "")
    known = [f"{name} {score(value)}" for name, value in figures if value is not None]
    low, high = finite(row.get("r2_low")), finite(row.get("r2_high"))
    if low is not None and high is not None:
        known.append(f"95% interval {score(low)} to {score(high)}")
    kind = kind_of(row)
    # The shade says that it is equivariant, and that it is none; so a cell fits on a line.
    short = verdict.removesuffix(f" {EQUIVARIANT}").removeprefix(f"{NONE}, ")
    return GroupCell(
        r2=score(row.get("r2")),
        verdict=short,
        shade=f"{kind} {lowest_band(row)}".strip() or NONE,
        reading="; ".join(filter(None, (verdict, *known))),
        chosen=chosen,
    )
