"""Probes of a few latents on Shapes: 180 tasks, every SAE, with and without an oracle.

Source: Erdogan & Lucic, arXiv 2511.09432, Tables 4 and 5, Figures 3 and 4.
"""

from pathlib import Path
from typing import Any

from orbitlens.reproduce import COLUMNS, main
from orbitlens.reproduce.shapes_tables import shapes_recipe

COMPARED = [name for name in COLUMNS if name != "crosscoder"]
FULL = {
    "models": ["mlp", "cnn"],
    "groups": ["C4", "D4"],
    "topks": [4, 8],
    "columns": COMPARED,
    "probe_latents": [1, 2, 4, 8, 16],
    "oracle_latents": [1, 2, 4, 8, 16],
    "inferred_latents": [1, 2, 4, 8, 16],
    "every": 1,
    "stride": 1,
    "seeds": 3,
    "latents": 64,
    "orbit_weight": 0.0,
    "orbit_lr": 2e-3,
    "epochs": 500,
    "batch_size": 128,
    "lr": 5e-4,
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
        "columns": ["vanilla", "archetypal", "equivariant_latent", "orbit"],
        "topks": [4],
        "probe_latents": [1, 4],
        "oracle_latents": [1, 4],
        "inferred_latents": [1],
        "every": 45,
        "seeds": 1,
        "latents": 16,
        "epochs": 2,
        "clusters": 32,
        "probe_samples": 60,
        "model_epochs": 1,
        "model_samples": 64,
        "n_samples": 100,
    },
    "small": {
        **FULL,
        "models": ["mlp"],
        "groups": ["C4"],
        "topks": [8],
        "probe_latents": [1, 4, 16],
        "oracle_latents": [1, 4, 16],
        "inferred_latents": [4],
        "probe_samples": 1000,
        "every": 12,
        "seeds": 1,
        "epochs": 100,
        "lr": 2e-3,
        "clusters": 512,
        "model_epochs": 50,
    },
    "medium": {
        **FULL,
        "oracle_latents": [4],
        "every": 24,
        "stride": 4,
        "epochs": 100,
        "lr": 2e-3,
        "clusters": 512,
        "probe_samples": 1000,
        "model_epochs": 20,
    },
    "full": FULL,
}


RECIPE = shapes_recipe(
    Path(__file__).resolve().parent,
    BUDGETS,
    {
        "results.csv": "probing",
        "order.csv": "order",
        "orbit.csv": "orbit",
        "reconstruction.csv": "reconstruction",
    },
    where={"model": "mean", "orientation": "oracle"},
)

if __name__ == "__main__":
    main(RECIPE)
