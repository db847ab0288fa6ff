"""The SAEs of a recipe: centroids for the archetypal ones, training, and what they give back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.files import new_file
from orbitlens.io import load, save
from orbitlens.pipeline._orbit import Split
from orbitlens.reproduce.columns import Column, build_column
from orbitlens.sae import SAE, kmeans_candidates
from orbitlens.training.fit import fit
from orbitlens.training.orbit_weight import choose_orbit_weight
from orbitlens.training.views import Objective
from orbitlens.transport import Transport, fit_transport, move
from orbitlens.typing import Elements, Float, Int, Orbits, Tensor

HIDDEN = 128
WEIGHT = "orbit_weight"
_CLUSTERED = 8192
_READ = 2**20


@dataclass(frozen=True, eq=False)
class Parts:
    """What some columns are built from, besides widths.

    Args:
        candidates: Centroids for the archetypal ones, shape [candidates, dim].
        exact: An exact transport for the orbit SAE.
    """

    candidates: Float[Tensor, "candidates dim"]
    exact: Transport


def centroids(
    store: ActivationStore,
    samples: Int[np.ndarray, " n"],
    clusters: int,
    *,
    seed: int,
    path: Path | None = None,
) -> Float[Tensor, "candidates dim"]:
    """Compute k-means centroids of the activations in every orientation, or read them.

    Args:
        store: Activations of orbits.
        samples: Samples to look at, shape [n]; 8,192 of their activations are clustered.
        clusters: Number of centroids; fewer where there are fewer distinct activations.
        seed: Seed of the activations and of k-means.
        path: File that keeps them; None keeps them nowhere.

    Returns:
        Centroids, shape [candidates, dim].
    """
    if path is not None and path.exists():
        return load_file(path)["candidates"]
    generator = np.random.default_rng(seed)
    most = max(1, min(_CLUSTERED, _READ // (store.positions * store.group.order)))
    read = np.sort(generator.permutation(samples)[:most])
    rows = store.orbits(read).flatten(0, 1)
    chosen = rows[torch.from_numpy(generator.permutation(len(rows))[:_CLUSTERED])]
    found = kmeans_candidates(chosen, min(clusters, len(chosen.unique(dim=0))), seed=seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as file:
            save_file({"candidates": found}, file)
    return found


def trained_sae(
    column: Column,
    store: ActivationStore,
    parts: Parts,
    settings: Mapping[str, Any],
    path: Path,
    *,
    samples: Int[np.ndarray, " n"] | None = None,
) -> SAE:
    """Train the SAE of a column, or load it if it is there.

    Args:
        column: Which.
        store: Activations of orbits.
        parts: What some columns are built from.
        settings: latents, k, epochs, batch_size, lr and seed; orbit_lr and orbit_weight, the
            learning rate and the lambda of the orbit SAE, None for one that is chosen among
            orbit_weights. Where they are given: orbit_atoms, as many as latents by default, and
            lr_decay.
        path: The folder that keeps it.
        samples: Samples to train on, shape [n]; None for the training part of the store.

    Returns:
        The SAE.
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
        hidden=HIDDEN,
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
    sae = build()
    fit(
        sae,
        store,
        objective=weighted(column, weight or 0.0),
        epochs=settings["epochs"],
        **training,
    )
    save(sae, path, metadata={WEIGHT: weight} if tied else None)
    return sae


def weighted(column: Column, orbit_weight: float) -> Objective:
    """Return the objective of a column with its weight.

    Args:
        column: Which.
        orbit_weight: lambda of the orbit SAE; 0 is plain reconstruction.
    """
    if column.objective is not objectives.orbit_invariance:
        return column.objective
    if orbit_weight == 0:
        return objectives.reconstruction
    return partial(objectives.orbit_invariance, weight=orbit_weight)


def fitted_transport(
    store: ActivationStore,
    path: Path,
    *,
    split: Split | None = None,
    fit: Callable[..., Transport] = fit_transport,
) -> Transport:
    """Fit the transport of a network in closed form, or load it if it is there.

    Args:
        store: Activations of orbits.
        path: The folder that keeps it.
        split: Samples to fit on and samples to measure on; default `store.split()`.
        fit: What fits it: `fit_transport` (least squares, default), or `fit_exact` for orbit SAEs.

    Returns:
        The transport.
    """
    found = load(path) if path.exists() else None
    if isinstance(found, Transport):
        return found
    transport = fit(store, split=split)
    save(transport, path)
    return transport


def transport_figures(transport: Transport) -> dict[str, float]:
    """Name the figures of a transport as Table 1 does.

    Args:
        transport: The transport.

    Returns:
        Its held-out R^2, that of the identity, and its relation error.
    """
    return {
        "r2_trained": transport.r2,
        "r2_identity": transport.identity_r2,
        "relation_error": transport.relation_error,
    }


@torch.no_grad()
def oriented_reconstruction(
    column: Column, sae: SAE, orbits: Orbits, elements: Elements, transport: Transport
) -> Float[Tensor, "batch dim"]:
    """Reconstruct each sample in its orientation, as the method of a column does.

    An equivariant SAE decodes the oriented sample and moves the result, rho(g) D(E(psi(gx))). A
    crosscoder reads the canonical sample and decodes with the element's block, D_g(E(psi(x))). The
    others decode the oriented sample, D(E(psi(gx))).

    Args:
        column: Which.
        sae: Its SAE.
        orbits: Activations, shape [batch, |G|, dim].
        elements: The orientation of each, shape [batch].
        transport: The transport.

    Returns:
        Reconstructions, shape [batch, dim].
    """
    rows = torch.arange(len(orbits))
    if sae.dictionary.orbit_order:
        return sae.dictionary.orbit(sae.encode(orbits[:, 0]))[rows, elements]
    x_hat = sae.decode(sae.encode(orbits[rows, elements]))
    return move(x_hat, elements, transport.matrices) if column.transported else x_hat
