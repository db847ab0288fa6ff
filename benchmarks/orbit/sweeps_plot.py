"""Small multiples of the sweeps: one panel for each, one line for each SAE."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from orbitlens.files import new_file

STYLES = {
    "orbit": ("#d1495b", "-"),
    "orbit x4": ("#d1495b", "--"),
    "narrow": ("#555555", "-"),
    "wide": ("#555555", "--"),
    "one pose": ("#e8a33d", "-"),
    "canonical": ("#1f77b4", "-"),
    "canonical wide": ("#1f77b4", "--"),
}
LABELS = {
    "k": "codes kept (3 objects)",
    "atoms": "atoms (16 features)",
    "noise": "noise / signal",
    "orbits": "training orbits",
    "steps": "steps of training",
    "broken": "broken symmetry, planted",
    "knob": "broken symmetry, GroupCNN on digits",
    "group": "group that the SAE assumes",
    "objects": "objects, each with its orientation",
    "circle": "turns of the SAE's group; any angle, k = 2",
    "circle_k": "the same, k = 4",
    "invariant": "invariant features of 16",
    "encoder": "encoder",
    "weight": "weight of orbit_invariance (broken 0.5)",
}
_COLUMNS = 4


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw normalised MSE on held-out orbits, with the spread over seeds.

    Args:
        rows: Records of `sweeps.py`.
        path: The PNG file.
    """
    sweeps = list(dict.fromkeys(row["sweep"] for row in rows))
    columns = min(_COLUMNS, len(sweeps))
    lines = -(-len(sweeps) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.9 * lines + 0.8), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axis, sweep in zip(axes, sweeps, strict=False):
        own = [row for row in rows if row["sweep"] == sweep]
        ticks = list(dict.fromkeys(row["value"] for row in own))
        for column in dict.fromkeys(row["column"] for row in own):
            points = [row for row in own if row["column"] == column]
            colour, style = STYLES[column]
            # Groups are names: no line leads from one to the next.
            style = "none" if isinstance(ticks[0], str) else style
            axis.errorbar(
                [ticks.index(row["value"]) for row in points],
                [row["mse"] for row in points],
                [row["mse_std"] for row in points],
                label=column, color=colour, linestyle=style, marker="o", ms=3, lw=1.3,
                elinewidth=0.8, mfc="white" if STYLES[column][1] == "--" else colour,
            )  # fmt: skip
        named = any(isinstance(tick, str) for tick in ticks)
        axis.set_xticks(
            range(len(ticks)),
            [tick if named else f"{tick:g}" for tick in ticks],
            **({"rotation": 35, "ha": "right", "fontsize": 7} if named else {}),
        )
        axis.set_title(LABELS[sweep], fontsize=10)
        axis.set_ylim(0, None)
        axis.grid(alpha=0.25)
    for axis in axes[len(sweeps) :]:
        axis.remove()
    found: dict[str, Any] = {}
    for axis in figure.axes:
        handles, names = axis.get_legend_handles_labels()
        # The first panel that has a column shows its line.
        found = dict(zip(names, handles, strict=True)) | found
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=7, fontsize=8
    )
    figure.suptitle("Normalised MSE on held-out orbits", fontsize=11)
    with new_file(path) as file:
        figure.savefig(file, dpi=110, format="png", bbox_inches="tight")
