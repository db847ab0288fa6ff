"""What a few latents say about Shapes: 180 tasks, every SAE, with and without an oracle.

Source: Erdogan & Lucic, arXiv 2511.09432, Tables 4 and 5, Figures 3 and 4.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import orbitlens as ol
from orbitlens.data import shape_tasks
from orbitlens.files import new_file
from orbitlens.pipeline.measure import measure_sae
from orbitlens.probe import ProbeSet, probe_tasks
from orbitlens.reproduce import COLUMNS, Job, Recipe, build_column, main, summarise
from orbitlens.reproduce.shapes import Base, shapes_base
from orbitlens.sae import kmeans_candidates

HIDDEN = 128
COMPARED = [name for name in COLUMNS if name != "crosscoder"]
BASE = ("model", "group", "seed", "model_epochs", "model_samples", "n_samples")
FULL = {
    "models": ["mlp", "cnn"],
    "groups": ["C4", "D4"],
    "topks": [4, 8],
    "columns": COMPARED,
    "probe_latents": [1, 2, 4, 8, 16],
    "every": 1,
    "seeds": 3,
    "latents": 64,
    "epochs": 500,
    "batch_size": 128,
    "clusters": 2048,
    "probe_samples": 2000,
    "model_epochs": 100,
    "model_samples": 10_000,
    "n_samples": 4096,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **FULL,
        "models": ["mlp"],
        "groups": ["C4"],
        "columns": ["vanilla", "archetypal", "equivariant_latent"],
        "topks": [4],
        "probe_latents": [1, 4],
        "every": 45,
        "seeds": 1,
        "latents": 16,
        "epochs": 2,
        "clusters": 32,
        "probe_samples": 100,
        "model_epochs": 2,
        "model_samples": 200,
        "n_samples": 200,
    },
    "small": {
        **FULL,
        "models": ["mlp"],
        "groups": ["C4"],
        "topks": [8],
        "probe_latents": [1, 4, 16],
        "every": 12,
        "seeds": 1,
        "epochs": 100,
        "clusters": 512,
        "model_epochs": 50,
    },
    "medium": {**FULL, "every": 3, "seeds": 1, "epochs": 200},
    "full": FULL,
}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """The networks first, then one job for each SAE: it is trained, measured and probed."""
    bases = [
        {**settings, "model": model, "group": group, "seed": seed}
        for seed in range(settings["seeds"])
        for model in settings["models"]
        for group in settings["groups"]
    ]
    name = "{model}-{group}-seed{seed}"
    return [Job(f"base-{name.format(**base)}", base) for base in bases] + [
        Job(f"{name.format(**base)}-k{k}-{column}", {**base, "k": k, "column": column}, phase=1)
        for base in bases
        for k in settings["topks"]
        for column in settings["columns"]
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Prepare a base model; or train, measure and probe one SAE."""
    base = shapes_base(folder, **{name: arguments[name] for name in BASE})
    candidates = _candidates(base, arguments, folder)
    if "column" not in arguments:
        return []
    column = COLUMNS[arguments["column"]]
    rho = ol.fit_transport(base.store)
    path = folder / "saes" / f"{_base_name(arguments)}-k{arguments['k']}-{column.name}"
    if path.exists():
        sae = ol.load(path)
    else:
        sae = build_column(
            column,
            base.store.dim,
            arguments["latents"],
            arguments["k"],
            hidden=HIDDEN,
            group_order=base.store.group.order,
            candidates=candidates if column.dictionary == "archetypal" else None,
            seed=arguments["seed"],
        )
        ol.fit(
            sae,
            base.store,
            objective=column.objective,
            epochs=arguments["epochs"],
            batch_size=arguments["batch_size"],
            seed=arguments["seed"],
        )
        ol.save(sae, path)
    key = {
        "topk": arguments["k"],
        "model": arguments["model"],
        "group": arguments["group"],
        "sae": column.name,
        "seed": arguments["seed"],
    }
    return [
        {**key, **_figures(base, sae, rho, transported=column.transported)},
        *({**key, **row} for row in _probes(base, sae, rho, arguments, column.transported)),
    ]


def _base_name(arguments: Mapping[str, Any]) -> str:
    return "{model}-{group}-seed{seed}".format(**arguments)


def _candidates(base: Base, arguments: Mapping[str, Any], folder: Path) -> torch.Tensor:
    """Centroids of the activations, computed once for each network."""
    path = folder / "candidates" / f"{_base_name(arguments)}.safetensors"
    if not path.exists():
        rows = base.store.orbits(base.store.split()[0]).flatten(0, 1)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        chosen = rows[order[:8192]]
        centroids = kmeans_candidates(chosen, arguments["clusters"], seed=arguments["seed"])
        path.parent.mkdir(exist_ok=True)
        with new_file(path) as file:
            save_file({"candidates": centroids}, file)
    return load_file(path)["candidates"]


