"""A run before any work: its images, action and network, loaded and checked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orbitlens import data, groups
from orbitlens.actions import Action
from orbitlens.activations import ActivationStore, split_samples
from orbitlens.data import Inputs, LazyInputs
from orbitlens.errors import OrbitLensError
from orbitlens.models import (
    BaseModel,
    CNNAutoencoder,
    MLPAutoencoder,
    ViTAutoencoder,
    as_they_are,
    check_channels,
    resolve_model,
)
from orbitlens.pipeline._actions import action_of
from orbitlens.pipeline._given_source import IMAGES, is_array_source
from orbitlens.pipeline._network_input import describe_network_input, warn_of_unprepared
from orbitlens.pipeline._saes import NAMES, check_pairs
from orbitlens.pipeline.config import AUTOENCODERS, RunConfig
from orbitlens.pipeline.console import Console
from orbitlens.pipeline.folder import RunFolder, check_place
from orbitlens.typing import Float, Int, Tensor

_DRAWN: dict[str, Callable[..., Inputs]] = {
    "photographs": data.photographs,
    "cells": data.cells,
}
_AUTOENCODERS: dict[str, Callable[..., MLPAutoencoder | CNNAutoencoder | ViTAutoencoder]] = dict(
    zip(AUTOENCODERS, (MLPAutoencoder, CNNAutoencoder, ViTAutoencoder), strict=True)
)

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as image libraries have it


@dataclass(frozen=True, eq=False)
class Source:
    """The inputs of a run.

    Args:
        inputs: The images, or the inputs of another kind.
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

    @cached_property
    def network_input(self) -> dict[str, Any]:
        """What the network gets, see `describe_network_input`; some inputs are read for it once."""
        return describe_network_input(self.config, self.model, self.source.inputs)

    @property
    def decodes(self) -> bool:
        """Whether the rest of the model leads back to the image, so that an SAE can be spliced."""
        return self.trains_model and self.model.layer == "encoder"


def begin(
    config: RunConfig, out: str | Path, *, resume: bool, console: Console
) -> tuple[Job, RunFolder]:
    """Check the folder `out`, prepare the job, and return it with the folder.

    What the folder alone can tell is told first. Its settings are complete: those of the images
    that were left to the network are its own.
    """
    check_place(out, config, resume=resume)
    if resume and config.saes is not None:
        there = [name for name in NAMES if (Path(out) / "saes" / name).is_dir()]
        config = replace(config, saes=tuple(n for n in NAMES if n in (*config.saes, *there)))
    with console.stage("load network and images"):
        job = prepare(config)
    return job, RunFolder(out, job.config.to_dict(), resume=resume)


def prepare(config: RunConfig, source: Source | None = None, *, splits: bool = True) -> Job:
    """Build the model, load the images it is made for, and check that all fits together.

    `source` holds the images; None loads those that the settings name. With `splits` (the default)
    there must be enough of them to hold some out.

    Raises:
        OrbitLensError: If the images do not fit the group or the model, or the model is at fault.
    """
    check_pairs(config, groups.from_name(config.group))
    action_of(config, config.group)
    given, of_images = config, config.action == IMAGES
    model = None if config.model in _AUTOENCODERS else _resolve(config)
    if model is not None and of_images:
        wanted = model.channels if _reads_as_made(model) else None
        config = config.settled(image_size=model.image_size, channels=wanted)
    source = source or load_source(config)
    values = source.inputs.values
    action = build_action(config, config.group, source.inputs)
    if splits:
        split_samples(len(values))
    if model is None:
        return Job(config, source, action, _autoencoder(config, source.inputs))
    if of_images:
        if model.channels is not None:
            check_channels(model.name, tuple(values.shape[1:]), model.channels)
        warn_of_unprepared(given, model, values.shape)
    return Job(config, source, action, model)


def build_action(config: RunConfig, group: str, inputs: Inputs) -> Action:
    """Build the action of a group on the inputs, or raise if it has none."""
    action = action_of(config, group)
    action.check(inputs.values[:1])
    return action


def load_source(config: RunConfig) -> Source:
    """Load the images that the settings name, with their glyphs if they are Shapes."""
    count, seed = config.n_samples, config.seed
    size = config.settled().image_size or 0
    if config.source == "shapes":
        shapes = data.shapes(count, seed=seed, size=size)
        return Source(_in_channels(shapes.inputs, config.channels), shapes.shape_ids)
    if config.source == "digits":
        images = data.digits(size).subset(count, seed=seed)
    elif config.source in _DRAWN:
        images = _DRAWN[config.source](count, size=size, seed=seed)
    elif is_array_source(config.source):
        of_images = config.action == IMAGES
        images = data.array_file(config.source, images=of_images, limit=count, seed=seed)
    else:
        images = data.image_folder(
            config.source,
            size=size,
            channels=config.channels or "auto",
            crop=config.crop,
            white=config.white,
            unreadable=config.unreadable,
            limit=count,
            seed=seed,
            in_memory=False,
        )
    return Source(_in_channels(images, config.channels), None)


def _in_channels(inputs: Inputs, channels: int | None) -> Inputs:
    """Return images in 1 or 3 channels: grey is repeated, and colour becomes its luminance."""
    values = inputs.values
    if channels in (None, values.shape[1]) or values.shape[1] not in (1, 3):
        return inputs
    if isinstance(values, LazyInputs):
        lazy = LazyInputs(lambda i: _with_channels(values[i : i + 1], channels)[0], len(values))
        return replace(inputs, values=lazy)
    return replace(inputs, values=_with_channels(values, channels))


def _with_channels(
    images: Float[Tensor, "n channels height width"], channels: int
) -> Float[Tensor, "n other height width"]:
    if channels == 1:
        luminance = images.new_tensor(_LUMINANCE).reshape(1, -1, 1, 1)
        return (images * luminance).sum(1, keepdim=True)
    return images.expand(-1, channels, -1, -1).contiguous()


def check_images(store: ActivationStore, inputs: Inputs) -> None:
    """Raise if a store was harvested from other images."""
    if store.digest != inputs.digest:
        raise OrbitLensError(
            f"images of {store}",
            expected=f"those that were harvested, digest {store.digest}",
            received=f"{len(inputs.values)} with digest {inputs.digest}",
            remedy="the images have changed since; start a new run",
        )


def _autoencoder(config: RunConfig, inputs: Inputs) -> BaseModel:
    _, channels, size, _ = inputs.values.shape
    return BaseModel(
        name=f"{inputs.name}-{config.model}",
        module=_AUTOENCODERS[config.model](size=size, channels=channels, seed=config.seed),
        layer=config.layer or "encoder",
    )


def _resolve(config: RunConfig) -> BaseModel:
    return resolve_model(
        config.model,
        layer=config.layer,
        random_weights=config.random_weights,
        normalise=config.normalise,
        seed=config.seed,
    )


def _reads_as_made(model: BaseModel) -> bool:
    """Return whether images are read in the channels of a network.

    Grey images for colour stay grey where the network's preparation repeats them.
    """
    return model.channels == 1 or (model.channels == 3 and model.prepare is as_they_are)
