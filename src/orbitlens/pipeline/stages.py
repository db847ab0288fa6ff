"""The stages of a run, one by one.

    train_model        the autoencoder, where the run trains one
    harvest_orbits     the activations of the orbits
    learn_transport    the transport that the settings name
    learn_exact        the transport of the orbit SAE
    choose_weight      the weight of its invariance, where the settings leave it open
    train_sae          one SAE, with its history
    train_saes         all SAEs of a run, side by side

`path` keeps the result of a stage. A stage whose result is there loads it; an interrupted harvest
or training continues. `tick` takes progress.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from orbitlens import data
from orbitlens.activations import ActivationStore, harvest, open_store, split_samples
from orbitlens.activations.store._open_store import open_root
from orbitlens.activations.store._resume_settings import weights_digest
from orbitlens.errors import DamageError, OrbitLensError
from orbitlens.files import new_file, new_folder, read_json, write_json
from orbitlens.io import save
from orbitlens.io._saes import write_sae
from orbitlens.io._sealed import complete, read_tensors, write_tensors
from orbitlens.models import train_autoencoder
from orbitlens.pipeline._job import Job, check_images
from orbitlens.pipeline._loading import (
    load_fit,
    load_transport,
    training_notes,
    transport_notes,
    write_of_sae,
)
from orbitlens.pipeline._saes import NAMES, ORBIT, build_sae, sae_objective
from orbitlens.pipeline.config import RunConfig
from orbitlens.pipeline.console import Tick
from orbitlens.pipeline.folder import RunFolder
from orbitlens.sae import SAE
from orbitlens.training import FitResult, Objective, choose_orbit_weight, fit
from orbitlens.transport import Transport, fit_exact, fit_transport
from orbitlens.typing import Float, Tensor

__all__ = [
    "choice_cost",
    "choose_weight",
    "harvest_orbits",
    "learn_exact",
    "learn_transport",
    "settings_of_sae",
    "train_model",
    "train_sae",
    "train_saes",
]

_WEIGHT = "orbit_weight.json"
_CHECKPOINT, _TOGETHER = ".saes.checkpoint", ".saes.json"
_WEIGHTS = (0.0, 3.0, 10.0, 30.0, 100.0)
_STEPS = 4000  # in 200 steps of a small folder the weight had not shown what it costs

# The settings that determine the weights of an autoencoder.
_OF_THE_MODEL = (
    *("source", "group", "interpolation", "unreadable", "n_samples", "image_size"),
    *("model", "model_samples", "model_epochs", "seed"),
)


def train_model(job: Job, path: Path, tick: Tick | None = None) -> None:
    """Train the autoencoder of a job; other models come trained.

    The weights of `job.model` change. The held-out images take no part in the training.
    """
    if not job.trains_model:
        return
    config, module = job.config, job.model.module
    settings = {name: getattr(config, name) for name in _OF_THE_MODEL}
    if path.exists():
        with complete(path):
            module.load_state_dict(read_tensors(path, settings))
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
        write_tensors(module.cpu().state_dict(), file, settings)


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
        if job.trains_model:
            _check_network(job, path)
        return store
    store = harvest(
        model.module.to(job.config.torch_device),
        layer=model.layer,
        inputs=inputs.values,
        action=job.action,
        out=path,
        labels=inputs.labels,
        class_names=inputs.class_names,
        files=inputs.files,
        positions=job.config.positions,
        layout=job.config.layout,
        dtype=job.config.dtype,
        workers=workers,
        resume=True,
        prepare=model.prepare,
        seed_forward=job.config.seed_forward,
        name=model.name,
        progress=tick,
    )
    model.module.cpu()
    return store


def _check_network(job: Job, path: Path) -> None:
    """Check that a finished store is of the weights that the network has now."""
    settings = open_root(path).attrs.asdict().get("settings")
    written = settings.get("weights digest") if isinstance(settings, dict) else None
    if written is not None and written != weights_digest(job.model.module):
        raise OrbitLensError(
            str(path),
            expected=f"activations of {job.model.name} as it is in model.safetensors",
            received="those of other weights",
            remedy="restore both from one copy, or start a new run",
        )


def learn_transport(
    config: RunConfig, store: ActivationStore, path: Path, tick: Tick | None = None
) -> Transport:
    """Fit the transport that the settings name."""
    steps = config.transport == "gradient"
    settings: dict[str, Any] = {"seed": config.seed, "progress": tick} if steps else {}
    notes = transport_notes(config.transport, config.seed, store)
    return _learn(store, path, notes, lambda: fit_transport(store, config.transport, **settings))


def learn_exact(store: ActivationStore, path: Path) -> Transport:
    """Fit the transport that an orbit SAE is built on; see `transport.fit_exact`."""
    return _learn(store, path, transport_notes(ORBIT, 0, store), lambda: fit_exact(store))


def _learn(
    store: ActivationStore, path: Path, notes: Mapping[str, Any], fit_it: Callable[[], Transport]
) -> Transport:
    if path.exists():
        return load_transport(path, store, notes)
    transport = fit_it()
    save(transport, path, metadata=notes)
    return transport


def choose_weight(
    config: RunConfig,
    store: ActivationStore,
    exact: Transport,
    folder: RunFolder,
    tick: Tick | None = None,
) -> RunConfig:
    """Return the settings with a weight of invariance for the orbit SAE.

    Where they leave it open, it is chosen on the training part of the store, and kept with the
    figures of all weights in orbit_weight.json; see `training.choose_orbit_weight`.
    """
    path = folder / _WEIGHT
    if config.orbit_weight is None and not path.exists():
        rows = len(store.split()[0]) * store.positions
        choice = choose_orbit_weight(
            lambda: build_sae(config, store.dim, exact).to(config.torch_device),
            store,
            weights=_WEIGHTS,
            epochs=_choice_epochs(config, -(-rows // config.batch_size)),
            progress=tick,
            **_training(config),
        )
        write_json({**asdict(choice), **transport_notes(ORBIT, config.seed, store)}, path)
    return settings_of_sae(config, ORBIT, folder)


def choice_cost(config: RunConfig, steps: int) -> int:
    """Return the epochs that `choose_weight` takes, for epochs of so many steps, over all SAEs."""
    if config.orbit_weight is not None:
        return 0
    return len(_WEIGHTS) * _choice_epochs(config, steps)


def _choice_epochs(config: RunConfig, steps: int) -> int:
    """Return the length of the trainings that try weights: as long as the run, up to a limit."""
    return min(config.epochs, -(-_STEPS // steps))


def settings_of_sae(config: RunConfig, name: str, folder: RunFolder) -> RunConfig:
    """Return the settings of an SAE: the orbit SAE has the weight that was chosen in a folder."""
    path = folder / _WEIGHT
    if name != ORBIT or config.orbit_weight is not None or not path.exists():
        return config
    chosen = read_json(path).get("chosen")
    if not isinstance(chosen, int | float):
        raise DamageError(
            str(path),
            expected="the weight that was chosen, a number",
            received=f"{chosen!r:.40}",
            remedy="remove the file, and continue with --resume",
        )
    return replace(config, orbit_weight=float(chosen))


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
    notes = training_notes(config, name, store)
    if path.exists():
        return load_fit(path, store, notes)
    sae = build_sae(config, store.dim, exact).to(config.torch_device)
    checkpoint = path.with_name(f".{path.name}.checkpoint")
    result = _fit(config, [sae], [sae_objective(config, name)], store, checkpoint, tick)[0]
    _write_fit(result, path, notes)
    checkpoint.unlink(missing_ok=True)
    return result


def train_saes(
    config: RunConfig,
    names: Sequence[str],
    store: ActivationStore,
    folder: RunFolder,
    tick: Tick | None = None,
    *,
    exact: Transport | None = None,
) -> dict[str, FitResult]:
    """Train SAEs of `NAMES` side by side, and return all, also those that were there.

    They share every read of the store. A training that was interrupted goes on with the SAEs that
    it began with, which are returned, too; the others come after it.
    """
    begun = _begun(folder)
    if not all(_place(folder, name).exists() for name in begun):
        # Its checkpoint has all of them, also those that are there already.
        _train_together(config, begun, store, folder, tick, exact)
    _forget(folder)
    missing = [name for name in names if not _place(folder, name).exists()]
    if missing:
        _train_together(config, missing, store, folder, tick, exact)
        _forget(folder)
    names = [name for name in NAMES if name in (*names, *begun)]
    return {
        name: load_fit(_place(folder, name), store, _notes(config, name, store, folder))
        for name in names
    }


def _train_together(
    config: RunConfig,
    names: Sequence[str],
    store: ActivationStore,
    folder: RunFolder,
    tick: Tick | None,
    exact: Transport | None,
) -> None:
    saes = [
        build_sae(config, store.dim, exact if name == ORBIT else None).to(config.torch_device)
        for name in names
    ]
    objectives = [sae_objective(settings_of_sae(config, name, folder), name) for name in names]
    write_json({"saes": list(names)}, folder / _TOGETHER)
    results = _fit(config, saes, objectives, store, folder / _CHECKPOINT, tick)
    for name, result in zip(names, results, strict=True):
        if not _place(folder, name).exists():
            _write_fit(result, _place(folder, name), _notes(config, name, store, folder))


def _notes(
    config: RunConfig, name: str, store: ActivationStore, folder: RunFolder
) -> dict[str, Any]:
    return training_notes(settings_of_sae(config, name, folder), name, store)


def _begun(folder: RunFolder) -> list[str]:
    """Return the SAEs of a training that was interrupted; none without one."""
    path = folder / _TOGETHER
    names = read_json(path).get("saes") if path.exists() else []
    return [name for name in NAMES if isinstance(names, list) and name in names]


def _forget(folder: RunFolder) -> None:
    for name in (_CHECKPOINT, _TOGETHER):
        (folder / name).unlink(missing_ok=True)


def _place(folder: RunFolder, name: str) -> Path:
    return folder / "saes" / name


def _fit(
    config: RunConfig,
    saes: Sequence[SAE],
    objectives: Sequence[Objective],
    store: ActivationStore,
    checkpoint: Path,
    tick: Tick | None,
) -> list[FitResult]:
    return fit(
        list(saes),
        store,
        objective=list(objectives),
        epochs=config.epochs,
        checkpoint=checkpoint,
        progress=tick,
        **_training(config),
    )


def _training(config: RunConfig) -> dict[str, Any]:
    """Return what the choice of a weight and the training itself have in common."""
    names = ("batch_size", "lr", "seed", "precision", "memory_gib")
    return {name: getattr(config, name) for name in names}


def _write_fit(result: FitResult, path: Path, notes: Mapping[str, Any]) -> None:
    with new_folder(path) as folder:
        (folder / "sae").mkdir()
        finite = result.status == "completed"
        write_sae(result.sae.cpu(), folder / "sae", notes, finite=finite)
        write_of_sae(
            {"status": result.status, "scale": result.scale, "history": asdict(result.history)},
            folder / "history.json",
        )