@torch.no_grad()
def _figures(
    base: Base, sae: ol.SAE, rho: ol.Transport, *, transported: bool
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
    figures = measure_sae(
        sae, orbits, rho, transported=transported, splice=module.decoder, inputs_moved=moved
    )
    prefix = "transported_" if transported else ""
    return {
        "parameters": figures["parameters"],
        "normalised_mse": figures[f"{prefix}normalised_mse"],
        "untransported_normalised_mse": figures["normalised_mse"],
        "spliced_mse": figures["spliced_mse"],
        "base_mse": float((module.decoder(orbits.flatten(0, 1)) - moved).square().mean()),
        "l0": figures["l0"],
        "dead_latents": figures["dead_latents"],
        "orientation_accuracy": figures["orientation_accuracy"],
    }


@torch.no_grad()
def _probes(
    base: Base, sae: ol.SAE, rho: ol.Transport, arguments: Mapping[str, Any], transported: bool
) -> list[dict[str, Any]]:
    """F1 of every task: trained on one orientation of training samples, tested on all others."""
    store = base.store
    train, held_out = store.split()
    generator = np.random.default_rng(arguments["seed"])
    chosen = np.sort(generator.permutation(train)[: arguments["probe_samples"]])
    drawn = generator.integers(store.group.order, size=len(chosen))
    sets, families = [], []
    for samples, elements in (
        (chosen, drawn),
        (
            np.repeat(held_out, store.group.order),
            np.tile(np.arange(store.group.order), len(held_out)),
        ),
    ):
        tasks = shape_tasks(base.shape_ids[samples], elements, store.group)
        unique, inverse = np.unique(samples, return_inverse=True)
        x = store.orbits(unique)[inverse, elements]
        output = sae(x)
        labels = torch.from_numpy(tasks.labels[:, :: arguments["every"]].copy())
        sets.append(ProbeSet(output.codes, labels, torch.from_numpy(elements), x, output.x_hat))
        families = list(tasks.families[:: arguments["every"]])
    rows = []
    for orientation in ("oracle", "inferred") if transported else ("none",):
        scores = probe_tasks(
            *sets,
            families=families,
            W_dec=sae.W_dec,
            matrices=rho.matrices if transported else None,
            orientation=orientation,
            t=[min(t, sae.d_sae) for t in arguments["probe_latents"]],
            seed=arguments["seed"],
            workers=1,
        )
        rows += [
            {"orientation": orientation, "probe_latents": t, "task": family, "f1": value}
            for family, values in zip(scores.families, scores.f1.tolist(), strict=True)
            for t, value in zip(arguments["probe_latents"], values, strict=True)
        ]
    return rows


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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


def order(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each row of the tables: is every equivariant SAE above every baseline?"""
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    keys = ["orientation", "model", "topk", "probe_latents", "group", "task"]
    for row in results(records):
        cells.setdefault(tuple(row[name] for name in keys), {})[row["sae"]] = row["f1_mean"]
    rows = []
    for key, means in cells.items():
        ours = {name: f1 for name, f1 in means.items() if COLUMNS[name].transported}
        others = {name: f1 for name, f1 in means.items() if not COLUMNS[name].transported}
        lowest, highest = min(ours, key=ours.__getitem__), max(others, key=others.__getitem__)
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "lowest_equivariant": lowest,
                "lowest_f1": ours[lowest],
                "highest_baseline": highest,
                "highest_f1": others[highest],
                "holds": ours[lowest] > others[highest],
            }
        )
    return rows


def reconstruction(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figure 4: mean and standard error over seeds."""
    metrics = (
        *("normalised_mse", "untransported_normalised_mse", "spliced_mse", "base_mse", "l0"),
        *("dead_latents", "orientation_accuracy", "parameters"),
    )
    measured = [record for record in records if "normalised_mse" in record]
    keys = ["topk", "model", "group", "sae"]
    return summarise(measured, keys, dict.fromkeys(metrics, "stderr"))


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Figure 3: F1 against the number of latents; Figure 4: reconstruction."""
    from orbitlens.reproduce.plots import bar_panels, line_panels

    rows = tables["results.csv"]
    model = "mean"
    for topk in dict.fromkeys(row["topk"] for row in rows):
        shown = [
            row
            for row in rows
            if (row["topk"], row["model"], row["orientation"]) == (topk, model, "inferred")
        ]
        line_panels(
            [
                {**row, **{f"{row['group']} {row['task']}_{end}": row[f"f1_{end}"] for end in ENDS}}
                for row in shown
            ],
            folder / f"figure3-topk{topk}.png",
            x=("probe_latents", "latents kept"),
            series="sae",
            metrics={f"{row['group']} {row['task']}": "stderr" for row in shown},
            title=f"F1 of boosted probes, TopK {topk}, orientation inferred",
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


ENDS = ("mean", "stderr")
RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results, "order.csv": order, "reconstruction.csv": reconstruction},
    where={"model": "mean", "orientation": "oracle"},
    plot=plot,
)

if __name__ == "__main__":
    main(RECIPE)
