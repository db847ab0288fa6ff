"""The jobs of the Shapes recipes: networks with their transports, then SAEs with their probes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.pipeline import measure_sae
from orbitlens.probe import Orientation, probe_readouts, score_readouts
from orbitlens.probe._from_store import shape_probe_sets
from orbitlens.reproduce._jobs import Job, Record, file_name
from orbitlens.reproduce._saes import fit_parts, sae_jobs, train_column, transport_figures
from orbitlens.reproduce.columns import COLUMNS
from orbitlens.reproduce.shapes import Base, shapes_base
from orbitlens.sae import SAE
from orbitlens.transport import Transport
from orbitlens.typing import Float, Tensor

READOUTS = ("orbit", "orbit_invariant", "orbit_oriented")
_BASE = ("model", "group", "seed", "model_epochs", "model_samples", "n_samples")
_OPTIONAL = ("layer", "positions", "image_size")
_COUNTS: dict[Orientation, str] = {
    "none": "probe_latents",
    "oracle": "oracle_latents",
    "inferred": "inferred_latents",
}


def shapes_jobs(settings: Mapping[str, Any]) -> list[Job]:
    """List the jobs of all seeds, models and groups."""
    each = [
        {**settings, "model": model, "group": group, "seed": seed}
        for seed in range(settings["seeds"])
        for model in settings["models"]
        for group in settings["groups"]
    ]
    return sae_jobs(settings, each, _base_name, _base_name)


def shapes_records(arguments: Mapping[str, Any], folder: Path) -> list[Record]:
    """Do one job: a network and its transport, or an SAE with its figures and probes."""
    own = {name: arguments[name] for name in _OPTIONAL if name in arguments}
    base = shapes_base(folder, **{name: arguments[name] for name in _BASE}, **own)
    parts = fit_parts(base.store, folder, _base_name(arguments), arguments)
    key = {"model": arguments["model"], "group": arguments["group"], "seed": arguments["seed"]}
    if "column" not in arguments:
        labels = arguments.get("labels", {})
        key["model"] = labels.get(arguments["model"], arguments["model"].upper())
        return [{"dataset": "Shapes", **key, **transport_figures(parts.transport)}]
    column = COLUMNS[arguments["column"]]
    path = folder / "saes" / f"{_base_name(arguments)}-k{arguments['k']}-{column.name}"
    sae = train_column(column, base.store, parts, arguments, path)
    seed = key.pop("seed")
    key = {"topk": arguments["k"], **key, "sae": column.name, "seed": seed}
    rho = parts.exact if column.dictionary == "orbit" else parts.transport
    figures = _figures(base, sae, rho, transported=column.transported)
    probes = _probes(base, sae, rho.matrices if column.transported else None, arguments)
    return [{**key, **figures}, *({**key, **row} for row in probes)]


def _base_name(arguments: Mapping[str, Any]) -> str:
    model = file_name(arguments["model"])
    return "{model}-{group}-seed{seed}".format(**{**arguments, "model": model})


@torch.no_grad()
def _figures(base: Base, sae: SAE, rho: Transport, *, transported: bool) -> Record:
    """Measure held-out reconstruction, and the base model's error with the SAE spliced in."""
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


@torch.no_grad()
def _probes(
    base: Base,
    sae: SAE,
    matrices: Float[Tensor, "group dim dim"] | None,
    arguments: Mapping[str, Any],
) -> list[Record]:
    """Return the F1 of every task by every readout, and by the readout that the rule takes."""
    train, held_out, families = shape_probe_sets(
        base.shape_ids,
        base.store,
        sae,
        choose=lambda names: choose_tasks(names, arguments["every"]),
        count=arguments["probe_samples"],
        seed=arguments["seed"],
    )
    t = {orientation: arguments[name] for orientation, name in _COUNTS.items()}
    settings: dict[str, Any] = {
        "families": families,
        "stride": arguments["stride"],
        "seed": arguments["seed"],
        "threads": 1,
    }
    found: list[tuple[Record, Sequence[int], Tensor]]
    if sae.dictionary.group is not None:
        scores = probe_readouts(train, held_out, sae, t=t["none"], **settings)
        f1s = (scores.chosen, scores.invariant, scores.oriented)
        found = [
            ({"sae": name, "orientation": "none"}, t["none"], f1)
            for name, f1 in zip(READOUTS, f1s, strict=True)
        ]
    else:
        found = [
            ({"orientation": orientation}, t[orientation], each.f1)
            for _, orientation, each in score_readouts(
                train, held_out, sae, matrices, t=t, **settings
            )
        ]
    return [
        {**labels, "probe_latents": count, "task": family, "f1": value}
        for labels, counts, f1 in found
        for family, values in zip(families, f1.tolist(), strict=True)
        for count, value in zip(counts, values, strict=True)
    ]


def choose_tasks(families: Sequence[str], every: int) -> list[int]:
    """Choose one task of `every` in each family, at least four; the same ones at each call."""
    generator = np.random.default_rng(0)
    chosen: list[int] = []
    for family in dict.fromkeys(families):
        own = [task for task, name in enumerate(families) if name == family]
        share = min(len(own), max(4, -(-len(own) // every)))
        chosen += generator.permutation(own)[:share].tolist()
    return sorted(chosen)
