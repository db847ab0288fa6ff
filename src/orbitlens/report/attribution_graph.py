"""The picture of an attribution: the strongest edges between the features of two layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orbitlens.attribution import AttributionGraph, Edge
from orbitlens.errors import OrbitLensError, missing_extra
from orbitlens.files import new_file
from orbitlens.report._notation import PALETTE, element_label
from orbitlens.report._ordering import order_atoms

_INK, _MUTED, _PAPER = "#101112", "#505152", "#ffffff"
_STYLES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_THINNEST, _THICKEST, _HOLLOW = 1.2, 6.0, 0.45
_BESIDE = 0.34


def draw_attribution(graph: AttributionGraph, out: Path | str, *, n: int = 16) -> None:
    """Draw the n strongest edges as a PNG, with the earlier layer's atoms on the left.

    The width of an edge is its strength, its colour the relative element. A negative edge is
    hollow.

    Args:
        graph: The attribution.
        out: The file to write; replaced if it exists.
        n: Maximum number of edges.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        OrbitLensError: If n is below 1, or there is no edge.

    Example:
        >>> import tempfile, torch
        >>> from orbitlens.groups import cyclic
        >>> active = torch.tensor([[True], [False]])
        >>> table = torch.tensor([[[2.0]], [[-1.0]]])
        >>> graph = AttributionGraph(cyclic(2), "m:a", "m:b", 9, table, 0.5, (active, active))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_attribution(graph, Path(folder) / "edges.png")
        ...     (Path(folder) / "edges.png").exists()
        True
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("matplotlib", extra="report") from None
    edges = graph.strongest(n)
    if not edges:
        raise OrbitLensError(
            "`graph`",
            expected="at least one edge",
            received="an attribution of 0 everywhere",
            remedy="give inputs on which features of both layers are active",
        )
    left, right = order_atoms(edges)
    with style.context(["default", {"font.size": 9.0, "text.parse_math": False}]):
        rows = max(len(left), len(right))
        figure = Figure(figsize=(6.4, 1.5 + 0.34 * rows), layout="constrained")
        figure.patch.set_facecolor(_PAPER)
        axes = figure.subplots()
        axes.set_axis_off()
        heights = [_heights(atoms, rows) for atoms in (left, right)]
        _draw_edges(axes, graph, edges, *heights)
        for side, name in enumerate((graph.earlier, graph.later)):
            _draw_atoms(axes, side, heights[side], name.rpartition(":")[2])
        axes.set_xlim(-0.2, 1.2)
        axes.set_ylim(rows - 0.4, -1.3)
        with new_file(out) as file:
            figure.savefig(file, format="png", dpi=160, metadata={"Software": None})


def _heights(atoms: list[int], rows: int) -> dict[int, float]:
    step = rows / len(atoms)
    return {atom: (place + 0.5) * step - 0.5 for place, atom in enumerate(atoms)}


def _draw_edges(
    axes: Any,
    graph: AttributionGraph,
    edges: Sequence[Edge],
    left: dict[int, float],
    right: dict[int, float],
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    strongest = abs(edges[0].strength)
    names = graph.group.element_names
    shown: dict[str, Line2D] = {}
    for edge in edges:
        place = names.index(edge.relative)
        colour = PALETTE[place % len(PALETTE)][0]
        stroke = _STYLES[place // len(PALETTE) % len(_STYLES)]
        # Edges between the same two atoms spread apart in the middle.
        same = [e for e in edges if (e.source, e.target) == (edge.source, edge.target)]
        lift = _BESIDE * (same.index(edge) - (len(same) - 1) / 2)
        start, end = left[edge.source], right[edge.target]
        points = [(0, start), (0.3, start + lift), (0.7, end + lift), (1, end)]
        path = Curve(points, [Curve.MOVETO, *[Curve.CURVE4] * 3])
        width = _THINNEST + (_THICKEST - _THINNEST) * abs(edge.strength) / strongest
        look = {"edgecolor": colour, "linestyle": stroke, "linewidth": width, "alpha": 0.8}
        axes.add_patch(PathPatch(path, facecolor="none", capstyle="butt", **look))
        if edge.strength < 0:
            look = {"edgecolor": _PAPER, "linewidth": _HOLLOW * width}
            axes.add_patch(PathPatch(path, facecolor="none", capstyle="butt", **look))
        shown.setdefault(edge.relative, Line2D((), (), color=colour, linestyle=stroke, linewidth=2))
    ordered = [name for name in names if name in shown]
    axes.legend(
        [shown[name] for name in ordered],
        [element_label(name) for name in ordered],
        title=f"turned by, under {graph.group.name}",
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=min(len(ordered), 8),
        handlelength=3,
        frameon=False,
    )
    hollow = "; hollow: negative" if any(edge.strength < 0 for edge in edges) else ""
    axes.set_title(
        f"the {len(edges)} strongest of {graph.attribution.numel():,} edges, "
        f"the widest {strongest:.2g}{hollow}\n"
        f"relative orientation explains {graph.explained:.0%} of the table",
        fontsize=9,
        color=_MUTED,
    )


def _draw_atoms(axes: Any, side: int, heights: dict[int, float], name: str) -> None:
    align = ("right", "left")[side]
    outwards = (-0.03, 0.03)[side]
    axes.scatter([side] * len(heights), list(heights.values()), s=42, color=_INK, zorder=3)
    for atom, y in heights.items():
        axes.text(side + outwards, y, f"atom {atom}", ha=align, va="center", color=_INK)
    axes.text(side, -0.95, name, ha="center", va="center", color=_INK, fontweight="bold")
