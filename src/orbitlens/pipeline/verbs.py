"""The single verbs of the command line: one stage each, from folder to folder.

A harvest folder holds config.json, acts.zarr, metrics.json, log.txt, and the weights of an
autoencoder that was trained. The other verbs read such a folder as `activations`, or any store by
its path or URL. Each writes a local folder `out` of its own in the same form and returns the record
in its metrics.json. With `resume` it continues an interrupted one. `console` shows progress.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbitlens.activations import ActivationStore, open_store
from orbitlens.activations.store import address_of, exists, inside, read_at
from orbitlens.errors import OrbitLensError
from orbitlens.files import (
    TO_READ,
    in_place_of_a_folder,
    one_line_errors,
    parse_json,
    read_json,
    write_json,
)
from orbitlens.pipeline import stages
from orbitlens.pipeline._describe import describe_transport, log_data, log_layout
from orbitlens.pipeline._features import write_features
from orbitlens.pipeline._hearing import hears_warnings
from orbitlens.pipeline._job import begin, build_action, check_images, load_source
from orbitlens.pipeline._kept_settings import check_finished
from orbitlens.pipeline._loading import check_transport_of, load_sae, load_transport
from orbitlens.pipeline._probing import Truth, probe_kind, probe_sae
from orbitlens.pipeline._run import render
from orbitlens.pipeline._saes import NAMES, ORBIT, build_sae, check_pairs
from orbitlens.pipeline.config import PROBING, TRAINING, RunConfig
from orbitlens.pipeline.console import Console
from orbitlens.pipeline.folder import RunFolder
from orbitlens.pipeline.measure import (
    measure_sae,
    measured_samples,
    training_figures,
    variation,
)
from orbitlens.report import layer_doubts, sae_doubts, split_doubts, transport_doubts
from orbitlens.transport import Transport, fit_transport

__all__ = ["harvest", "locate", "locate_store", "probe", "report", "train", "transport"]

_WRITES = {"cfg.json": "train", "transport.json": "transport"}


@hears_warnings
def harvest(
    config: RunConfig, out: Path, *, resume: bool, console: Console, workers: int = 1
) -> dict[str, Any]:
    """Train or load the model and store the activations of its orbits; return the store.

    `workers` processes run the network. Their number changes no bit of the result.
    """
    job, folder = begin(config, out, resume=resume, console=console)
    config = job.config
    with folder.writing():
        console.keep_warnings_in(folder)
        log_data(job, folder)
        if job.trains_model:
            with console.stage("train the base model") as tick:
                stages.train_model(job, folder / "model.safetensors", tick)
        with console.stage("harvest orbits") as tick:
            store = stages.harvest_orbits(job, folder / "acts.zarr", tick, workers=workers)
        log_layout(store, config.positions, folder)
        samples = measured_samples(store, d_sae=store.dim, seed=config.seed)
        doubts = layer_doubts(store.layer, variation(store.orbits(samples)))
        record = {
            **store.to_dict(),
            "passed_over": list(job.source.inputs.passed_over),
            "given": job.network_input["sentence"],
        }
        return _finish(folder, record, console, [*_few(store), *doubts])


@hears_warnings
def transport(
    config: RunConfig, activations: Path | str, out: Path, *, resume: bool, console: Console
) -> dict[str, Any]:
    """Fit a transport, measure it on held-out orbits, and return its figures."""
    store = locate_store(activations)
    folder = RunFolder(out, _config(config, ("transport", "seed"), activations), resume=resume)
    with folder.writing():
        console.keep_warnings_in(folder)
        with console.stage("fit the transport") as tick:
            rho = stages.learn_transport(config, store, folder / "transport", tick)
        record = describe_transport(rho)
        return _finish(folder, record, console, [*_few(store), *transport_doubts(record)])


@hears_warnings
def train(
    config: RunConfig,
    activations: Path | str,
    objective: str,
    transport: Path | None,
    out: Path,
    *,
    resume: bool,
    console: Console,
) -> dict[str, Any]:
    """Train one SAE of `NAMES`, measure it on held-out orbits, and return its figures.

    An orbit SAE is built on an exact transport, which also measures it: the one in the folder
    `transport`, or else one that is fitted and kept in exact/. A least-squares transport measures
    the others.

    Raises:
        OrbitLensError: If SAE and transport do not fit the store, or the SAE needs no transport.
    """
    store = locate_store(activations)
    exact = _given_transport(config, objective, transport, store)
    settings = _config(config, TRAINING, activations, transport=transport)
    folder = RunFolder(out, {**settings, "objective": objective}, resume=resume)
    with folder.writing():
        console.keep_warnings_in(folder)
        if objective == ORBIT and exact is None:
            with console.stage("fit the exact transport"):
                exact = stages.learn_exact(store, folder / "exact")
        # It measures the SAE; what stands against it is said before hours of training.
        rho = exact
        if rho is None:
            with console.stage("fit the transport"):
                rho = fit_transport(store)
        rho.motion.check_matrices()
        if objective == ORBIT and exact is not None and config.orbit_weight is None:
            with console.stage("choose the weight of orbit") as tick:
                config = stages.choose_weight(config, store, exact, folder, tick)
        with console.stage(f"train {objective}") as tick:
            result = stages.train_sae(
                config, objective, store, folder / objective, tick, exact=exact
            )
        samples = measured_samples(store, d_sae=result.sae.d_sae, seed=config.seed)
        transported = objective not in ("vanilla", ORBIT)
        orbits = store.orbits(samples)
        figures = measure_sae(result.sae, orbits, rho, transported=transported)
        last = {name: values[-1] for name, values in asdict(result.history).items()}
        record = {
            "status": result.status,
            "d_sae": result.sae.d_sae,
            **figures,
            **write_features(result, store, orbits, rho, folder / objective),
            **training_figures(result, rho if transported else None),
            "last_epoch": last,
        }
        return _finish(folder, record, console, [*_few(store), *sae_doubts(objective, record)])


def _given_transport(
    config: RunConfig, objective: str, path: Path | None, store: ActivationStore
) -> Transport | None:
    """Load the transport of an orbit SAE, and check the SAE before any work."""
    if objective != ORBIT:
        if path is not None:
            raise OrbitLensError(
                "`--rho`",
                expected=f"none but for the objective {ORBIT}",
                received=str(path),
                remedy="leave it out, or train the orbit SAE",
            )
        build_sae(config, store.dim)
        return None
    check_pairs(config, store.group)
    if path is None:
        return None
    transport = load_transport(locate(path, "transport.json"), store)
    build_sae(config, store.dim, transport)
    return transport


@hears_warnings
def probe(
    config: RunConfig,
    activations: Path | str,
    sae: Path,
    transport: Path | None,
    out: Path,
    *,
    resume: bool,
    console: Console,
) -> dict[str, Any]:
    """Probe the trained SAE in the folder `sae` and return the scores.

    The folder `transport` holds the transport that completes an equivariant SAE. Both readouts of
    an orbit SAE are probed.

    Raises:
        OrbitLensError: If the store has neither classes nor Shapes to probe for.
    """
    store = locate_store(activations)
    sae_folder = locate(sae, "cfg.json")
    model = load_sae(sae_folder, store)
    noted = read_json(sae_folder / "cfg.json").get("metadata")
    objective = noted.get("objective") if isinstance(noted, dict) else None
    if transport is not None and objective == "vanilla":
        raise OrbitLensError(
            "`--rho`",
            expected="none, as a vanilla SAE reconstructs what it is given",
            received=str(transport),
            remedy="leave it out, or give an equivariant SAE",
        )
    rho = None
    if transport is not None:
        rho = load_transport(locate(transport, "transport.json"), store)
        check_transport_of(model, rho)
    truth = _truth(store)
    if probe_kind(config, truth, store) is None:
        if truth.labels is not None and len(np.unique(truth.labels)) > 1:
            raise OrbitLensError(
                "`probe_samples`",
                expected="training samples of at least two classes",
                received=f"one class among the {config.probe_samples} that were drawn",
                remedy="draw more with --probe-samples, or harvest more inputs of each class",
            )
        raise OrbitLensError(
            str(activations),
            expected="labels of at least two classes, or Shapes under a group of quarter turns",
            received="neither",
            remedy="sort the images into one subfolder per class and harvest them again",
        )
    folder = RunFolder(
        out, _config(config, PROBING, activations, sae=sae, transport=transport), resume=resume
    )
    with folder.writing():
        console.keep_warnings_in(folder)
        with console.stage("probe") as tick:
            scores = probe_sae(config, truth, store, model, rho, tick)
        return _finish(folder, scores or {}, console, _few(store))


@hears_warnings
def report(
    run: Path,
    *,
    features: int | None = None,
    saes: Sequence[str] | None = None,
    console: Console,
) -> dict[str, Any]:
    """Draw the page of the finished run in the folder `run` again, and return its path.

    `features` of each of `saes` are shown; by default as in the settings, and of all.
    """
    check_finished(run, saes or ())
    record = read_json(run / "config.json")
    # The network that the settings name is not needed, and may be code of a stranger.
    config = RunConfig.from_dict({**record, "device": "cpu"})
    if features is not None:
        config = replace(config, features=features)
    folder = RunFolder(run, record, resume=True)
    folder.refuse_links()
    source = load_source(config)
    action = build_action(config, config.group, source.inputs)
    with console.stage("draw the page"):
        render(config, source, action, folder, features_of=saes or NAMES)
    return console.with_warnings({"page": str(run / "report" / "index.html")}, ())


def locate_store(activations: Path | str) -> ActivationStore:
    """Open a store, given its own path or URL or that of the folder around it."""
    address = address_of(activations)
    with one_line_errors(activations, TO_READ):
        within = exists(address, "acts.zarr")
        return open_store(inside(address, "acts.zarr") if within else address)


def locate(path: Path, marker: str) -> Path:
    """Find the folder with the file `marker`: the path itself, or the only one below it."""
    if (path / marker).is_file():
        return path
    found = sorted(path.rglob(marker))
    if len(found) != 1:
        raise OrbitLensError(
            str(path),
            expected=f"a folder with one {marker}",
            received=f"{len(found) or 'none'} of them"
            if path.is_dir()
            else in_place_of_a_folder(path),
            remedy="give the folder itself" if found else f"give what `{_WRITES[marker]}` wrote",
        )
    return found[0].parent


def _truth(store: ActivationStore) -> Truth:
    """Return labels and glyphs of a store; the glyphs of Shapes follow from their settings."""
    record = _settings_beside(store.path)
    if record.get("source") != "shapes":
        return Truth(shape_ids=None, labels=store.labels)
    source = load_source(RunConfig.from_dict(record))
    check_images(store, source.inputs)
    return Truth(source.shape_ids, labels=None)


def _settings_beside(store: Path | str | None) -> dict[str, Any]:
    """Return the settings of the harvest of a store; empty if they are not beside it."""
    if isinstance(store, str):
        url = f"{store.rpartition('/')[0]}/config.json"
        content = read_at(url)
        return {} if content is None else parse_json(content, url)
    file = Path(store or "").resolve().parent / "config.json"
    return read_json(file) if file.is_file() else {}


def _config(
    config: RunConfig, used: Sequence[str], activations: Path | str, **others: Path | None
) -> dict[str, Any]:
    """Return the settings that a verb uses, and the absolute paths that it reads."""
    address = address_of(activations)
    paths = {name: path if path is None else str(path.resolve()) for name, path in others.items()}
    return {
        **{name: value for name, value in config.to_dict().items() if name in used},
        "activations": str(address.resolve()) if isinstance(address, Path) else address,
        **paths,
    }


def _few(store: ActivationStore) -> list[str]:
    return split_doubts(len(store.split()[1]))


def _finish(
    folder: RunFolder, metrics: Mapping[str, Any], console: Console, doubts: Sequence[str] = ()
) -> dict[str, Any]:
    record = console.with_warnings(metrics, doubts)
    write_json(record, folder / "metrics.json")
    folder.log("done")
    return record
