"""Which group acts up to which layer, in one sentence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orbitlens.report._notation import finite, short_name
from orbitlens.report._readings import part
from orbitlens.report._table import Record
from orbitlens.report.network._branches import feeding, is_chain, layer_name
from orbitlens.report.network._readings import branch_sentence
from orbitlens.report.network._words import NONE, kind_of, span

_MOST_CHANGES = 3
_LONGEST = 40


@dataclass(frozen=True)
class Finding:
    """The figures of one layer under one group, and whether the group acts there."""

    layer: str
    row: Record

    @property
    def acts(self) -> bool:
        """Whether the verdict is that the group acts."""
        return kind_of(self.row) not in ("", NONE)


@dataclass(frozen=True)
class _Stretch:
    """Successive layers on which the same group is chosen; the first of them, and the one before.

    `before` is None at the start of the network.
    """

    group: str | None
    rows: list[int]
    before: int | None


def title(record: Record) -> str:
    """Name the network."""
    return f"Which group acts on {part(record, 'model').get('name') or 'a network'}"


def groups_of(record: Record) -> list[Record]:
    """Return the groups that were measured; older records name them in the ranking alone."""
    known = [group for group in record.get("groups") or () if group]
    if known:
        return known
    rows = [row for row in record.get("ranking") or () if row]
    names = dict.fromkeys(str(row.get("group")) for row in rows)
    orders = {str(row.get("group")): row.get("order") for row in rows}
    return [{"name": name, "order": orders[name]} for name in names]


def shown_layers(record: Record) -> list[Record]:
    """Return the layers in the order of the calls; older records name them in `chosen` alone."""
    known = [layer for layer in record.get("sequence") or () if layer]
    return known or [{"layer": name} for name in part(record, "chosen")]


def layers_under(record: Record, group: str) -> list[Finding]:
    """Return the findings under one group, layer by layer."""
    return [
        Finding(str(row.get("layer")), row)
        for row in record.get("ranking") or ()
        if row and str(row.get("group")) == group
    ]


def lead(record: Record) -> str:
    """Say in one sentence which group acts up to which layer, and where branches end."""
    layers = shown_layers(record)
    names = [str(group.get("name")) for group in groups_of(record)]
    if not layers or not names:
        return "No layer was measured."
    stretches = _stretches(record, layers)
    if {stretch.group for stretch in stretches} == {None}:
        sentence = f"{_none_act(names)} on any layer."
    elif len(stretches) == 1:
        every = f"on all {len(layers)} layers" if len(layers) > 1 else f"on {_brief(layers[0])}"
        sentence = f"{stretches[0].group} acts {every}{_how(record, layers, stretches[0])}."
    elif len(stretches) <= _MOST_CHANGES + 1:
        sentence = _sentence(record, layers, stretches, names)
    else:
        sentence = _counted(record, layers, stretches, names)
    return " ".join(filter(None, (sentence, branch_sentence(layers))))


def _stretches(record: Record, layers: Sequence[Record]) -> list[_Stretch]:
    """Divide the layers where the chosen group changes from a layer to one that it feeds."""
    chosen = part(record, "chosen")
    groups = [chosen.get(layer_name(layer)) for layer in layers]
    stretches: list[_Stretch] = []
    own: list[_Stretch] = []
    for row, before in enumerate(feeding(layers)):
        same = [own[each] for each in before if groups[each] == groups[row]]
        if same:
            stretch = same[-1]
        elif not before and stretches and stretches[0].group == groups[row]:
            stretch = stretches[0]
        else:
            stretch = _Stretch(groups[row], [], before[-1] if before else None)
            stretches.append(stretch)
        stretch.rows.append(row)
        own.append(stretch)
    return stretches


def _sentence(
    record: Record, layers: Sequence[Record], stretches: Sequence[_Stretch], names: Sequence[str]
) -> str:
    first, *rest = stretches
    orders = {str(each.get("name")): finite(each.get("order")) or 0.0 for each in groups_of(record)}
    start = f"{first.group} acts" if first.group else _none_act(names)
    until = rest[0].before
    if is_chain(layers) and until is not None:
        start += f" up to {_brief(layers[until])}" if until else f" on {_brief(layers[0])}"
    else:
        start += f" from {_brief(layers[0])} on"
    clauses = [start + _how(record, layers, first)]
    for stretch in rest:
        before = None if stretch.before is None else _chosen(record, layers, stretch.before)
        clauses.append(
            f"from {_brief(layers[stretch.rows[0]])} on "
            + _who(record, layers, stretch, before, orders, names)
            + _how(record, layers, stretch)
        )
    return "; ".join(clauses) + "."


def _who(
    record: Record,
    layers: Sequence[Record],
    stretch: _Stretch,
    before: str | None,
    orders: dict[str, float],
    names: Sequence[str],
) -> str:
    """Name the group of a stretch: "only" where no larger one acts, "best" where one does."""
    if stretch.group is None:
        return _none_of(names)
    order = orders.get(stretch.group, 0.0)
    if before is None or order >= orders.get(before, 0.0):
        return stretch.group
    places = {layer_name(layers[row]) for row in stretch.rows}
    larger = any(
        each.acts
        for name in names
        if orders.get(name, 0.0) > order
        for each in layers_under(record, name)
        if each.layer in places
    )
    return f"{stretch.group} acts best" if larger else f"only {stretch.group}"


def _how(record: Record, layers: Sequence[Record], stretch: _Stretch) -> str:
    """Return the verdicts of a stretch in brackets."""
    if stretch.group is None:
        return ""
    places = {layer_name(layers[row]) for row in stretch.rows}
    rows = [each.row for each in layers_under(record, stretch.group) if each.layer in places]
    words = span(row for row in rows if kind_of(row))
    return f" ({words})" if words else ""


def _counted(
    record: Record, layers: Sequence[Record], stretches: Sequence[_Stretch], names: Sequence[str]
) -> str:
    """Describe the first stretch, and count the rest."""
    first, *rest = stretches
    start = f"{first.group} acts" if first.group else _none_act(names)
    where = (
        f"up to {_brief(layers[first.rows[-1]])}"
        if is_chain(layers)
        else f"from {_brief(layers[0])} on"
    )
    others = [row for stretch in rest for row in stretch.rows]
    counts = Counter(_chosen(record, layers, row) for row in others)
    told = [f"{name} on {counts[name]}" for name in names if counts[name]]
    told += [f"{_none_of(names)} on {counts[None]}"] if counts[None] else []
    return (
        f"{start} {where}{_how(record, layers, first)}; then the group changes {len(rest)} times: "
        f"of the other {len(others)} layers, {', '.join(told)}."
    )


def _chosen(record: Record, layers: Sequence[Record], row: int) -> str | None:
    name = part(record, "chosen").get(layer_name(layers[row]))
    return None if name is None else str(name)


def _none_of(names: Sequence[str]) -> str:
    return "none of them" if len(names) > 1 else f"not {names[0]}"


def _none_act(names: Sequence[str]) -> str:
    return "None of them acts" if len(names) > 1 else f"{names[0]} does not act"


def _brief(layer: Record) -> str:
    return short_name(layer_name(layer), _LONGEST)
