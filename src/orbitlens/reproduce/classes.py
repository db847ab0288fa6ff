"""Recipes on images with classes: transport, SAEs, and probes for the classes.

Source: Erdogan & Lucic, arXiv 2511.09432, experiments 3 and 4: Table 1, Figures 5 and 6.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore, open_store
from orbitlens.data import Inputs
from orbitlens.errors import OrbitLensError
from orbitlens.files import new_folder, read_json
from orbitlens.metrics import normalised_mse
from orbitlens.pipeline import RunConfig, Source, measure_sae, prepare, stages
from orbitlens.pipeline.config import AUTOENCODERS
from orbitlens.probe._from_store import oriented_samples, probe_classes
from orbitlens.reproduce._jobs import Job, Record
from orbitlens.reproduce._plots import bar_panels, by_panel, line_panels
from orbitlens.reproduce._saes import (
    WEIGHT,
    fit_parts,
    sae_jobs,
    train_column,
    transport_figures,
    transport_table,
)
from orbitlens.reproduce._tables import Row, summarise
from orbitlens.reproduce.columns import COLUMNS, Column
from orbitlens.reproduce.recipe import Recipe
from orbitlens.sae import SAE
from orbitlens.transport import Transport
from orbitlens.typing import Int

__all__ = ["class_recipe"]

_Images = Callable[[Mapping[str, Any], Path], Inputs]
_MEASURED = 2**17
"""Activations in memory at once."""


def class_recipe(folder: Path, budgets: Mapping[str, Mapping[str, Any]], images: _Images) -> Recipe:
    """Declare a recipe on images with classes.

    Its jobs are the networks with their transports, then the SAEs. A network that is trained here
    is trained for each seed. One that comes trained is the same for all seeds, so its activations
    are harvested, and its transport fitted, once for each group.

    Args:
        folder: The folder with its run.py and README.md.
        budgets: The settings of each budget. groups, seeds, topks and columns list the jobs;
            dataset and label name the rows; model, layer, positions, image_size and model_epochs
            describe the activations; latents, epochs, batch_size, lr, orbit_lr, orbit_weight,
            sae_samples (orbits that SAEs train on, at most) and clusters describe the SAEs;
            probe_latents the probes; train_count is the number of images before the held-out ones,
            None for the usual split.
        images: Loads the labelled images from settings and the folder of the run. It stands at the
            top level of run.py, so that other processes can call it.

    Returns:
        The recipe.

    Example:
        >>> recipe = class_recipe(Path("recipes/digits"), {}, lambda settings, folder: None)
        >>> list(recipe.tables)
        ['results.csv', 'probing.csv', 'reconstruction.csv']
    """
    return Recipe(
        folder=folder,
        budgets=budgets,
        jobs=_jobs,
        compute=partial(_records, images=images),
        tables={
            "results.csv": transport_table,
            "probing.csv": _probing_table,
            "reconstruction.csv": _reconstruction_table,
        },
        plot=_plot,
    )


def _jobs(settings: Mapping[str, Any]) -> list[Job]:
    each = [
        {**settings, "group": group, "seed": seed}
        for seed in range(settings["seeds"])
        for group in settings["groups"]
    ]
    return sae_jobs(settings, each, _name, _network)


def _records(arguments: Mapping[str, Any], folder: Path, images: _Images) -> list[Record]:
    """Do one job: a network and its transport, or an SAE with its figures and probes."""
    base = _open(arguments, folder, images)
    split = (base.train, base.held_out)
    parts = fit_parts(base.store, folder, _network(arguments), arguments, split=split)
    key = {
        "dataset": arguments["dataset"],
        "model": arguments["label"],
        "group": arguments["group"],
        "seed": arguments["seed"],
    }
    if "column" not in arguments:
        return [{**key, **transport_figures(parts.transport)}]
    column = COLUMNS[arguments["column"]]
    order = np.random.default_rng(arguments["seed"]).permutation(base.train)
    samples = np.sort(order[: arguments["sae_samples"]])
    path = folder / "saes" / f"{_name(arguments)}-k{arguments['k']}-{column.name}"
    sae = train_column(column, base.store, parts, arguments, path, samples=samples)
    key |= {"topk": arguments["k"], "sae": column.name}
    weight = read_json(path / "cfg.json")["metadata"].get(WEIGHT)
    return [
        {**key, **_figures(base, sae, parts.transport, column), WEIGHT: weight},
        *({**key, **row} for row in _probes(base, sae, arguments)),
    ]


def _probing_table(records: Sequence[Record]) -> list[Row]:
    keys = ["dataset", "group", "topk", "probe_latents", "sae"]
    measured = [record for record in records if "macro_f1" in record]
    return summarise(measured, keys, {"macro_f1": "stderr", "accuracy": "stderr"})


def _reconstruction_table(records: Sequence[Record]) -> list[Row]:
    metrics = (
        *("normalised_mse", "inferred_normalised_mse", "untransported_normalised_mse"),
        *("l0", "dead_latents", "orientation_accuracy", "parameters", WEIGHT),
    )
    measured = [record for record in records if "normalised_mse" in record]
    keys = ["dataset", "group", "topk", "sae"]
    return summarise(measured, keys, dict.fromkeys(metrics, "stderr"))


def _plot(tables: Mapping[str, list[Row]], folder: Path) -> None:
    """Draw macro-F1 against the number of latents, and the reconstruction."""
    rows, metrics = by_panel(tables["probing.csv"], "macro_f1", "{group}, TopK {topk}")
    line_panels(
        rows,
        folder / "probing.png",
        x=("probe_latents", "latents kept"),
        series="sae",
        metrics=metrics,
        title=f"{rows[0]['dataset']}: macro-F1 of logistic probes into the classes",
    )
    bar_panels(
        tables["reconstruction.csv"],
        folder / "reconstruction.png",
        panel=("dataset", "group"),
        series="sae",
        group="topk",
        metrics=("normalised_mse",),
        title="Normalised MSE on held-out orbits, transport applied",
    )


@dataclass(frozen=True, eq=False)
class _Base:
    """Activations of labelled images."""

    store: ActivationStore
    labels: Int[np.ndarray, " n"]
    train: Int[np.ndarray, " train"]
    held_out: Int[np.ndarray, " held_out"]


def _name(arguments: Mapping[str, Any]) -> str:
    return "{group}-seed{seed}".format(**arguments)


def _network(arguments: Mapping[str, Any]) -> str:
    """Name a network with its activations: one that comes trained is the same for every seed."""
    return _name(arguments) if arguments["model"] in AUTOENCODERS else str(arguments["group"])


def _open(arguments: Mapping[str, Any], folder: Path, images: _Images) -> _Base:
    """Train the network and harvest its activations, or open them."""
    place = folder / "bases" / _network(arguments)
    if not place.exists():
        _make_base(place, arguments, images(arguments, folder))
    store = open_store(place / "acts.zarr")
    if store.labels is None:
        raise RuntimeError("labels were checked before the harvest")
    train, held_out = store.split()
    if arguments["train_count"] is not None:
        train, held_out = np.split(np.arange(store.n), [arguments["train_count"]])
    return _Base(store, store.labels, train, held_out)


def _make_base(place: Path, arguments: Mapping[str, Any], inputs: Inputs) -> None:
    """Train the network, without the held-out images, and harvest the activations of all."""
    _check_images(inputs, arguments)
    names = ("model", "group", "layer", "positions", "image_size", "model_epochs", "seed")
    config = RunConfig(**{name: arguments[name] for name in names})
    job = prepare(config, Source(inputs, None))
    count = arguments["train_count"]
    seen = inputs if count is None else Inputs(inputs.name, inputs.values[:count])
    with new_folder(place) as part:
        stages.train_model(replace(job, source=Source(seen, None)), part / "model.safetensors")
        stages.harvest_orbits(job, part / "acts.zarr")


def _check_images(inputs: Inputs, arguments: Mapping[str, Any]) -> None:
    subject = f"images of {arguments['dataset']}"
    if inputs.labels is None:
        raise OrbitLensError(
            subject,
            expected="a class for each",
            received=None,
            remedy="put them into one folder per class",
        )
    n, train_count = len(inputs.values), arguments["train_count"]
    if train_count is not None and n <= train_count:
        raise OrbitLensError(
            subject,
            expected=f"more than the {train_count} to train on",
            received=n,
            remedy="get the whole data set",
        )


def _figures(base: _Base, sae: SAE, transport: Transport, column: Column) -> Record:
    """Measure reconstruction on held-out orbits, on a random part if memory cannot hold all."""
    store = base.store
    most = max(1, _MEASURED // (store.positions * store.group.order))
    samples = np.sort(np.random.default_rng(0).permutation(base.held_out)[:most])
    orbits = store.orbits(samples)
    figures = measure_sae(sae, orbits, transport, transported=column.transported)
    given = "transported_" if column.transported else ""
    inferred = "inferred_" if column.transported else ""
    error = figures[f"{given}normalised_mse"]
    if sae.dictionary.orbit_order:
        with torch.no_grad():
            own = sae.dictionary.orbit(sae.encode(orbits[:, 0]))
        error = normalised_mse(orbits.flatten(0, 1), own.flatten(0, 1)).item()
    kept = ("l0", "dead_latents", "orientation_accuracy", "parameters")
    return {
        "normalised_mse": error,
        "inferred_normalised_mse": figures[f"{inferred}normalised_mse"],
        "untransported_normalised_mse": figures["normalised_mse"],
        **{name: figures[name] for name in kept},
    }


def _probes(base: _Base, sae: SAE, arguments: Mapping[str, Any]) -> list[Record]:
    """Score probes that train on one orientation of each image and are tested on every one."""
    generator = np.random.default_rng(arguments["seed"])
    train, held_out = oriented_samples(base.train, base.held_out, base.store.group.order, generator)
    counts = arguments["probe_latents"]
    scores = probe_classes(
        sae, base.store, base.labels, train, held_out, t=counts, at_once=_MEASURED
    )
    found = {t: scores[min(t, max(scores))] for t in counts}
    return [
        {"probe_latents": t, "macro_f1": each.macro_f1, "accuracy": each.accuracy}
        for t, each in found.items()
    ]
