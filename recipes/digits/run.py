"""The pipeline of the galaxy and blood experiments on real images that come with scikit-learn.

Source: the protocol of Erdogan & Lucic, arXiv 2511.09432, experiments 3 and 4; digits are not in
the paper.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orbitlens as ol
from orbitlens.reproduce import COLUMNS, main
from orbitlens.reproduce.classes import class_recipe

FULL = {
    "dataset": "digits",
    "label": "CNN",
    "model": "cnn",
    "layer": None,
    "positions": "auto",
    "image_size": 32,
    "model_epochs": 50,
    "groups": ["C4", "D4"],
    "topks": [8, 16, 32],
    "columns": list(COLUMNS),
    "probe_latents": [2, 4, 8, 16, 32],
    "seeds": 3,
    "latents": 128,
    "orbit_weight": 0.0,
    "orbit_lr": 2e-3,
    "epochs": 100,
    "batch_size": 64,
    "lr": 5e-4,
    "clusters": 1024,
    "sae_samples": None,
    "train_count": None,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **FULL,
        "groups": ["C4"],
        "topks": [8],
        "columns": ["vanilla", "archetypal", "crosscoder", "equivariant_canonical", "orbit"],
        "probe_latents": [2, 8],
        "seeds": 1,
        "model_epochs": 1,
        "latents": 16,
        "epochs": 1,
        "clusters": 32,
    },
    "small": {**FULL, "groups": ["C4"], "topks": [8], "seeds": 1},
    "medium": {**FULL, "seeds": 1},
    "full": FULL,
}


def images(arguments: Mapping[str, Any], folder: Path) -> ol.data.Inputs:
    """Load the digits."""
    del folder
    return ol.data.digits(arguments["image_size"])


RECIPE = class_recipe(Path(__file__).resolve().parent, BUDGETS, images)

if __name__ == "__main__":
    main(RECIPE)
