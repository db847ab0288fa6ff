"""What the recipes on images with classes share: transport, SAEs, and probes into the classes.

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
from orbitlens.pipeline import RunConfig, stages
from orbitlens.pipeline.measure import measure_sae
from orbitlens.pipeline._orbit import fit_exact
from orbitlens.pipeline._probing import pooled_codes
from orbitlens.pipeline.config import AUTOENCODERS
from orbitlens.probe import (
    invariant_readout,
    largest_between_class_variance,
    logistic_scores,
)
from orbitlens.reproduce.columns import COLUMNS, Column
from orbitlens.reproduce.jobs import Job, Record
from orbitlens.reproduce.main import Recipe
from orbitlens.reproduce.saes import (
    WEIGHT,
    Parts,
    centroids,
    fitted_transport,
    trained_sae,
    transport_figures,
)
from orbitlens.reproduce.tables import Row, summarise
from orbitlens.sae import SAE
from orbitlens.transport import Transport
from orbitlens.typing import Float, Int, Tensor

Images = Callable[[Mapping[str, Any], Path], Inputs]

_MEASURED = 2**17


def class_recipe(folder: Path, budgets: Mapping[str, Mapping[str, Any]], images: Images) -> Recipe:
    """Declare a recipe on images with classes.

    Args:
        folder: Where its run.py and README.md are.
        budgets: The settings of each budget, see `class_records`.
        images: Loads the labelled images, given arguments and folder; at the top level of run.py.

    Returns:
        The recipe.
    """
    return Recipe(
        folder=folder,
        budgets=budgets,
        jobs=class_jobs,
        compute=partial(class_records, images=images),
        tables=TABLES,
        plot=plot_classes,
    )


def class_jobs(settings: Mapping[str, Any]) -> list[Job]:
    """List the networks with their transports, then the SAEs.

    A network that is trained here is trained once for each seed; one that comes trained is the same
    for all, so its activations are harvested, and its transport fitted, once for each group.

    Args:
        settings: model, groups, seeds, topks and columns, besides what `class_records` needs.

    Returns:
        The jobs.
    """
    each = [
        {**settings, "group": group, "seed": seed}
        for seed in range(settings["seeds"])
        for group in settings["groups"]
    ]
    networks: dict[str, dict[str, Any]] = {}
    for one in each:
        networks.setdefault(_network(one), one)
    return [Job(f"base-{name}", one) for name, one in networks.items()] + [
        Job(f"{_name(one)}-k{k}-{column}", {**one, "k": k, "column": column}, phase=1)
        for one in each
        for k in settings["topks"]
        for column in settings["columns"]
    ]


def class_records(arguments: Mapping[str, Any], folder: Path, images: Images) -> list[Record]:
    """Do one job: a network and its transport, or an SAE with its figures and probes.

    Args:
        arguments: What the job is: group and seed; k and column for an SAE. Settings: dataset and
            label name the rows; model, layer, positions, image_size and model_epochs say what the
            activations are; latents, epochs, batch_size, lr, sae_samples (orbits that SAEs train
            on, at most) and clusters describe the SAEs; probe_latents the probes; train_count is
            the number of images before the held-out ones, None for the usual split.
        folder: The folder of the run.
        images: Loads the labelled images, given arguments and folder.

    Returns:
        JSON-ready records.
    """
    base = _open(arguments, folder, images)
    split = (base.train, base.held_out)
    name = _network(arguments)
    transport = fitted_transport(base.store, folder / "transports" / name, split=split)
    exact = fitted_transport(
        base.store, folder / "exact-transports" / name, split=split, fit=fit_exact
    )
    key = {
        "dataset": arguments["dataset"],
        "model": arguments["label"],
        "group": arguments["group"],
        "seed": arguments["seed"],
    }
    candidates = centroids(
        base.store,
        base.train,
        arguments["clusters"],
        seed=arguments["seed"],
        path=folder / "candidates" / f"{name}.safetensors",
    )
    if "column" not in arguments:
        return [{**key, **transport_figures(transport)}]
    column = COLUMNS[arguments["column"]]
    order = np.random.default_rng(arguments["seed"]).permutation(base.train)
    path = folder / "saes" / f"{_name(arguments)}-k{arguments['k']}-{column.name}"
    sae = trained_sae(
        column,
        base.store,
        Parts(candidates, exact),
        arguments,
        path,
        samples=np.sort(order[: arguments["sae_samples"]]),
    )
    key |= {"topk": arguments["k"], "sae": column.name}
    weight = read_json(path / "cfg.json")["metadata"].get(WEIGHT)
    return [
        {**key, **_figures(base, sae, transport, column), WEIGHT: weight},
        *({**key, **row} for row in _probes(base, sae, arguments)),
    ]


def transport_table(records: Sequence[Record]) -> list[Row]:
    """R^2 of the transports, mean and standard error over seeds, in the columns of Table 1."""
    metrics = dict.fromkeys(("r2_trained", "r2_identity", "relation_error"), "stderr")
    measured = [record for record in records if "r2_trained" in record]
    return summarise(measured, ["dataset", "model", "group"], metrics)


def probing_table(records: Sequence[Record]) -> list[Row]:
    """Accuracy and macro-F1 of the probes, mean and standard error over seeds."""
    keys = ["dataset", "group", "topk", "probe_latents", "sae"]
    measured = [record for record in records if "macro_f1" in record]
    return summarise(measured, keys, {"macro_f1": "stderr", "accuracy": "stderr"})


def reconstruction_table(records: Sequence[Record]) -> list[Row]:
    """Reconstruction of held-out orbits, mean and standard error over seeds."""
    metrics = (
        *("normalised_mse", "inferred_normalised_mse", "untransported_normalised_mse"),
        *("l0", "dead_latents", "orientation_accuracy", "parameters", WEIGHT),
    )
    measured = [record for record in records if "normalised_mse" in record]
    keys = ["dataset", "group", "topk", "sae"]
    return summarise(measured, keys, dict.fromkeys(metrics, "stderr"))


TABLES = {
    "results.csv": transport_table,
    "probing.csv": probing_table,
    "reconstruction.csv": reconstruction_table,
}


def plot_classes(tables: Mapping[str, list[Row]], folder: Path) -> None:
    """Draw macro-F1 against the number of latents, and the reconstruction.

    Args:
        tables: The rows of `TABLES`.
        folder: Gets probing.png and reconstruction.png.
    """
    from orbitlens.reproduce.plots import bar_panels, by_panel, line_panels

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
    """Name a network with its activations: a trained one is the same for every seed."""
    return _name(arguments) if arguments["model"] in AUTOENCODERS else str(arguments["group"])


def _open(arguments: Mapping[str, Any], folder: Path, images: Images) -> _Base:
    """Train the network and harvest its activations, or open what is there."""
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
    """Train the network, on images that are not held out, and harvest the activations of all."""
    _check_images(inputs, arguments)
    names = ("model", "group", "layer", "positions", "image_size", "model_epochs", "seed")
    config = RunConfig(**{name: arguments[name] for name in names})
    job = stages.prepare(config, stages.Source(inputs, None))
    count = arguments["train_count"]
    seen = inputs if count is None else Inputs(inputs.name, inputs.values[:count])
    with new_folder(place) as part:
        stages.train_model(
            replace(job, source=stages.Source(seen, None)), part / "model.safetensors"
        )
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
    """Reconstruction of held-out orbits, of a random part if they are too many for memory."""
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
    return {
        "normalised_mse": error,
        "inferred_normalised_mse": figures[f"{inferred}normalised_mse"],
        "untransported_normalised_mse": figures["normalised_mse"],
        **{
            name: figures[name]
            for name in ("l0", "dead_latents", "orientation_accuracy", "parameters")
        },
    }


@torch.no_grad()
def _probes(base: _Base, sae: SAE, arguments: Mapping[str, Any]) -> list[Record]:
    """Probes trained on one orientation of training images, tested on every held-out one."""
    order = base.store.group.order
    drawn = np.random.default_rng(arguments["seed"]).integers(order, size=len(base.train))
    sets = (
        (base.train, drawn),
        (np.repeat(base.held_out, order), np.tile(np.arange(order), len(base.held_out))),
    )
    codes = [_pooled(sae, base.store, samples, elements) for samples, elements in sets]
    # A class is the same in every orientation, so of an orbit SAE the invariant readout is probed.
    codes = [invariant_readout(sae, each) for each in codes]
    labels = [torch.from_numpy(base.labels[samples]) for samples, _ in sets]
    rows = []
    for t in arguments["probe_latents"]:
        kept = largest_between_class_variance(codes[0], labels[0], min(t, codes[0].shape[1]))
        scores = logistic_scores(codes[0], labels[0], codes[1], labels[1], kept)
        rows.append({"probe_latents": t, "macro_f1": scores.macro_f1, "accuracy": scores.accuracy})
    return rows


def _pooled(
    sae: SAE,
    store: ActivationStore,
    samples: Int[np.ndarray, " n"],
    elements: Int[np.ndarray, " n"],
) -> Float[Tensor, "n latents"]:
    """Codes of images in given orientations, so many at a time that memory holds."""
    step = max(1, _MEASURED // store.positions)
    return torch.cat(
        [
            pooled_codes(sae, store, part, torch.from_numpy(elements[start : start + step]))
            for start in range(0, len(samples), step)
            for part in [samples[start : start + step]]
        ]
    )
