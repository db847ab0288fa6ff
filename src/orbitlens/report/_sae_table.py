"""The table of all SAEs."""

from collections.abc import Mapping

from orbitlens.report._names import SaeStyle
from orbitlens.report._numbers import figure, percent, score
from orbitlens.report._table import Column, Record, Row, Table, completed, head, marked, recorded

_RECONSTRUCTION = (
    ("mse", "MSE", "Squared error per dimension, on average", "low", figure),
    (
        "normalised_mse",
        "Norm. MSE",
        "Share of the variance left unexplained: 0 is perfect, 1 no better than the mean",
        "low",
        figure,
    ),
    (
        "explained_variance",
        "Expl. var.",
        "Share of the variance explained, 1 − normalised MSE",
        "high",
        score,
    ),
)
_MEANINGS = {
    "Reconstruction, as it comes": "D(E(ψ(gx))) held against ψ(gx)",
    "Reconstruction, transported": "ρ(g) D(E(ψ(gx))) held against ψ(gx), with the true g",
}


def _reconstruction(prefix: str) -> tuple[Column, ...]:
    return tuple(
        Column(prefix + key, heading, meaning, better, write)
        for key, heading, meaning, better, write in _RECONSTRUCTION
    )


SAE_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Reconstruction, as it comes": _reconstruction(""),
    "Reconstruction, transported": (
        *_reconstruction("transported_"),
        Column(
            "inferred_normalised_mse",
            "Norm. MSE by ĝ",
            "The same without being told g: moved by ĝ = argmin ‖ψ(gx) − ρ(ĝ) D(E(ψ(gx)))‖",
            "low",
        ),
    ),
    "Base model": (
        Column(
            "spliced_mse",
            "Spliced MSE",
            "Error of the base model's output when the SAE's reconstruction takes the place of the "
            "activation",
            "low",
        ),
    ),
    "Sparsity": (
        Column("l0", "L0", "Latents active per activation, on average", None),
        Column("dead_latents", "Dead", "Latents that fire for no held-out sample", "low"),
    ),
    "Symmetry": (
        Column(
            "code_invariance_error",
            "Code inv. error",
            "How much the code changes when the input is moved: 0 not at all, 1 other latents "
            "fire; of an orbit SAE the code summed over the group",
            "low",
        ),
        Column(
            "output_invariance_error",
            "Output inv. error",
            "How much D(E(ψ(gx))) changes when the input is moved: 0 not at all",
            "low",
        ),
        Column(
            "equivariance_error",
            "Equiv. error",
            "How far the final reconstruction of gx is from ρ(g) times that of x, relative to its "
            "variance",
            "low",
        ),
        Column(
            "orientation_accuracy",
            "Orient. found",
            "Share of samples whose g is the inferred ĝ",
            "high",
            percent,
        ),
        Column(
            "moved_codes",
            "Codes moved",
            "Of an orbit SAE, the share of active codes that another orientation of the input "
            "turns as predicted, z(hx)[hg] active where z(x)[g] is",
            "high",
            percent,
        ),
    ),
}


def sae_table(saes: Record, styles: Mapping[str, SaeStyle]) -> Table:
    """Lay out the figures of all SAEs, one row each; figures that no SAE has are left out.

    Args:
        saes: The figures of each SAE; missing ones count as None.
        styles: Label and colour of each SAE.

    Returns:
        The table; of each column the best finite value of an SAE that completed is marked.

    Example:
        >>> from orbitlens.report._names import sae_styles
        >>> saes = {"vanilla": {"mse": 0.2}, "orbit": {"mse": 0.1}}
        >>> [row.cells for row in sae_table(saes, sae_styles(saes)).rows]
        [(Cell(text='0.200', best=False),), (Cell(text='0.100', best=True),)]
    """
    records = {name: sae or {} for name, sae in saes.items()}
    shown = recorded(SAE_COLUMNS, list(records.values()))
    spans, headings = head(shown, _MEANINGS)
    competing = [completed(record) for record in records.values()]
    cells = [
        marked([record.get(c.key) for record in records.values()], c.write, c.better, competing)
        for group in shown.values()
        for c in group
    ]
    return Table(
        caption="Every SAE on held-out activations",
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


def _size(record: Record) -> tuple[str, ...]:
    """Describe an SAE by its size, and by its status where it did not complete."""
    parts = [
        f"{figure(record['atoms'])} atoms" if record.get("atoms") else "",
        f"{figure(record['d_sae'])} latents" if record.get("d_sae") else "",
        f"k = {record['k']}" if record.get("k") else "",
        f"{figure(record['parameters'])} parameters" if record.get("parameters") else "",
        "" if completed(record) else str(record["status"]),
    ]
    return tuple(filter(None, parts))
