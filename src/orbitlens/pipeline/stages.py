"""The stages of a run, each a function that the single verbs of the command line call as well."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from orbitlens import actions, data, groups, objectives
from orbitlens.actions import Action
from orbitlens.activations import ActivationStore, harvest, open_store, split_samples
from orbitlens.data import Inputs
from orbitlens.errors import OrbitLensError
from orbitlens.files import new_file, new_folder, read_json, write_json
from orbitlens.io import load, save
from orbitlens.io._transports import check_built_on
from orbitlens.models import (
    BaseModel,
    CNNAutoencoder,
    MLPAutoencoder,
    ViTAutoencoder,
    train_autoencoder,
)
from orbitlens.models.resolve import resolve_model
from orbitlens.pipeline._orbit import ORBIT, build_orbit, check_pairs, fit_exact, orbit_objective
from orbitlens.pipeline.config import AUTOENCODERS, RunConfig
from orbitlens.pipeline.console import Tick
from orbitlens.sae import BUILDERS, SAE
from orbitlens.training.fit import FitResult, History, Objective, fit
from orbitlens.transport import Transport, fit_transport
from orbitlens.typing import Float, Int, Tensor

OBJECTIVES: dict[str, Objective] = {
    "vanilla": objectives.reconstruction,
    "equivariant_canonical": objectives.canonical,
    "equivariant_latent": objectives.latent_invariance,
    "equivariant_output": objectives.output_invariance,
}
NAMES = (*OBJECTIVES, ORBIT)
_DRAWN: dict[str, Callable[..., Inputs]] = {
    "photographs": data.photographs,
    "cells": data.cells,
}
_WEIGHTED = ("equivariant_latent", "equivariant_output")
_AUTOENCODERS: dict[str, Callable[..., MLPAutoencoder | CNNAutoencoder | ViTAutoencoder]] = dict(
    zip(AUTOENCODERS, (MLPAutoencoder, CNNAutoencoder, ViTAutoencoder), strict=True)
)


@dataclass(frozen=True, eq=False)
class Source:
    """What a run looks at.

    Args:
        inputs: The images.
        shape_ids: Which glyph stands in each quadrant, shape [n, 4]; None unless they are Shapes.
    """

    inputs: Inputs
    shape_ids: Int[np.ndarray, "n quadrant"] | None


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that can be wrong about a run, loaded and checked before any work.

    Args:
        config: The settings.
        source: The images.
        action: How the group moves them.
        model: The network, an autoencoder still untrained.
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
        """Whether an SAE can be spliced in: the rest of the model leads back to the image."""
        return self.trains_model and self.model.layer == "encoder"


def prepare(config: RunConfig, source: Source | None = None) -> Job:
    """Load the images, build action and model, and check that they fit together.

    Args:
        config: The settings.
        source: The images; None loads those that the settings name.

    Raises:
        OrbitLensError: If anything that the user named is wrong.
    """
    source = source or load_source(config)
    action = build_action(config, config.group, source.inputs)
    split_samples(len(source.inputs.values))
    check_pairs(config, action.group)
    return Job(config, source, action, _build_model(config, source.inputs))


def build_action(config: RunConfig, group: str, inputs: Inputs) -> Action:
    """Return how a group moves the images.

    Raises:
        OrbitLensError: If it cannot.
    """
    action = actions.images(groups.from_name(group), interpolation=config.interpolation)
    action.check(inputs.values[:1])
    return action


def load_source(config: RunConfig) -> Source:
    """Load the images that the settings name."""
    if config.source == "shapes":
        shapes = data.shapes(config.n_samples, seed=config.seed, size=config.image_size)
        return Source(shapes.inputs, shapes.shape_ids)
    if config.source == "digits":
        digits = data.digits(config.image_size)
        return Source(digits.subset(config.n_samples, seed=config.seed), None)
    if config.source in _DRAWN:
        draw = _DRAWN[config.source]
        return Source(draw(config.n_samples, size=config.image_size, seed=config.seed), None)
    images = data.image_folder(
        config.source,
        size=config.image_size,
        unreadable=config.unreadable,
        limit=config.n_samples,
        seed=config.seed,
        in_memory=False,
    )
    return Source(images, None)


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


def train_model(job: Job, path: Path, tick: Tick | None = None) -> None:
    """Train the autoencoder, or load it if `path` has its weights; other models come trained.

    The held-out images are kept out of its training.
    """
    if not job.trains_model:
        return
    config, module = job.config, job.model.module
    if path.exists():
        module.load_state_dict(load_file(path))
        return
    train_autoencoder(
        module.to(config.torch_device),
        _training_images(job),
        action=job.action,
        epochs=config.model_epochs,
        seed=config.seed,
        progress=tick,
    )
    with new_file(path) as file:
        save_file(module.cpu().state_dict(), file)


def _training_images(job: Job) -> Float[Tensor, "n channels height width"]:
    """Images to train an autoencoder on: new shapes, or the training part of other images."""
    config, values = job.config, job.source.inputs.values
    train, held_out = split_samples(len(values))
    if job.source.shape_ids is None:
        return values[train]
    spare = config.model_samples + config.model_samples // 2
    drawn = data.shapes(spare, seed=config.seed + 1, size=values.shape[-1])
    known = {tuple(ids) for ids in job.source.shape_ids[held_out].tolist()}
    new = [i for i, ids in enumerate(drawn.shape_ids.tolist()) if tuple(ids) not in known]
    return drawn.inputs.values[new[: config.model_samples]]


def harvest_orbits(
    job: Job, path: Path, tick: Tick | None = None, *, workers: int = 1
) -> ActivationStore:
    """Harvest the orbits, go on where an interrupted harvest stopped, or open the store.

    Args:
        job: What to harvest.
        path: The folder of the store.
        tick: Progress.
        workers: Processes that run the network.
    """
    model, inputs = job.model, job.source.inputs
    if path.exists():
        store = open_store(path)
        store.require(group=job.action.group, model=model.name, layer=model.layer)
        check_images(store, inputs)
        return store
    store = harvest(
        model.module.to(job.config.torch_device),
        layer=model.layer,
        inputs=inputs.values,
        action=job.action,
        out=path,
        labels=inputs.labels,
        class_names=inputs.class_names,
        positions=job.config.positions,
        dtype=job.config.dtype,
        workers=workers,
        resume=True,
        prepare=model.prepare,
        name=model.name,
        progress=tick,
    )
    model.module.cpu()
    return store


def check_images(store: ActivationStore, inputs: Inputs) -> None:
    """Check that a store was harvested from these images.

    Raises:
        OrbitLensError: If the images have changed since.
    """
    if store.digest != inputs.digest:
        raise OrbitLensError(
            f"images of {store}",
            expected=f"those that were harvested, digest {store.digest}",
            received=f"{len(inputs.values)} with digest {inputs.digest}",
            remedy="the images have changed since; start a new run",
        )


def learn_transport(
    config: RunConfig, store: ActivationStore, path: Path, tick: Tick | None = None
) -> Transport:
    """Fit the transport, or load it if it is there."""
    if path.exists():
        return load_transport(path, store)
    steps = config.transport == "gradient"
    settings: dict[str, Any] = {"seed": config.seed, "progress": tick} if steps else {}
    transport = fit_transport(store, config.transport, **settings)
    save(transport, path)
    return transport


def learn_exact(store: ActivationStore, path: Path) -> Transport:
    """Fit the transport that an orbit SAE is built on, or load it if it is there.

    Raises:
        OrbitLensError: If no exact transport can be fitted.
    """
    if path.exists():
        return load_transport(path, store)
    transport = fit_exact(store)
    save(transport, path)
    return transport


def load_transport(path: Path, store: ActivationStore) -> Transport:
    """Load a transport and check that it belongs to a store.

    Raises:
        OrbitLensError: If the folder holds something else, or the transport is of another group,
            width, model or layer.
    """
    transport = load(path)
    if not isinstance(transport, Transport):
        raise OrbitLensError(
            str(path),
            expected="a transport",
            received="an SAE",
            remedy="give the folder that `orbitlens transport` wrote",
        )
    transport.check_fits(store.group, store.dim)
    source = f"{store.model}:{store.layer}"
    if transport.source != source:
        raise OrbitLensError(
            "`transport`",
            expected=f"one fitted on {source}",
            received=f"one fitted on {transport.source}",
            remedy="fit the transport on activations of this model and layer",
        )
    return transport


def check_one_motion(transport: Transport) -> None:
    """Check that a transport moves every row of a store alike, as SAEs that share one latent do.

    Raises:
        OrbitLensError: If class token and patches have matrices of their own.
    """
    if transport.motion.tokens is not None:
        raise OrbitLensError(
            "`transport` spatial of an SAE",
            expected="one matrix for all positions",
            received="tokens before the patches that have their own",
            remedy="use the transport exact, or harvest positions cls or a feature map",
        )


def load_sae(path: Path, store: ActivationStore) -> SAE:
    """Load an SAE and check that it belongs to a store.

    Raises:
        OrbitLensError: If the folder holds something else, or the SAE is of another width, group,
            model or layer.
    """
    sae = load(path)
    if not isinstance(sae, SAE):
        raise OrbitLensError(
            str(path),
            expected="an SAE",
            received="a transport",
            remedy="give the folder that `orbitlens train` wrote",
        )
    if sae.d_in != store.dim:
        raise OrbitLensError(
            str(path),
            expected=f"d_in = {store.dim}, the width of the store",
            received=sae.d_in,
            remedy="train the SAE on activations of this model and layer",
        )
    noted = read_json(path / "cfg.json").get("metadata", {})
    for name, value in _origin(store).items():
        if name in noted and noted[name] != value:
            raise OrbitLensError(
                str(path),
                expected=f"an SAE of {name} {value!r}, as the store",
                received=f"one of {name} {noted[name]!r}",
                remedy="train the SAE on activations of this group, model and layer",
            )
    source = f"{store.model}:{store.layer}"
    built_on = sae.dictionary.source
    if built_on and built_on != source:
        raise OrbitLensError(
            str(path),
            expected=f"an SAE of {source}, as the store",
            received=f"an orbit SAE built on the transport of {built_on}",
            remedy="train the SAE on activations of this model and layer",
        )
    return sae


def check_transport_of(sae: SAE, transport: Transport) -> None:
    """Check that a transport can be used with an SAE.

    Raises:
        OrbitLensError: If it moves positions by several matrices, or an orbit SAE was not built on
            it.
    """
    check_one_motion(transport)
    if sae.dictionary.group is not None:
        check_built_on(sae, transport)


def _origin(store: ActivationStore) -> dict[str, Any]:
    return {"group": store.group.name, "model_name": store.model, "hook_name": store.layer}


def build_sae(config: RunConfig, d_in: int) -> SAE:
    """Build the untrained SAE that the settings describe."""
    build = BUILDERS[config.sparsity]
    return build(d_in, config.d_sae, config.k, hidden=config.hidden or None, seed=config.seed)


def load_fit(path: Path, store: ActivationStore) -> FitResult:
    """Load a trained SAE with its history.

    Raises:
        OrbitLensError: If it is not there, damaged, or of another store.
    """
    sae = load_sae(path / "sae", store)
    record = read_json(path / "history.json")
    try:
        # JSON has no NaN: a loss that diverged is null there.
        curves: dict[str, Any] = {
            name: [math.nan if value is None else value for value in values]
            for name, values in record.pop("history").items()
        }
        return FitResult(sae=sae, history=History(**curves), **record)
    except (KeyError, TypeError, AttributeError):
        raise OrbitLensError(
            str(path / "history.json"),
            expected="history, status and scale",
            received=sorted(record),
            remedy="the file is incomplete; train the SAE again",
        ) from None


def train_sae(
    config: RunConfig,
    name: str,
    store: ActivationStore,
    path: Path,
    tick: Tick | None = None,
    *,
    exact: Transport | None = None,
) -> FitResult:
    """Train one of `NAMES`, go on where that was stopped, or load it if it is there.

    Args:
        config: The settings.
        name: Which; "orbit" needs an exact transport.
        store: Activations of orbits.
        path: The folder that keeps it; beside it, as long as it is in training, its checkpoint.
        tick: Progress.
        exact: The transport that the orbit SAE is built on.
    """
    if path.exists():
        return load_fit(path, store)
    sae = build_sae(config, store.dim) if exact is None else build_orbit(config, store.dim, exact)
    checkpoint = path.with_name(f".{path.name}.checkpoint")
    result = fit(
        sae.to(config.torch_device),
        store,
        objective=_objective(config, name),
        epochs=config.epochs,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=config.seed,
        precision=config.precision,
        memory_gib=config.memory_gib,
        checkpoint=checkpoint,
        progress=tick,
    )
    with new_folder(path) as folder:
        origin = {"objective": name, **_origin(store)}
        save(result.sae.cpu(), folder / "sae", metadata=origin)
        write_json(
            {"status": result.status, "scale": result.scale, "history": asdict(result.history)},
            folder / "history.json",
        )
    checkpoint.unlink(missing_ok=True)
    return result


def _objective(config: RunConfig, name: str) -> Objective:
    if name == ORBIT:
        return orbit_objective(config)
    objective = OBJECTIVES[name]
    return partial(objective, weight=config.weight) if name in _WEIGHTED else objective
