"""The stages of a run, one by one.

    train_model        the autoencoder, where the run trains one
    harvest_orbits     the activations of the orbits
    learn_transport    the transport that the settings name
    learn_exact        the transport of the orbit SAE
    train_sae          one SAE, with its history

`path` keeps the result of a stage. A stage whose result is there loads it; an interrupted harvest
or training continues. `tick` takes progress.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from orbitlens import data
from orbitlens.activations import ActivationStore, harvest, open_store, split_samples
from orbitlens.files import new_file, new_folder, write_json
from orbitlens.io import save
from orbitlens.models import train_autoencoder
from orbitlens.pipeline._job import Job, check_images
from orbitlens.pipeline._loading import load_fit, load_transport, origin_of
from orbitlens.pipeline._saes import build_sae, sae_objective
from orbitlens.pipeline.config import RunConfig
from orbitlens.pipeline.console import Tick
from orbitlens.training import FitResult, fit
from orbitlens.transport import Transport, fit_exact, fit_transport
from orbitlens.typing import Float, Tensor

__all__ = ["harvest_orbits", "learn_exact", "learn_transport", "train_model", "train_sae"]


def train_model(job: Job, path: Path, tick: Tick | None = None) -> None:
    """Train the autoencoder of a job; other models come trained.

    The weights of `job.model` change. The held-out images take no part in the training.
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
    """Return images to train on: new Shapes, or the training part of other images."""
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
    """Harvest the orbits of a job with `workers` processes that run the network.

    Raises:
        OrbitLensError: If a finished store is of another group, model, layer or other images.
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


def learn_transport(
    config: RunConfig, store: ActivationStore, path: Path, tick: Tick | None = None
) -> Transport:
    """Fit the transport that the settings name."""
    steps = config.transport == "gradient"
    settings: dict[str, Any] = {"seed": config.seed, "progress": tick} if steps else {}
    return _learn(store, path, lambda: fit_transport(store, config.transport, **settings))


def learn_exact(store: ActivationStore, path: Path) -> Transport:
    """Fit the transport that an orbit SAE is built on; see `transport.fit_exact`."""
    return _learn(store, path, lambda: fit_exact(store))


def _learn(store: ActivationStore, path: Path, fit_it: Callable[[], Transport]) -> Transport:
    if path.exists():
        return load_transport(path, store)
    transport = fit_it()
    save(transport, path)
    return transport


def train_sae(
    config: RunConfig,
    name: str,
    store: ActivationStore,
    path: Path,
    tick: Tick | None = None,
    *,
    exact: Transport | None = None,
) -> FitResult:
    """Train one SAE of `NAMES`; "orbit" is built on the transport `exact`.

    Its checkpoint lies beside `path` during the training.
    """
    if path.exists():
        return load_fit(path, store)
    sae = build_sae(config, store.dim, exact)
    checkpoint = path.with_name(f".{path.name}.checkpoint")
    result = fit(
        sae.to(config.torch_device),
        store,
        objective=sae_objective(config, name),
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
        save(result.sae.cpu(), folder / "sae", metadata={"objective": name, **origin_of(store)})
        write_json(
            {"status": result.status, "scale": result.scale, "history": asdict(result.history)},
            folder / "history.json",
        )
    checkpoint.unlink(missing_ok=True)
    return result
