"""A run before any work: its images, action and network, loaded and checked."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orbitlens import actions, data, groups
from orbitlens.actions import Action
from orbitlens.activations import ActivationStore, split_samples
from orbitlens.data import Inputs
from orbitlens.errors import OrbitLensError
from orbitlens.models import BaseModel, CNNAutoencoder, MLPAutoencoder, ViTAutoencoder
from orbitlens.models.resolve import resolve_model
from orbitlens.pipeline._saes import check_pairs
from orbitlens.pipeline.config import AUTOENCODERS, RunConfig
from orbitlens.typing import Int

_DRAWN: dict[str, Callable[..., Inputs]] = {
    "photographs": data.photographs,
    "cells": data.cells,
}
_AUTOENCODERS: dict[str, Callable[..., MLPAutoencoder | CNNAutoencoder | ViTAutoencoder]] = dict(
    zip(AUTOENCODERS, (MLPAutoencoder, CNNAutoencoder, ViTAutoencoder), strict=True)
)


@dataclass(frozen=True, eq=False)
class Source:
    """The images of a run.

    Args:
        inputs: The images.
        shape_ids: The glyph in each quadrant, shape [n, 4]; None unless the images are Shapes.
    """

    inputs: Inputs
    shape_ids: Int[np.ndarray, "n quadrant"] | None


@dataclass(frozen=True, eq=False)
class Job:
    """A run that was checked and can begin.

    Args:
        config: The settings.
        source: The images.
        action: The action of the group on them.
        model: The network; an autoencoder is still untrained.
    """

    config: RunConfig
    source: Source
    action: Action
    model: BaseModel

    @property
    def trains_model(self) -> bool:
        """Whether the model is an autoencoder that the run trains."""
        return self.config.model in _AUTOENCODERS

    @property
    def decodes(self) -> bool:
        """Whether the rest of the model leads back to the image, so that an SAE can be spliced."""
        return self.trains_model and self.model.layer == "encoder"


def prepare(config: RunConfig, source: Source | None = None) -> Job:
    """Load the images, build action and model, and check that they fit together.

    `source` holds the images; None loads those that the settings name.
    """
    source = source or load_source(config)
    action = build_action(config, config.group, source.inputs)
    split_samples(len(source.inputs.values))
    check_pairs(config, action.group)
    return Job(config, source, action, _build_model(config, source.inputs))


def build_action(config: RunConfig, group: str, inputs: Inputs) -> Action:
    """Build the action of a group on the images, or raise if it has none."""
    action = actions.images(groups.from_name(group), interpolation=config.interpolation)
    action.check(inputs.values[:1])
    return action


def load_source(config: RunConfig) -> Source:
    """Load the images that the settings name, with their glyphs if they are Shapes."""
    size, count, seed = config.image_size, config.n_samples, config.seed
    if config.source == "shapes":
        shapes = data.shapes(count, seed=seed, size=size)
        return Source(shapes.inputs, shapes.shape_ids)
    if config.source == "digits":
        images = data.digits(size).subset(count, seed=seed)
    elif config.source in _DRAWN:
        images = _DRAWN[config.source](count, size=size, seed=seed)
    else:
        images = data.image_folder(
            config.source,
            size=size,
            white=config.white,
            unreadable=config.unreadable,
            limit=count,
            seed=seed,
            in_memory=False,
        )
    return Source(images, None)


def check_images(store: ActivationStore, inputs: Inputs) -> None:
    """Raise if a store was harvested from other images."""
    if store.digest != inputs.digest:
        raise OrbitLensError(
            f"images of {store}",
            expected=f"those that were harvested, digest {store.digest}",
            received=f"{len(inputs.values)} with digest {inputs.digest}",
            remedy="the images have changed since; start a new run",
        )


def _build_model(config: RunConfig, inputs: Inputs) -> BaseModel:
    _, channels, size, _ = inputs.values.shape
    if config.model in _AUTOENCODERS:
        build = _AUTOENCODERS[config.model]
        return BaseModel(
            name=f"{inputs.name}-{config.model}",
            module=build(size=size, channels=channels, seed=config.seed),
            layer=config.layer or "encoder",
        )
    return resolve_model(
        config.model,
        layer=config.layer,
        random_weights=config.random_weights,
        image_shape=(channels, size, size),
        seed=config.seed,
    )
