"""The trained base models of the Shapes recipes and their activations, made once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.files import new_folder
from orbitlens.models import BaseModel
from orbitlens.pipeline import Job, RunConfig, prepare, stages
from orbitlens.reproduce._jobs import file_name
from orbitlens.typing import Float, Int, Tensor

__all__ = ["Base", "shapes_base"]


@dataclass(frozen=True, eq=False)
class Base:
    """A trained base model and its activations on orbits of Shapes.

    Args:
        model: The network.
        images: The canonical images, shape [n, 1, size, size].
        shape_ids: The glyph in each quadrant, shape [n, 4].
        store: Activations of their orbits.
        job: The action and the settings.
    """

    model: BaseModel
    images: Float[Tensor, "n channels height width"]
    shape_ids: Int[np.ndarray, "n quadrant"]
    store: ActivationStore
    job: Job


def shapes_base(folder: Path, *, model: str, group: str, seed: int, **settings: Any) -> Base:
    """Train a base model on Shapes and harvest its activations, or open them.

    Args:
        folder: The folder of a recipe's run. Base models lie in `shapes-models` beside it, so that
            recipes share them.
        model: "mlp", "cnn", "vit", or a network that comes trained, such as
            "torchvision:vit_b_16".
        group: "C4" or "D4"; also the augmentation of the model's training.
        seed: Seed of the model, its images and the harvested images.
        settings: Further settings of `RunConfig`: model_epochs, model_samples, n_samples,
            and layer, positions and image_size of a network that comes trained.

    Returns:
        The model, its images and its activations.
    """
    config = RunConfig.for_source("builtin:shapes", model=model, group=group, seed=seed, **settings)
    name = (
        f"{file_name(model)}-{config.layer or 'code'}-{config.positions}-{group}-seed{seed}-"
        f"{config.model_epochs}epochs-{config.model_samples}images-{config.n_samples}orbits-"
        f"{config.image_size}px"
    )
    place = folder.parent / "shapes-models" / name
    job = prepare(config)
    if not place.exists():
        try:
            with new_folder(place) as part:
                stages.train_model(job, part / "model.safetensors")
                stages.harvest_orbits(job, part / "acts.zarr")
        except OrbitLensError:
            # Another recipe may have made the same network meanwhile; then use that one.
            if not place.exists():
                raise
    stages.train_model(job, place / "model.safetensors")
    store = stages.harvest_orbits(job, place / "acts.zarr")
    shape_ids = job.source.shape_ids
    if shape_ids is None:
        raise RuntimeError("Shapes know their glyphs")
    return Base(job.model, job.source.inputs.values[:], shape_ids, store, job)
