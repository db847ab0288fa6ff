"""The table of all layers of a network."""

from collections.abc import Mapping, Sequence
from typing import Any

from orbitlens.report._notation import IrrepStyle, figure, percent, score
from orbitlens.report._table import (
    Cell,
    Column,
    Record,
    Row,
    Table,
    make_headings,
    recorded_columns,
)
from orbitlens.report.network._branches import feeding, is_chain, layer_name
from orbitlens.report.network._use import USE_KINDS, LayerUse, last_inside, own_places, part_names
from orbitlens.report.network._use_chart import MOST_PARTS
from orbitlens.transport.bands import BANDS


def band_meanings() -> str:
    """Return the words of the bands with their bounds, for a legend."""
    return ", ".join(
        f"{word.capitalize() if place == 0 else word} {f'from {least:g}' if least else 'below'}"
        for place, (word, least) in enumerate(BANDS.items())
    )


def _interval(bounds: tuple[Any, Any]) -> str:
    return f"{score(bounds[0])} to {score(bounds[1])}"


def _part_of(counts: tuple[Any, Any]) -> str:
    measured, total = counts
    if total in (None, measured):
        return figure(measured)
    return f"{figure(measured)} of {figure(total)}"


_FINDING = (
    Column(
        "verdict",
        "Verdict",
        "Equivariant: the interval of R² lies above 0 and above the shuffled control, and R² "
        "exceeds that of the identity by more than 0.01. Invariant: not equivariant, and the "
        f"interval and R² of the identity lie above 0. {band_meanings()}, of R² (for invariance, "
        "of R² of the identity); two words where the interval crosses a bound. Otherwise none; "
        "worse than the mean where R² is below 0. For maps and tokens the verdict is about the "
        "channels, after their places have moved: a map of scalars is invariant",
        write=str,
    ),
)
_FITS = (
    Column(
        "r2",
        "Exact",
        "R² of the exact transport, which is a representation by construction: 1 is perfect, 0 no "
        "better than the mean under each element",
        write=score,
    ),
    Column(
        "interval",
        "95% interval",
        "Bootstrap interval of the exact R² over the held-out inputs",
        write=_interval,
    ),
    Column(
        "free_r2",
        "Unconstrained",
        "R² of one freely fitted matrix per element; its lead over the exact R² is the cost of "
        "exactness",
        write=score,
    ),
    Column(
        "identity_r2",
        "Identity",
        "R² without a transport, as if activations did not move",
        write=score,
    ),
    Column(
        "control_r2",
        "Shuffled",
        "R² of an exact transport fitted and measured on orbits with shuffled elements; high where "
        "a layer is invariant",
        write=score,
    ),
    Column(
        "wrong_group_r2",
        "Wrong group",
        "R² of an exact transport of another group of the same order, fitted to the same orbits",
        write=score,
    ),
)
_ERRORS = (
    Column(
        "relation_error",
        "Relation error",
        "Largest ‖ρ(g) ρ(h) − ρ(gh)‖ / ‖I‖ of the unconstrained fit; 0 for a representation",
    ),
    Column(
        "condition_number",
        "Condition number",
        "Largest ratio of singular values of ρ(g) over all g, for the exact transport; 1 is a "
        "rotation",
    ),
)
_SCORES = (
    Column(
        "equivariance_score",
        "Equivariance",
        "Mean correlation of ψ(gx) and ψ(x) along the canonical directions of training inputs: 1 "
        "if nothing is lost",
        write=score,
    ),
    Column(
        "invariance_score",
        "Invariance",
        "Mean correlation of ψ(gx) and ψ(x) along the same directions: 1 if nothing moves",
        write=score,
    ),
)
_DERIVATIVES = (
    Column("lie_rotation", "Rotation", "Error of the Lie derivative under rotation, per degree"),
    Column(
        "lie_translation",
        "Translation",
        "Error of the Lie derivative under translation, per pixel",
    ),
)
_SIZES = (
    Column("fed_by", "Fed by", "Measured layers whose output goes into this one", write=str),
    Column(
        "layout",
        "Layout",
        "Axes of the output: n inputs, c channels, h w or l places, 1+l after a class token",
        write=str,
    ),
    Column(
        "kind",
        "Kind",
        "Maps: positions on a grid. Tokens: a sequence. Vectors: one activation per input",
        write=str,
    ),
    Column(
        "positions",
        "Positions",
        "Positions measured per input, and positions in all",
        write=_part_of,
    ),
    Column("width", "Channels", "Width of the layer"),
    Column(
        "dim",
        "Directions",
        "Measured directions: all channels, or the leading principal directions",
    ),
    Column("kept_variance", "Kept", "Share of the variance in these directions", write=percent),
    Column("rank", "Moved", "Directions with variance; the exact transport moves only these"),
)
_MEANINGS = {
    "R² on held-out inputs": "1 − Σ ‖ψ(gx) − ρ(g) ψ(x)‖² / Σ ‖ψ(gx) − mean‖², over all g except "
    "the identity",
    "Symmetry spectrum": "Share of the energy Σ ‖ψ(gx) − mean‖² in each irreducible representation "
    "of the group",
    **{told.heading: told.meaning for told in USE_KINDS.values()},
    "Scores": "Scores of the leading directions with 99% of the variance, in the spirit of SEIS "
    "(Lin, Farrahi & Cai); 1 is best",
    "Lie derivative": "Error of the layer's change when the input moves, in standard deviations of "
    "the layer (after Gruver et al.)",
}


