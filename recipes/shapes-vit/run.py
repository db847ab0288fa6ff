"""Shapes through a vision transformer: transport, 180 probing tasks, reconstruction.

Source: Erdogan & Lucic, arXiv 2511.09432, Table 1 and Figures 3 and 4.
"""

from pathlib import Path
from typing import Any

from orbitlens.reproduce import COLUMNS, main
from orbitlens.reproduce.shapes_tables import shapes_recipe

OFFLINE = {
    "models": ["vit"],
    "labels": {"vit": "small ViT", "torchvision:vit_b_16": "ViT-B/16"},
    "groups": ["C4", "D4"],
    "topks": [4, 8],
    "columns": [name for name in COLUMNS if name != "crosscoder"],
    "probe_latents": [1, 2, 4, 8, 16],
    "oracle_latents": [1, 2, 4, 8, 16],
    "inferred_latents": [4],
    "every": 3,
    "stride": 1,
    "seeds": 1,
    "latents": 64,
    "orbit_weight": 0.0,
    "orbit_lr": 2e-3,
    "epochs": 200,
    "batch_size": 128,
    "lr": 5e-4,
    "clusters": 2048,
    "probe_samples": 1000,
    "model_epochs": 100,
    "model_samples": 10_000,
    "n_samples": 4096,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **OFFLINE,
        "groups": ["C4"],
        "topks": [4],
        "columns": ["vanilla", "equivariant_latent", "orbit"],
        "probe_latents": [1],
        "oracle_latents": [1],
        "inferred_latents": [1],
        "every": 45,
        "latents": 16,
        "epochs": 2,
        "clusters": 32,
        "probe_samples": 60,
        "model_epochs": 1,
        "model_samples": 64,
        "n_samples": 100,
    },
    "small": {
        **OFFLINE,
        "groups": ["C4"],
        "topks": [8],
        "probe_latents": [1, 4, 16],
        "oracle_latents": [1, 4, 16],
        "every": 12,
        "epochs": 100,
        "clusters": 512,
        "model_epochs": 20,
    },
    "medium": OFFLINE,
    "full": {
        **OFFLINE,
        "models": ["torchvision:vit_b_16"],
        "layer": "encoder.ln",
        "positions": "cls",
        "image_size": 224,
        "inferred_latents": [1, 2, 4, 8, 16],
        "every": 1,
        "seeds": 3,
        "epochs": 500,
        "probe_samples": 2000,
    },
}


RECIPE = shapes_recipe(
    Path(__file__).resolve().parent,
    BUDGETS,
    {
        "results.csv": "transport",
        "probing.csv": "probing",
        "order.csv": "order",
        "reconstruction.csv": "reconstruction",
    },
)

if __name__ == "__main__":
    main(RECIPE)
