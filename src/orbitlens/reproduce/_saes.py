"""The steps that recipes on networks share: jobs, transports, centroids, training of SAEs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.files import new_file
from orbitlens.io import load, save
from orbitlens.io._sealed import read_tensors, write_tensors
from orbitlens.reproduce._jobs import Job, Record
from orbitlens.reproduce._tables import Row, summarise
from orbitlens.reproduce.columns import Column, build_column, column_objective
from orbitlens.sae import SAE, kmeans_candidates
from orbitlens.training import choose_orbit_weight, fit
from orbitlens.transport import Transport, fit_exact, fit_transport
from orbitlens.typing import Float, Int, Tensor

WEIGHT = "orbit_weight"
_HIDDEN = 128
_CLUSTERED = 8192
_READ = 2**20


def sae_jobs(
    settings: Mapping[str, Any],
    each: Sequence[dict[str, Any]],
    name: Callable[[Mapping[str, Any]], str],
    network: Callable[[Mapping[str, Any]], str],
) -> list[Job]:
    """List the networks, each once, then the SAEs: one for each case, number k and column.

    `name` names a case of `each`, and `network` its network, which cases may share.
    """
    networks: dict[str, dict[str, Any]] = {}
    for one in each:
        networks.setdefault(network(one), one)
    return [Job(f"base-{named}", one) for named, one in networks.items()] + [
        Job(f"{name(one)}-k{k}-{column}", {**one, "k": k, "column": column}, phase=1)
        for one in each
        for k in settings["topks"]
        for column in settings["columns"]
    ]


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a network that its SAEs need.

    Args:
        transport: The least-squares transport.
        exact: The exact transport that the orbit SAE is built on.
        candidates: Centroids for the archetypal SAEs, shape [candidates, dim].
    """

    transport: Transport
    exact: Transport
    candidates: Float[Tensor, "candidates dim"]


def fit_parts(
    store: ActivationStore,
    folder: Path,
    name: str,
    settings: Mapping[str, Any],
    *,
    split: tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]] | None = None,
) -> Parts:
    """Fit the parts of a network, or load those that `folder` keeps under its name."""
    split = store.split() if split is None else split
    return Parts(
        _keep(folder / "transports" / name, lambda: fit_transport(store, split=split)),
        _keep(folder / "exact-transports" / name, lambda: fit_exact(store, split=split)),
        centroids(
            store,
            split[0],
            settings["clusters"],
            seed=settings["seed"],
            path=folder / "candidates" / f"{name}.safetensors",
        ),
    )


def _keep(path: Path, fit_it: Callable[[], Transport]) -> Transport:
    found = load(path) if path.exists() else None
    if isinstance(found, Transport):
        return found
    transport = fit_it()
    save(transport, path)
    return transport


def centroids(
    store: ActivationStore,
    samples: Int[np.ndarray, " n"],
    clusters: int,
    *,
    seed: int,
    path: Path | None = None,
) -> Float[Tensor, "candidates dim"]:
    """Compute k-means centroids of the activations in every orientation, or load them from `path`.

    Of the activations 8,192 are clustered, drawn with `seed`. There are fewer centroids if there
    are fewer distinct activations.
    """
    # The seeds of a network that comes trained share its centroids, those of the first one.
    settings = {"clusters": clusters, "activations": store.fingerprint}
    if path is not None and path.exists():
        return read_tensors(path, settings)["candidates"]
    generator = np.random.default_rng(seed)
    most = max(1, min(_CLUSTERED, _READ // (store.positions * store.group.order)))
    read = np.sort(generator.permutation(samples)[:most])
    rows = store.orbits(read).flatten(0, 1)
    chosen = rows[torch.from_numpy(generator.permutation(len(rows))[:_CLUSTERED])]
    found = kmeans_candidates(chosen, min(clusters, len(chosen.unique(dim=0))), seed=seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as file:
            write_tensors({"candidates": found}, file, settings)
    return found


def train_column(
    column: Column,
    store: ActivationStore,
    parts: Parts,
    settings: Mapping[str, Any],
    path: Path,
    *,
    samples: Int[np.ndarray, " n"] | None = None,
) -> SAE:
    """Train the SAE of a column, or load it from `path`.

    The settings are latents, k, epochs, batch_size, lr and seed; orbit_lr and orbit_weight are
    learning rate and lambda of the orbit SAE. A lambda of None is chosen among orbit_weights.
    Optional are orbit_atoms, as many as latents by default, and lr_decay. `samples` are the
    training samples, by default the training part of the store.
    """
    found = load(path) if path.exists() else None
    if isinstance(found, SAE):
        return found
    tied = column.dictionary == "orbit"
    build = partial(
        build_column,
        column,
        store.dim,
        settings.get("orbit_atoms", settings["latents"]) if tied else settings["latents"],
        settings["k"],
        hidden=_HIDDEN,
        group_order=store.group.order,
        candidates=parts.candidates,
        transport=parts.exact,
        seed=settings["seed"],
    )
    training: dict[str, Any] = {
        "batch_size": settings["batch_size"],
        "lr": settings["orbit_lr" if tied else "lr"],
        "lr_decay": settings.get("lr_decay", 0.0),
        "seed": settings["seed"],
        "samples": samples,
    }
    weight = settings["orbit_weight"]
    if tied and weight is None:
        # Half of the epochs show the price of a weight as well as all.
        epochs = max(1, settings["epochs"] // 2)
        weight = choose_orbit_weight(
            build, store, weights=settings["orbit_weights"], epochs=epochs, **training
        ).chosen
    sae, objective = build(), column_objective(column, weight or 0.0)
    fit(sae, store, objective=objective, epochs=settings["epochs"], **training)
    save(sae, path, metadata={WEIGHT: weight} if tied else None)
    return sae


def transport_figures(transport: Transport) -> dict[str, float]:
    """Return held-out R^2, that of the identity, and the relation error, named as in Table 1."""
    return {
        "r2_trained": transport.r2,
        "r2_identity": transport.identity_r2,
        "relation_error": transport.relation_error,
    }


def transport_table(records: Sequence[Record]) -> list[Row]:
    """Summarise these figures over seeds, in the columns of Table 1."""
    metrics = dict.fromkeys(("r2_trained", "r2_identity", "relation_error"), "stderr")
    measured = [record for record in records if "r2_trained" in record]
    return summarise(measured, ["dataset", "model", "group"], metrics)
