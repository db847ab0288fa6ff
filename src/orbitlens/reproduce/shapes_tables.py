"""Probing on Shapes: what a few latents of every SAE say, with and without an oracle.

Source: Erdogan & Lucic, arXiv 2511.09432, Tables 4 and 5, Figures 3 and 4.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.pipeline.measure import measure_sae
from orbitlens.pipeline._orbit import fit_exact
from orbitlens.pipeline._probing import shape_probe_sets
from orbitlens.probe import Orientation, ProbeSet, probe_readouts, probe_tasks
from orbitlens.reproduce.columns import COLUMNS
from orbitlens.reproduce.jobs import Job, Record
from orbitlens.reproduce.saes import (
    Parts,
    centroids,
    fitted_transport,
    trained_sae,
    transport_figures,
)
from orbitlens.reproduce.shapes import Base, file_name, shapes_base
from orbitlens.reproduce.tables import Row, summarise
from orbitlens.sae import SAE
from orbitlens.transport import Transport

_BASE = ("model", "group", "seed", "model_epochs", "model_samples", "n_samples")
_OPTIONAL = ("layer", "positions", "image_size")
_COUNTS: dict[Orientation, str] = {
    "none": "probe_latents",
    "oracle": "oracle_latents",
    "inferred": "inferred_latents",
}
READOUTS = ("orbit", "orbit_invariant", "orbit_oriented")


def probing_jobs(settings: Mapping[str, Any]) -> list[Job]:
    """List the networks, then the SAEs: each is trained, measured and probed.

    Args:
        settings: models, groups, seeds, topks and columns, besides what `probing_records` needs.

    Returns:
        The jobs.
    """
    bases = [
        {**settings, "model": model, "group": group, "seed": seed}
        for seed in range(settings["seeds"])
        for model in settings["models"]
        for group in settings["groups"]
    ]
    return [Job(f"base-{_base_name(base)}", base) for base in bases] + [
        Job(f"{_base_name(base)}-k{k}-{column}", {**base, "k": k, "column": column}, phase=1)
        for base in bases
        for k in settings["topks"]
        for column in settings["columns"]
    ]


def probing_records(arguments: Mapping[str, Any], folder: Path) -> list[Record]:
    """Do one job: a network and its transport, or an SAE with its figures and probes.

    Args:
        arguments: What the job is: model, group and seed; k and column for an SAE. Settings:
            model_epochs, model_samples and n_samples, with layer, positions and image_size for
            networks that are not trained here; latents, epochs, batch_size, lr, orbit_lr,
            orbit_weight and clusters describe the SAEs; probe_latents, oracle_latents and
            inferred_latents (where the orientation is given, and where it is inferred),
            probe_samples, every (one task of so many) and stride (one coordinate of so many) the
            probes; labels, the networks' names in Table 1.
        folder: The folder of the run.

    Returns:
        JSON-ready records.
    """
    own = {name: arguments[name] for name in _OPTIONAL if name in arguments}
    base = shapes_base(folder, **{name: arguments[name] for name in _BASE}, **own)
    kept = folder / "candidates" / f"{_base_name(arguments)}.safetensors"
    train = base.store.split()[0]
    candidates = centroids(
        base.store, train, arguments["clusters"], seed=arguments["seed"], path=kept
    )
    rho = fitted_transport(base.store, folder / "transports" / _base_name(arguments))
    exact = fitted_transport(
        base.store, folder / "exact-transports" / _base_name(arguments), fit=fit_exact
    )
    if "column" not in arguments:
        return [_transport_record(base, rho, arguments)]
    column = COLUMNS[arguments["column"]]
    path = folder / "saes" / f"{_base_name(arguments)}-k{arguments['k']}-{column.name}"
    sae = trained_sae(column, base.store, Parts(candidates, exact), arguments, path)
    key = {
        "topk": arguments["k"],
        "model": arguments["model"],
        "group": arguments["group"],
        "sae": column.name,
        "seed": arguments["seed"],
    }
    tied = column.dictionary == "orbit"
    figures = _figures(base, sae, exact if tied else rho, transported=column.transported)
    probes = (
        _readouts(base, sae, arguments)
        if tied
        else _probes(base, sae, rho, arguments, column.transported)
    )
    return [{**key, **figures}, *({**key, **row} for row in probes)]


def _transport_record(base: Base, rho: Transport, arguments: Mapping[str, Any]) -> Record:
    return {
        "dataset": "Shapes",
        "model": arguments.get("labels", {}).get(arguments["model"], arguments["model"].upper()),
        "group": arguments["group"],
        "seed": arguments["seed"],
        **transport_figures(rho),
    }


def _base_name(arguments: Mapping[str, Any]) -> str:
    model = file_name(arguments["model"])
    return "{model}-{group}-seed{seed}".format(**{**arguments, "model": model})


@torch.no_grad()
def _figures(
    base: Base, sae: SAE, rho: Transport, *, transported: bool
) -> dict[str, float | int | None]:
    """Reconstruction of held-out orbits, and the base model's error with the SAE spliced in."""
    held_out = base.store.split()[1]
    images = base.images[torch.from_numpy(held_out)]
    action = base.job.action
    moved = torch.stack(
        [action.apply(images, g) for g in range(base.store.group.order)], dim=1
    ).flatten(0, 1)
    orbits = base.store.orbits(held_out)
    module: Any = base.model.module
    decoder = module.decoder if base.job.decodes else None
    figures = measure_sae(
        sae, orbits, rho, transported=transported, splice=decoder, inputs_moved=moved
    )
    base_mse = None if decoder is None else (decoder(orbits.flatten(0, 1)) - moved).square().mean()
    prefix = "transported_" if transported else ""
    return {
        "parameters": figures["parameters"],
        "normalised_mse": figures[f"{prefix}normalised_mse"],
        "untransported_normalised_mse": figures["normalised_mse"],
        "spliced_mse": figures["spliced_mse"],
        "base_mse": None if base_mse is None else float(base_mse),
        "l0": figures["l0"],
        "dead_latents": figures["dead_latents"],
        "orientation_accuracy": figures["orientation_accuracy"],
    }


