"""The table of all layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from orbitlens.report._names import IrrepStyle
from orbitlens.report._numbers import figure, percent, score
from orbitlens.report._table import Cell, Column, Record, Row, Table, head, recorded
from orbitlens.report.network._readings import layer_name


def _interval(bounds: tuple[Any, Any]) -> str:
    return f"{score(bounds[0])} to {score(bounds[1])}"


def _part_of(counts: tuple[Any, Any]) -> str:
    looked, there = counts
    return figure(looked) if there in (None, looked) else f"{figure(looked)} of {figure(there)}"


_FINDING = (
    Column(
        "verdict",
        "Verdict",
        "Equivariant: the interval of R² is above 0 and above the shuffled control, and R² above "
        "that of the identity by more than 0.01; else invariant: the interval and R² of the "
        "identity are above 0; partly: R², for invariance that of the identity, is below 0.9; "
        "else none. Of maps and tokens it is said of the channels, after their places have moved: "
        "a map of scalars is invariant",
        write=str,
    ),
)
_FITS = (
    Column(
        "r2",
        "Exact",
        "R² of the transport that is a representation by construction: 1 is perfect, 0 no better "
        "than the mean under each element",
        write=score,
    ),
    Column(
        "interval",
        "95% interval",
        "Of the exact R², under bootstrap resampling of the held-out inputs",
        write=_interval,
    ),
    Column(
        "free_r2",
        "Unconstrained",
        "R² of one fitted matrix per element; what it has more than the exact one is the cost of "
        "exactness",
        write=score,
    ),
    Column("identity_r2", "Identity", "R² of activations taken as unmoved", write=score),
    Column(
        "control_r2",
        "Shuffled",
        "R² of an exact transport fitted to and measured on orbits with shuffled elements; high "
        "where a layer is invariant",
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
        "Of the unconstrained fit: the largest ‖ρ(g) ρ(h) − ρ(gh)‖ / ‖I‖, 0 for a representation",
    ),
    Column(
        "condition_number",
        "Condition number",
        "Of the exact transport: the largest ratio of singular values of ρ(g), over all g; 1 is a "
        "rotation",
    ),
)
_SCORES = (
    Column(
        "equivariance_score",
        "Equivariance",
        "Mean correlation of ψ(gx) and ψ(x) along the canonical directions of training inputs: 1 "
        "where nothing is lost",
        write=score,
    ),
    Column(
        "invariance_score",
        "Invariance",
        "Mean correlation of ψ(gx) and ψ(x) along the same directions: 1 where nothing moves",
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
    Column(
        "kind",
        "Kind",
        "Maps: positions on a grid; tokens: a sequence; vectors: one activation per input",
        write=str,
    ),
    Column("positions", "Positions", "Looked at per input, of all that there are", write=_part_of),
    Column("width", "Channels", "Width of the layer"),
    Column("dim", "Directions", "Looked at: all channels, or the leading principal directions"),
    Column("kept_variance", "Kept", "Share of the variance in these directions", write=percent),
    Column("rank", "Moved", "Directions with variance; the exact transport moves only these"),
)
_MEANINGS = {
    "R² on held-out inputs": "1 − Σ ‖ψ(gx) − ρ(g) ψ(x)‖² / Σ ‖ψ(gx) − mean‖², over all g but the "
    "identity",
    "Symmetry spectrum": "Share of the energy Σ ‖ψ(gx) − mean‖² in each irreducible representation "
    "of the group",
    "Scores": "Of the leading directions with 99% of the variance, in the spirit of SEIS (Lin, "
    "Farrahi & Cai); 1 at best",
    "Lie derivative": "Change of the layer against what it should be, in standard deviations of "
    "the layer (after Gruver et al.)",
}


def network_table(layers: Sequence[Record], irreps: Sequence[IrrepStyle]) -> Table:
    """Lay out the figures of all layers, one row each; figures that no layer has are left out.

    Args:
        layers: The figures of each layer; missing ones count as None.
        irreps: Labels of the irreps, in the order of each layer's spectrum.

    Returns:
        The table; nothing is marked as best, for layers do not compete.

    Example:
        >>> table = network_table([{"layer": "conv", "r2": 0.98}], [])
        >>> table.columns[0].heading, table.rows[0].cells[0].text
        ('Exact', '0.980')
    """
    records = [_flat(layer) for layer in layers]
    groups = recorded(_columns(irreps), records)
    spans, headings = head(groups, _MEANINGS)
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
                cells=tuple(_cell(column, record) for column in columns),
            )
            for record in records
        ),
    )


def _columns(irreps: Sequence[IrrepStyle]) -> Mapping[str, Sequence[Column]]:
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
        "Scores": _SCORES,
        "Lie derivative": _DERIVATIVES,
        "What was looked at": _SIZES,
    }


def _flat(layer: Record) -> Record:
    """Give every column one entry of its own."""
    bounds = (layer.get("r2_low"), layer.get("r2_high"))
    positions = (layer.get("places"), layer.get("all_places"))
    spectrum = {f"spectrum {i}": share for i, share in enumerate(layer.get("spectrum") or ())}
    return {
        **layer,
        **spectrum,
        "interval": None if bounds == (None, None) else bounds,
        "positions": None if positions == (None, None) else positions,
    }


def _cell(column: Column, record: Record) -> Cell:
    value = record.get(column.key)
    return Cell(figure(None) if value is None else column.write(value))
