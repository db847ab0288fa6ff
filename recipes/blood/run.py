"""MLL23 through DinoBloom: transport, SAEs of the class token, probes for 18 kinds of blood cell.

Source: Erdogan & Lucic, arXiv 2511.09432, experiment 4: Table 1, Figures 5 and 6.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import orbitlens as ol
from orbitlens.data import MLL23_CLASSES
from orbitlens.errors import missing_extra
from orbitlens.files import new_folder
from orbitlens.reproduce import COLUMNS, main
from orbitlens.reproduce.classes import class_recipe

FULL = {
    "dataset": "MLL23",
    "label": "DinoBloom",
    "made_up": False,
    "limit": 8000,
    "model": "timm:hf_hub:1aurent/vit_small_patch14_224.dinobloom",
    "layer": "norm",
    "positions": "cls",
    "image_size": 224,
    "model_epochs": 1,  # for networks that are trained here, which DinoBloom is not
    "groups": ["C4", "D4"],
    "topks": [8, 16, 32],
    "columns": list(COLUMNS),
    "probe_latents": [2, 4, 8, 16, 32],
    "seeds": 3,
    "latents": 512,
    "orbit_weight": 0.0,
    "orbit_lr": 2e-3,
    "epochs": 100,
    "batch_size": 128,
    "lr": 5e-4,
    "clusters": 1024,
    "sae_samples": None,
    "train_count": None,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **FULL,
        "dataset": "made-up cells",
        "label": "CNN",
        "made_up": True,
        "limit": None,
        "model": "cnn",
        "layer": None,
        "positions": "auto",
        "image_size": 32,
        "groups": ["C4"],
        "topks": [8],
        "columns": ["vanilla", "archetypal", "crosscoder", "equivariant_canonical", "orbit"],
        "probe_latents": [2, 8],
        "seeds": 1,
        "latents": 16,
        "epochs": 1,
        "clusters": 32,
    },
    "small": {**FULL, "limit": 1000, "groups": ["C4"], "topks": [8], "seeds": 1},
    "medium": {**FULL, "limit": 4000, "seeds": 1},
    "full": FULL,
}


def images(arguments: Mapping[str, Any], folder: Path) -> ol.data.Inputs:
    """Load the cells, or a random choice of them."""
    root = made_up(folder / "made-up") if arguments["made_up"] else None
    return ol.data.mll23(root, size=arguments["image_size"], limit=arguments["limit"])


def made_up(folder: Path) -> Path:
    """Write round blobs, larger and redder from class to class, as 18 folders of TIFF files."""
    try:
        from PIL import Image
    except ImportError:
        raise missing_extra("pillow", extra="data") from None
    if folder.exists():
        return folder
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    with new_folder(folder) as part:
        for level, name in enumerate(MLL23_CLASSES, start=1):
            (part / name).mkdir()
            for cell in range(6):
                left, up = generator.uniform(-0.3, 0.3, 2)
                blob = np.exp(-60 / level * ((x - left) ** 2 + (y - up) ** 2))
                tint = np.array([255 - 10 * level, 120, 140])
                pixels = 235 - blob[..., None] * (235 - tint) + generator.normal(0, 4, (48, 48, 3))
                cut = pixels.clip(0, 255).astype(np.uint8)
                Image.fromarray(cut).save(part / name / f"{cell}.tif")
    return folder


RECIPE = class_recipe(Path(__file__).resolve().parent, BUDGETS, images)

if __name__ == "__main__":
    main(RECIPE)
