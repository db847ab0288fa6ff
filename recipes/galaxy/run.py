"""GalaxyMNIST through Zoobot: transport, SAEs of every place of a map, probes for the classes.

Source: Erdogan & Lucic, arXiv 2511.09432, experiment 3: Table 1, Figures 5 and 6.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import orbitlens as ol
from orbitlens.errors import missing_extra
from orbitlens.files import new_folder
from orbitlens.reproduce import COLUMNS, main
from orbitlens.reproduce.classes import class_recipe

FULL = {
    "dataset": "GalaxyMNIST",
    "label": "ZooBot",
    "made_up": False,
    "model": "timm:hf_hub:mwalmsley/zoobot-encoder-convnext_pico",
    "layer": "stages.2",
    "positions": "all",
    "image_size": 224,
    "model_epochs": 1,  # for networks that are trained here, which Zoobot is not
    "groups": ["C4", "D4"],
    "topks": [8, 16, 32],
    "columns": list(COLUMNS),
    "probe_latents": [2, 4, 8, 16, 32],
    "seeds": 3,
    "latents": 512,
    "orbit_weight": 0.0,
    "orbit_lr": 2e-3,
    "epochs": 100,
    "batch_size": 1024,
    "lr": 5e-4,
    "clusters": 1024,
    "sae_samples": 2000,
    "train_count": 8000,
    "test_count": 2000,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **FULL,
        "dataset": "made-up galaxies",
        "label": "CNN",
        "made_up": True,
        "model": "cnn",
        "layer": "encoder.2",
        "image_size": 64,
        "groups": ["C4"],
        "topks": [8],
        "columns": ["vanilla", "archetypal", "crosscoder", "equivariant_canonical", "orbit"],
        "probe_latents": [2, 8],
        "seeds": 1,
        "latents": 16,
        "epochs": 1,
        "clusters": 32,
        "sae_samples": 40,
        "train_count": 80,
        "test_count": 20,
    },
    "small": {
        **FULL,
        "groups": ["C4"],
        "topks": [8],
        "seeds": 1,
        "epochs": 20,
        "sae_samples": 200,
        "train_count": 800,
        "test_count": 200,
    },
    "medium": {
        **FULL,
        "seeds": 1,
        "epochs": 25,
        "sae_samples": 250,
        "train_count": 3200,
        "test_count": 800,
    },
    "full": FULL,
}


def images(arguments: Mapping[str, Any], folder: Path) -> ol.data.Inputs:
    """Load as many galaxies as the budget asks for; those of the published test set come last."""
    root = made_up(folder / "made-up") if arguments["made_up"] else None
    galaxies = ol.data.galaxy_mnist("all", arguments["image_size"], root)
    n = len(galaxies.values)
    train, test = arguments["train_count"], arguments["test_count"]
    if train + test >= n:
        return galaxies
    generator = np.random.default_rng(0)
    last_train = n * 4 // 5  # as published: 8,000 for training, then 2,000 for testing
    chosen = np.concatenate(
        [
            np.sort(generator.permutation(last_train)[:train]),
            np.sort(generator.permutation(np.arange(last_train, n))[:test]),
        ]
    )
    return replace(
        galaxies,
        values=galaxies.values[chosen],
        labels=None if galaxies.labels is None else galaxies.labels[chosen],
    )


def made_up(folder: Path) -> Path:
    """Write smooth blobs, rounder or flatter by class, in the format of GalaxyMNIST."""
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", extra="galaxy") from None
    if folder.exists():
        return folder
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    with new_folder(folder) as part:
        for split in ("train", "test"):
            count = BUDGETS["smoke"][f"{split}_count"]
            labels = (np.arange(count) % 4).astype(np.uint8)
            angle = generator.uniform(0, np.pi, (count, 1, 1))
            along = x * np.cos(angle) + y * np.sin(angle)
            across = y * np.cos(angle) - x * np.sin(angle)
            light = np.exp(-8 * along**2 - 8 * (1 + labels[:, None, None]) ** 2 * across**2)
            light = 255 * light + generator.uniform(0, 25, light.shape)
            pixels = np.repeat(light.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
            with h5py.File(part / f"{split}_dataset.hdf5", "w") as file:
                file["images"], file["labels"] = pixels, labels
    return folder


RECIPE = class_recipe(Path(__file__).resolve().parent, BUDGETS, images)

if __name__ == "__main__":
    main(RECIPE)