def _probe_sets(
    base: Base, sae: SAE, arguments: Mapping[str, Any]
) -> tuple[ProbeSet, ProbeSet, list[str]]:
    """One orientation of training samples, and all of the others, with the family of each task."""
    return shape_probe_sets(
        base.shape_ids,
        base.store,
        sae,
        choose=lambda names: chosen_tasks(names, arguments["every"]),
        count=arguments["probe_samples"],
        seed=arguments["seed"],
    )


@torch.no_grad()
def _readouts(base: Base, sae: SAE, arguments: Mapping[str, Any]) -> list[Record]:
    """F1 of every task by both readouts of an orbit SAE, and by the one that the rule takes."""
    train, held_out, families = _probe_sets(base, sae, arguments)
    counts = arguments["probe_latents"]
    scores = probe_readouts(
        train,
        held_out,
        sae,
        families=families,
        t=counts,
        stride=arguments["stride"],
        seed=arguments["seed"],
        workers=1,
    )
    found = zip(READOUTS, (scores.chosen, scores.invariant, scores.oriented), strict=True)
    return [
        {"sae": name, "orientation": "none", "probe_latents": t, "task": family, "f1": value}
        for name, f1 in found
        for family, values in zip(families, f1.tolist(), strict=True)
        for t, value in zip(counts, values, strict=True)
    ]


@torch.no_grad()
def _probes(
    base: Base, sae: SAE, rho: Transport, arguments: Mapping[str, Any], transported: bool
) -> list[Record]:
    """F1 of every task, with the orientation given and inferred where a transport needs one."""
    train, held_out, families = _probe_sets(base, sae, arguments)
    protocols: tuple[Orientation, ...] = ("oracle", "inferred") if transported else ("none",)
    rows = []
    for orientation in protocols:
        counts = arguments[_COUNTS[orientation]]
        scores = probe_tasks(
            train,
            held_out,
            families=families,
            W_dec=sae.W_dec,
            matrices=rho.matrices if transported else None,
            orientation=orientation,
            t=[min(t, sae.d_sae) for t in counts],
            stride=arguments["stride"],
            seed=arguments["seed"],
            workers=1,
        )
        rows += [
            {"orientation": orientation, "probe_latents": t, "task": family, "f1": value}
            for family, values in zip(scores.families, scores.f1.tolist(), strict=True)
            for t, value in zip(counts, values, strict=True)
        ]
    return rows


