"""Recipes that probe Shapes, with and without an oracle, and their tables.

Source: Erdogan & Lucic, arXiv 2511.09432, Tables 4 and 5, Figures 3 and 4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.reproduce._jobs import Record
from orbitlens.reproduce._plots import bar_panels, by_panel, line_panels
from orbitlens.reproduce._saes import transport_table
from orbitlens.reproduce._shapes_jobs import READOUTS, shapes_jobs, shapes_records
from orbitlens.reproduce._tables import Row, summarise
from orbitlens.reproduce.columns import COLUMNS
from orbitlens.reproduce.recipe import Recipe

__all__ = ["SHAPES_TABLES", "shapes_recipe"]


def _probing_table(records: Sequence[Record]) -> list[Row]:
    """Summarise F1 by family: mean and standard error over tasks, networks and seeds.

    An SAE without a transport needs no orientation, so its figures stand under both.
    """
    rows = [
        {**record, "orientation": orientation, "model": model}
        for record in records
        if "f1" in record
        for model in (record["model"], "mean")
        for orientation in ("oracle", "inferred")
        if record["orientation"] in ("none", orientation)
    ]
    keys = ["topk", "probe_latents", "group", "task", "sae", "model", "orientation"]
    return sorted(
        summarise(rows, keys, {"f1": "stderr"}),
        key=lambda row: [row[name] for name in keys[:4]] + [row["model"], row["orientation"]],
    )


def _cells(
    rows: Iterable[Row], keys: Sequence[str]
) -> Iterator[tuple[Row, dict[str, float], dict[str, float]]]:
    """Yield each cell of the tables with its mean F1s: of the readouts, and of the other SAEs."""
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        cells.setdefault(tuple(row[name] for name in keys), {})[row["sae"]] = row["f1_mean"]
    for key, means in cells.items():
        readouts = {name: f1 for name, f1 in means.items() if name in READOUTS}
        others = {name: f1 for name, f1 in means.items() if name not in READOUTS}
        yield dict(zip(keys, key, strict=True)), readouts, others


def _order_table(records: Sequence[Record]) -> list[Row]:
    """Say for each cell of the tables whether every equivariant SAE is above every baseline.

    `holds` is about all baselines, `holds_equal_width` about those with as many latents.
    """
    rows = []
    keys = ["orientation", "model", "topk", "probe_latents", "group", "task"]
    for key, _, means in _cells(_probing_table(records), keys):
        ours = {name: f1 for name, f1 in means.items() if COLUMNS[name].transported}
        # Orientations may be inferred at some numbers of latents alone.
        if not ours:
            continue
        others = {name: f1 for name, f1 in means.items() if name not in ours}
        equal = [f1 for name, f1 in others.items() if COLUMNS[name].width == 1]
        lowest, highest = min(ours, key=ours.__getitem__), max(others, key=others.__getitem__)
        rows.append(
            {
                **key,
                "lowest_equivariant": lowest,
                "lowest_f1": ours[lowest],
                "highest_baseline": highest,
                "highest_f1": others[highest],
                "holds": ours[lowest] > others[highest],
                "holds_equal_width": ours[lowest] > max(equal),
            }
        )
    return rows


def _orbit_table(records: Sequence[Record]) -> list[Row]:
    """Say for each cell of the tables whether the orbit SAE is above all others.

    No SAE is given an orientation. The invariant readout answers the family S, which is the same in
    every orientation, and the oriented one the other families. `rule_f1` is by the readouts that
    training samples chose, task by task. `holds` is about all others, `holds_among_narrow` about
    those with at most as many directions as the orbit SAE has atoms.
    """
    rows = []
    keys = ["topk", "model", "probe_latents", "group", "task"]
    blind = [row for row in _probing_table(records) if row["orientation"] == "inferred"]
    for key, readouts, others in _cells(blind, keys):
        if len(readouts) < len(READOUTS) or not others:
            continue
        own = readouts["orbit_invariant" if key["task"] == "S" else "orbit_oriented"]
        highest = max(others, key=others.__getitem__)
        narrow = [f1 for name, f1 in others.items() if COLUMNS[name].width == 1]
        rows.append(
            {
                **key,
                "orbit_f1": own,
                "rule_f1": readouts["orbit"],
                "highest_other": highest,
                "highest_f1": others[highest],
                "holds": own > others[highest],
                "holds_by_rule": readouts["orbit"] > others[highest],
                "holds_among_narrow": all(own > f1 for f1 in narrow),
            }
        )
    return rows


def _reconstruction_table(records: Sequence[Record]) -> list[Row]:
    """Summarise the figures of Figure 4: mean and standard error over seeds."""
    metrics = (
        *("normalised_mse", "untransported_normalised_mse", "spliced_mse", "base_mse", "l0"),
        *("dead_latents", "orientation_accuracy", "parameters"),
    )
    measured = [record for record in records if "normalised_mse" in record]
    keys = ["topk", "model", "group", "sae"]
    return summarise(measured, keys, dict.fromkeys(metrics, "stderr"))


SHAPES_TABLES: dict[str, Callable[[Sequence[Record]], list[Row]]] = {
    "transport": transport_table,
    "probing": _probing_table,
    "order": _order_table,
    "orbit": _orbit_table,
    "reconstruction": _reconstruction_table,
}
"""The tables by name, functions from the records of all jobs to rows."""


def shapes_recipe(
    folder: Path,
    budgets: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, str],
    *,
    where: Mapping[str, Any] | None = None,
) -> Recipe:
    """Declare a recipe that probes Shapes.

    Its jobs are the networks with their transports, then the SAEs: each is trained, measured and
    probed.

    Args:
        folder: The folder with its run.py and README.md.
        budgets: The settings of each budget. models, groups, seeds, topks and columns list the
            jobs; model_epochs, model_samples and n_samples describe the networks, with layer,
            positions and image_size for those that come trained, and labels, their names in
            Table 1; latents, epochs, batch_size, lr, orbit_lr, orbit_weight and clusters describe
            the SAEs; probe_latents, oracle_latents and inferred_latents (for SAEs without
            transport, with the orientation given, and with it inferred), probe_samples, every (one
            task of so many) and stride (one coordinate of so many) the probes.
        tables: The name of each file and of its table in `SHAPES_TABLES`.
        where: See `Recipe`.

    Returns:
        The recipe.

    Example:
        >>> recipe = shapes_recipe(Path("recipes/shapes-vit"), {}, {"results.csv": "probing"})
        >>> recipe.folder.name
        'shapes-vit'
    """
    return Recipe(
        folder=folder,
        budgets=budgets,
        jobs=shapes_jobs,
        compute=shapes_records,
        tables={file: SHAPES_TABLES[name] for file, name in tables.items()},
        where=where or {},
        plot=_plot,
    )


def _plot(tables: Mapping[str, list[Row]], folder: Path) -> None:
    """Draw Figure 3, F1 against the number of latents, and Figure 4, reconstruction."""
    rows = tables["probing.csv"] if "probing.csv" in tables else tables["results.csv"]
    for topk in dict.fromkeys(row["topk"] for row in rows):
        shown, metrics = by_panel(
            [
                row
                for row in rows
                if (row["topk"], row["model"], row["orientation"]) == (topk, "mean", "oracle")
            ],
            "f1",
            "{group} {task}",
        )
        line_panels(
            shown,
            folder / f"figure3-topk{topk}.png",
            x=("probe_latents", "latents kept"),
            series="sae",
            metrics=metrics,
            title=f"F1 of boosted probes, TopK {topk}, orientation given",
        )
    bar_panels(
        tables["reconstruction.csv"],
        folder / "figure4.png",
        panel=("model", "group"),
        series="sae",
        group="topk",
        metrics=("normalised_mse", "spliced_mse"),
        title="Reconstruction of held-out orbits, transport applied",
    )
