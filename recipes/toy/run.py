"""The toy model: does an SAE find the true features, and do its latents detect them?

Source: Erdogan & Lucic, arXiv 2511.09432, experiment 1: Table 3, Figures 2 and 8.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import orbitlens as ol
from orbitlens.metrics import feature_detection, feature_recovery
from orbitlens.probe import invariant_readout
from orbitlens.reproduce import (
    COLUMNS,
    Column,
    Job,
    Recipe,
    build_column,
    centroids,
    column_objective,
    line_panels,
    main,
    oriented_reconstruction,
    summarise,
)
from orbitlens.training import Objective

DIM, HIDDEN, K, CLUSTERS, LR = 16, 64, 3, 256, 5e-4
FULL = {
    "n_features": [8, 16, 18, 32],
    "orbit_sizes": [4, 8, 16, 32],
    "seeds": 3,
    "n_samples": 10_000,
    "latents_per_feature": 2,
    "epochs": 256,
    "batch_size": 256,
    "latent_weight": 0.25,
    "orbit_lr": 2e-3,
    "columns": list(COLUMNS),
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **FULL,
        "n_features": [8],
        "orbit_sizes": [4],
        "seeds": 2,
        "n_samples": 400,
        "epochs": 2,
    },
    "small": {**FULL, "orbit_sizes": [4], "epochs": 128},
    "medium": {**FULL, "orbit_sizes": [4, 32]},
    "full": FULL,
}
METRICS = {
    "mse": "std",
    "recovery": "std",
    "detection_top1": "std",
    "detection_top4": "std",
    "transported_mse": "std",
    "recovery_modulo": "std",
    "explained_variance": "std",
}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each column and number of features: everything in it trains as one stack."""
    return [
        Job(f"{column}-{n}", {**settings, "column": column, "n": n})
        for n in settings["n_features"]
        for column in settings["columns"]
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train and measure one column at one number of features."""
    del folder
    column, n = COLUMNS[arguments["column"]], arguments["n"]
    cells = [
        (canonical, orbit_size, seed)
        for canonical in ("fixed", "random", "random_orbits")
        for orbit_size in arguments["orbit_sizes"]
        for seed in range(arguments["seeds"])
        if canonical == "fixed" or (orbit_size == 4 and _tells(canonical, column))
    ]
    toys = [
        ol.data.toy(
            n_features=n,
            orbit_size=orbit_size,
            dim=DIM,
            n_samples=arguments["n_samples"],
            canonical=canonical,
            seed=seed,
        )
        for canonical, orbit_size, seed in cells
    ]
    stores = [ol.store_from_array(toy.orbits, group=toy.group) for toy in toys]
    saes = [
        build_column(
            column,
            DIM,
            arguments["latents_per_feature"] * n,
            K,
            hidden=HIDDEN,
            group_order=store.group.order,
            candidates=centroids(store, store.split()[0], CLUSTERS, seed=seed)
            if column.dictionary == "archetypal"
            else None,
            transport=ol.fit_transport(store, "exact") if column.dictionary == "orbit" else None,
            seed=seed,
        )
        for store, (_, _, seed) in zip(stores, cells, strict=True)
    ]
    ol.fit(
        saes,
        stores,
        objective=_objective(column, arguments["latent_weight"]),
        epochs=arguments["epochs"],
        batch_size=arguments["batch_size"],
        lr=arguments["orbit_lr"] if column.dictionary == "orbit" else LR,
        seed=[seed for _, _, seed in cells],
    )
    return [
        {
            "sae": column.name,
            "n_features": n,
            "orbit_size": orbit_size,
            "canonical": canonical,
            "seed": seed,
            **measure(column, sae, toy, store, seed),
        }
        for (canonical, orbit_size, seed), sae, toy, store in zip(
            cells, saes, toys, stores, strict=True
        )
    ]


def _objective(column: Column, latent_weight: float) -> Objective:
    if column.objective is ol.objectives.latent_invariance:
        return partial(ol.objectives.latent_invariance, weight=latent_weight)
    # The action is exact here, so pooled codes are invariant for every weight.
    return column_objective(column, orbit_weight=0.0)


def _tells(canonical: str, column: Column) -> bool:
    """The third reading concerns only the SAEs that look for a canonical sample."""
    return canonical == "random" or column.transported


@torch.no_grad()
def measure(
    column: Column, sae: ol.SAE, toy: ol.data.ToyData, store: ol.ActivationStore, seed: int
) -> dict[str, float]:
    """Measure an SAE on held-out orbits, each in one random orientation."""
    held_out = torch.from_numpy(store.split()[1])
    generator = torch.Generator().manual_seed(seed)
    elements = torch.randint(toy.group.order, (len(held_out),), generator=generator)
    x, present = toy.orbits[held_out, elements], toy.present[held_out]
    output = sae(x)
    codes = invariant_readout(sae, output.codes)
    rho = ol.fit_transport(store)
    final = oriented_reconstruction(column, sae, toy.orbits[held_out], elements, rho)
    return {
        "mse": (output.x_hat - x).square().mean().item(),
        "transported_mse": (final - x).square().mean().item(),
        "explained_variance": ol.metrics.explained_variance(x, final).item(),
        "recovery": feature_recovery(sae.W_dec, toy.features).score,
        # One direction for each atom: modulo the group its orientations are one.
        "recovery_modulo": feature_recovery(
            sae.W_dec[: codes.shape[1]], toy.features, toy.matrices
        ).score,
        "detection_top1": feature_detection(codes, present, m=1, seed=seed),
        "detection_top4": feature_detection(codes, present, m=4, seed=seed),
    }


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds."""
    return summarise(records, ["sae", "n_features", "orbit_size", "canonical"], METRICS)


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw Figures 2 and 8: the metrics by the number of features, and by the orbit size."""
    fixed = [row for row in tables["results.csv"] if row["canonical"] == "fixed"]
    sizes = [row["n_features"] for row in fixed]
    shown = 16 if 16 in sizes else sizes[0]
    line_panels(
        [row for row in fixed if row["orbit_size"] == 4],
        folder / "figure2.png",
        x=("n_features", "true features N"),
        series="sae",
        metrics=METRICS,
        title="Toy model, orbit size 4: mean and standard deviation over seeds",
    )
    line_panels(
        [row for row in fixed if row["n_features"] == shown],
        folder / "figure8.png",
        x=("orbit_size", "orbit size |G|"),
        series="sae",
        metrics=METRICS,
        title=f"Toy model, N = {shown}: mean and standard deviation over seeds",
    )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results},
    where={"orbit_size": 4, "canonical": "random"},
    plot=plot,
)

if __name__ == "__main__":
    main(RECIPE)