def network_table(
    layers: Sequence[Record], irreps: Sequence[IrrepStyle], uses: Sequence[LayerUse] = ()
) -> Table:
    """Lay out the figures of all layers, one row each, without the figures that no layer has.

    `irreps` are in the order of each layer's spectrum; `uses` say how much layers use of their
    parts. Blocks that were not measured have rows with their use alone. Layers do not compete, so
    nothing is marked.
    """
    records = [_flat(layer) for layer in layers]
    if not is_chain(layers):
        for record, places in zip(records, feeding(layers), strict=True):
            record["fed_by"] = ", ".join(layer_name(layers[each]) for each in places) or "the input"
    shown = _with_uses(records, layers, uses)
    groups = recorded_columns(_columns(irreps, uses), shown)
    spans, headings = make_headings(groups, _MEANINGS)
    columns = [column for group in groups.values() for column in group]
    return Table(
        caption="Every layer, in the order of the network",
        corner="Layer",
        spans=spans,
        columns=headings,
        rows=tuple(
            Row(
                heading=layer_name(record),
                details=(),
                slot=None,
                cells=tuple(
                    Cell(figure(None) if (v := record.get(c.key)) is None else c.write(v))
                    for c in columns
                ),
            )
            for record in shown
        ),
    )


def _columns(
    irreps: Sequence[IrrepStyle], uses: Sequence[LayerUse]
) -> Mapping[str, Sequence[Column]]:
    spectrum = [
        Column(
            f"spectrum {place}",
            irrep.label,
            f"Share of the energy in the irrep {irrep.name}"
            + ("" if irrep.dim is None else f", of dimension {irrep.dim}"),
            write=percent,
        )
        for place, irrep in enumerate(irreps)
    ]
    return {
        "Finding": _FINDING,
        "R² on held-out inputs": _FITS,
        "Fit": _ERRORS,
        "Symmetry spectrum": spectrum,
        **{told.heading: _use_columns(kind, uses) for kind, told in USE_KINDS.items()},
        "Scores": _SCORES,
        "Lie derivative": _DERIVATIVES,
        "What was measured": _SIZES,
    }


def _use_columns(kind: str, uses: Sequence[LayerUse]) -> list[Column]:
    """Give each part a column, or the number of parts and their ends where there are many."""
    told, names = USE_KINDS[kind], part_names(uses, kind)
    if len(names) > MOST_PARTS:
        return [
            Column(f"{kind} parts", "Parts", "Number of parts of the layer"),
            Column(f"{kind} least", "Smallest", "That of the smallest part", write=told.write),
            Column(f"{kind} most", "Largest", "That of the largest part", write=told.write),
        ]
    return [
        Column(f"{kind} part {name}", name, told.part_meaning.format(name), write=told.write)
        for name in names
    ]


def _with_uses(
    records: Sequence[Record], layers: Sequence[Record], uses: Sequence[LayerUse]
) -> list[Record]:
    """Add the uses to the rows of their layers; blocks without one get a row after their last."""
    own = own_places(layers, uses)
    rows = [
        [{**record, **(_use_figures(own[place]) if place in own else {})}]
        for place, record in enumerate(records)
    ]
    rows.append([])
    shown = {use.name for use in own.values()}
    for use in uses:
        if use.name not in shown:
            place = last_inside(use, layers)
            rows[-1 if place is None else place].append({"layer": use.name, **_use_figures(use)})
    return [row for each in rows for row in each]


def _use_figures(use: LayerUse) -> dict[str, Any]:
    ends = (min(use.values), max(use.values)) if use.values else (None, None)
    return {
        **{f"{use.kind} part {name}": value for name, value in use.parts.items()},
        f"{use.kind} parts": len(use.parts),
        f"{use.kind} least": ends[0],
        f"{use.kind} most": ends[1],
    }


def _flat(layer: Record) -> dict[str, Any]:
    """Add one entry per column where a column shows several figures."""
    bounds = (layer.get("r2_low"), layer.get("r2_high"))
    positions = (layer.get("places"), layer.get("all_places"))
    spectrum = {f"spectrum {i}": share for i, share in enumerate(layer.get("spectrum") or ())}
    return {
        **layer,
        **spectrum,
        "interval": None if bounds == (None, None) else bounds,
        "positions": None if positions == (None, None) else positions,
    }