def chosen_tasks(families: Sequence[str], every: int) -> list[int]:
    """Choose a fixed part of the tasks, of every family its share, at least four.

    Args:
        families: The family of each task.
        every: One task of so many.

    Returns:
        Their indices, in rising order; the same at each call.

    Example:
        >>> len(chosen_tasks(["S"] * 8 + ["SPO"] * 112, every=3))
        42
    """
    generator = np.random.default_rng(0)
    chosen: list[int] = []
    for family in dict.fromkeys(families):
        own = [task for task, name in enumerate(families) if name == family]
        share = min(len(own), max(4, -(-len(own) // every)))
        chosen += generator.permutation(own)[:share].tolist()
    return sorted(chosen)


def probing_table(records: Sequence[Record]) -> list[Record]:
    """F1 by family: mean and standard error over tasks, networks and seeds.

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


def order_table(records: Sequence[Record]) -> list[Record]:
    """For each row of the tables: is every equivariant SAE above every baseline?

    `holds` asks it of all baselines, `holds_equal_width` of those with as many latents.
    """
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    keys = ["orientation", "model", "topk", "probe_latents", "group", "task"]
    for row in probing_table(records):
        cells.setdefault(tuple(row[name] for name in keys), {})[row["sae"]] = row["f1_mean"]
    rows = []
    for key, means in cells.items():
        means = {name: f1 for name, f1 in means.items() if name not in READOUTS}
        ours = {name: f1 for name, f1 in means.items() if COLUMNS[name].transported}
        # An orientation that was inferred at some numbers of latents alone leaves other rows out.
        if not ours:
            continue
        others = {name: f1 for name, f1 in means.items() if name not in ours}
        equal = [f1 for name, f1 in others.items() if COLUMNS[name].width == 1]
        lowest, highest = min(ours, key=ours.__getitem__), max(others, key=others.__getitem__)
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "lowest_equivariant": lowest,
                "lowest_f1": ours[lowest],
                "highest_baseline": highest,
                "highest_f1": others[highest],
                "holds": ours[lowest] > others[highest],
                "holds_equal_width": ours[lowest] > max(equal),
            }
        )
    return rows


def orbit_table(records: Sequence[Record]) -> list[Record]:
    """For each row of the tables, nobody being given an orientation: is the orbit SAE above all?

    The invariant readout answers S, which is the same in every orientation, the oriented one the
    other families; `rule_f1` is the readout that training samples chose, task by task. `holds` asks
    it of all others, `holds_among_narrow` of those that have no more directions than it has atoms.
    """
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    keys = ["topk", "model", "probe_latents", "group", "task"]
    for row in probing_table(records):
        if row["orientation"] == "inferred":
            cells.setdefault(tuple(row[name] for name in keys), {})[row["sae"]] = row["f1_mean"]
    rows = []
    for key, means in cells.items():
        if not set(READOUTS) <= set(means) or len(means) == len(READOUTS):
            continue
        own = means["orbit_invariant" if key[-1] == "S" else "orbit_oriented"]
        others = {name: f1 for name, f1 in means.items() if name not in READOUTS}
        highest = max(others, key=others.__getitem__)
        narrow = [f1 for name, f1 in others.items() if COLUMNS[name].width == 1]
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "orbit_f1": own,
                "rule_f1": means["orbit"],
                "highest_other": highest,
                "highest_f1": others[highest],
                "holds": own > others[highest],
                "holds_by_rule": means["orbit"] > others[highest],
                "holds_among_narrow": all(own > f1 for f1 in narrow),
            }
        )
    return rows


def reconstruction_table(records: Sequence[Record]) -> list[Record]:
    """Figure 4: mean and standard error over seeds."""
    metrics = (
        *("normalised_mse", "untransported_normalised_mse", "spliced_mse", "base_mse", "l0"),
        *("dead_latents", "orientation_accuracy", "parameters"),
    )
    measured = [record for record in records if "normalised_mse" in record]
    keys = ["topk", "model", "group", "sae"]
    return summarise(measured, keys, dict.fromkeys(metrics, "stderr"))


def plot_probing(tables: Mapping[str, list[Row]], folder: Path) -> None:
    """Figure 3: F1 against the number of latents; Figure 4: reconstruction."""
    from orbitlens.reproduce.plots import bar_panels, by_panel, line_panels

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
