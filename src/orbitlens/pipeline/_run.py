"""The main job: from images and a group to an equivariant SAE and a page that shows it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from orbitlens.actions import Action
from orbitlens.activations import ActivationStore, open_store
from orbitlens.errors import DamageError, OrbitLensError, missing_extra
from orbitlens.files import read_json, write_json
from orbitlens.pipeline import stages
from orbitlens.pipeline._cards import cards_of_sae
from orbitlens.pipeline._describe import (
    describe_action,
    describe_data,
    describe_model,
    describe_transport,
    log_data,
    log_layout,
)
from orbitlens.pipeline._drawings import HOW_DRAWN, MovedImages
from orbitlens.pipeline._features import read_features, with_turning, write_features
from orbitlens.pipeline._job import Job, Source, begin, check_images
from orbitlens.pipeline._loading import (
    check_one_motion,
    check_settings_of,
    load_fit,
    load_transport,
    read_of_sae,
    training_notes,
    transport_notes,
    write_of_sae,
)
from orbitlens.pipeline._probing import Truth, probe_kind, probe_sae
from orbitlens.pipeline._saes import NAMES, OBJECTIVES, ORBIT, build_sae
from orbitlens.pipeline.config import PROBING, RunConfig
from orbitlens.pipeline.console import Console, Tick
from orbitlens.pipeline.folder import RunFolder
from orbitlens.pipeline.measure import measure_sae, measured_samples, training_figures
from orbitlens.report import FeatureCard, run_doubts, write_page
from orbitlens.report._elements import elements_of
from orbitlens.training import FitResult
from orbitlens.transport import Transport, serves_orbit_saes
from orbitlens.typing import Int

__all__ = ["render", "run"]

_POOR = 0.5
_LIBRARIES = {"sklearn": "probe", "xgboost": "probe", "jinja2": "report", "matplotlib": "report"}


def run(
    config: RunConfig, out: str | Path, *, resume: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Take images through the whole pipeline and write a run folder that ends with a page.

    Args:
        config: The settings.
        out: The folder to write: config.json, metrics.json, log.txt, the autoencoder's weights,
            acts.zarr, transport/, saes/NAME/ with features.csv, and report/index.html; exact/ holds
            the transport of the orbit SAE if transport/ cannot serve.
        resume: Continue a run with the same settings. What is done is kept; other settings of
            `LATER` (SAEs, probes, features of the page) add to it.
        console: Shows progress and warnings; silent by default.

    Returns:
        The metrics, as written to metrics.json. "warnings" lists what may be wrong.

    Raises:
        OrbitLensError: If the user gave something wrong. Early on nothing stays behind. Later the
            finished stages stay, and `resume` continues from them.
    """
    console = console or Console(quiet=True)
    for library, extra in _LIBRARIES.items():
        if find_spec(library) is None:
            raise missing_extra(library, extra=extra)
    if config.transport == "spatial" and config.positions != "all":
        raise OrbitLensError(
            "`transport` spatial",
            expected="`positions` all, so that there are places to move",
            received=repr(config.positions),
            remedy="give --positions all, or --transport exact",
        )
    with console.hearing():
        job, folder = begin(config, out, resume=resume, console=console)
        with folder.writing():
            console.keep_warnings_in(folder)
            metrics = _Run(job, folder, console).metrics()
            write_json(metrics, folder / "metrics.json")
            with console.stage("draw the page"):
                render(job.config, job.source, job.action, folder)
            folder.log("page drawn")
    return metrics


def render(
    config: RunConfig,
    source: Source,
    action: Action,
    folder: RunFolder,
    *,
    features_of: Sequence[str] = NAMES,
) -> Path:
    """Draw the page of a finished run from its folder, and return its path.

    The images show what the features fire on; the network is not needed. Features are shown of the
    SAEs in `features_of`.

    Raises:
        OrbitLensError: If part of the run is missing or damaged.
    """
    store = open_store(folder / "acts.zarr")
    check_images(store, source.inputs)
    metrics = read_json(folder / "metrics.json")
    check_settings_of(metrics, folder / "metrics.json", folder.config)
    exact = _load_exact(config, folder, store)
    histories: dict[str, dict[str, list[float]]] = {}
    cards: list[FeatureCard] = []
    samples = _measured(config, store)
    images = MovedImages(source.inputs.values, samples, action)
    words = [element.words for element in elements_of(metrics)]
    for name in NAMES:
        if name not in metrics["saes"]:
            continue
        notes = training_notes(stages.settings_of_sae(config, name, folder), name, store)
        result = load_fit(folder / "saes" / name, store, notes)
        histories[name] = asdict(result.history)
        if config.features and name in features_of and result.status == "completed":
            shown: dict[str, Any] = {
                "n_features": config.features,
                "exact": exact,
                "words": words,
            }
            chosen = cards_of_sae(result.sae, store, samples, images, name=name, **shown)
            entry = metrics["saes"].get(name) or {}
            cards += with_turning(chosen, read_features(folder / "saes" / name, entry))
    return write_page(folder / "report" / "index.html", metrics, histories, cards)


@dataclass(frozen=True, eq=False)
class _Run:
    """A run in its folder."""

    job: Job
    folder: RunFolder
    console: Console

    def metrics(self) -> dict[str, Any]:
        """Do the stages, unless they are done, and return metrics.json."""
        job, folder, config = self.job, self.folder, self.job.config
        log_data(job, folder)
        if job.trains_model:
            with self.console.stage("train the base model") as tick:
                stages.train_model(job, folder / "model.safetensors", tick)
        folder.log(f"base model {job.model.name} ready")
        with self.console.stage("harvest orbits") as tick:
            store = stages.harvest_orbits(job, folder / "acts.zarr", tick)
        folder.log(f"harvested {store}")
        log_layout(store, config.positions, folder)
        with self.console.stage("fit the transport") as tick:
            transport = stages.learn_transport(config, store, folder / "transport", tick)
        check_one_motion(transport)
        folder.log(f"transport R^2 {transport.r2:.4f}")
        exact, notes = self._exact(store, transport)
        transports = dict.fromkeys(OBJECTIVES, transport)
        transports |= {} if exact is None else {ORBIT: exact}
        wanted = [name for name in transports if self._is_wanted(name)]
        results = self._train(wanted, store, exact)
        saes = {
            name: self._measured(name, result, store, transports[name])
            for name, result in results.items()
        }
        record = {
            "config": config.to_dict(),
            "group": {"name": store.group.name, "elements": list(store.group.element_names)},
            "action": describe_action(job),
            "data": describe_data(job, store),
            "model": describe_model(job, store, _measured(config, store)),
            "transport": describe_transport(transport),
            "saes": saes,
            "seconds": self._seconds(),
            "notes": [*_notes(job, store), *notes],
        }
        return self.console.with_warnings(record, run_doubts(record))

    def _exact(
        self, store: ActivationStore, transport: Transport
    ) -> tuple[Transport | None, list[str]]:
        """Return the transport of the orbit SAE, or None if none can be fitted, and notes on it."""
        try:
            if not serves_orbit_saes(transport):
                with self.console.stage("fit the exact transport"):
                    transport = stages.learn_exact(store, self.folder / "exact")
            build_sae(self.job.config, store.dim, transport)
        except DamageError:
            raise
        except OrbitLensError as error:
            if isinstance(error.__cause__, OSError):
                raise  # the disk is full, say, and the transport may be good
            self.folder.log("no orbit SAE")
            return None, [f"There is no orbit SAE. {error}."]
        self.folder.log(f"exact transport R^2 {transport.r2:.4f}")
        if transport.r2 >= _POOR:
            return transport, []
        note = (
            f"The exact transport ({transport.method.replace('_', ' ')}) explains little, R² is "
            f"{transport.r2:.2f}: the orbit SAE moves with it, the network does not. Read its "
            "features with care."
        )
        return transport, [note]

    def _is_wanted(self, name: str) -> bool:
        """Return whether an SAE is trained, or was before the run went on."""
        chosen = self.job.config.saes
        return chosen is None or name in chosen or (self.folder / "saes" / name).is_dir()

    def _train(
        self, names: list[str], store: ActivationStore, exact: Transport | None
    ) -> dict[str, FitResult]:
        """Train SAEs, unless that is done."""
        config = self.job.config
        if ORBIT in names and exact is not None and config.orbit_weight is None:
            with self.console.stage("choose the weight of orbit") as tick:
                stages.choose_weight(config, store, exact, self.folder, tick)
        with self.console.stage("train the SAEs") as tick:
            return stages.train_saes(config, names, store, self.folder, tick, exact=exact)

    def _measured(
        self, name: str, result: FitResult, store: ActivationStore, transport: Transport
    ) -> dict[str, Any]:
        """Measure and probe one SAE, unless that is done; return its entry."""
        place = self.folder / "saes" / name
        path, probing = place / "metrics.json", self._probing()
        if not path.exists():
            with self.console.stage(f"measure {name}"):
                entry = _measure(self.job, name, result, store, transport, place)
        else:
            entry = read_of_sae(path)
        if "probe" not in entry or entry.get("probing", self._probing(before=True)) != probing:
            with self.console.stage(f"probe {name}") as tick:
                completes = None if name in ("vanilla", ORBIT) else transport
                entry["probe"] = _probe(self.job, result, store, completes, tick)
            entry["probing"] = probing
            write_of_sae(entry, path)
        self.folder.log(f"{name} trained and measured")
        return read_of_sae(path)

    def _probing(self, *, before: bool = False) -> dict[str, Any]:
        """Return the settings that decide what probes say, now or before the run went on."""
        settings = self.folder.before if before else self.job.config.to_dict()
        return {name: settings.get(name) for name in PROBING if name != "probe_threads"}

    def _seconds(self) -> dict[str, float]:
        """Return the time per stage; a resumed run keeps the times of its finished stages."""
        before = self.folder / "metrics.json"
        spent = (read_json(before).get("seconds") if before.exists() else None) or {}
        now = {name: round(value, 2) for name, value in self.console.seconds.items()}
        return {**spent, **{name: max(now[name], spent.get(name, 0.0)) for name in now}}


def _load_exact(config: RunConfig, folder: RunFolder, store: ActivationStore) -> Transport | None:
    """Load the exact transport of a finished run; None if it has none."""
    if (folder / "exact").exists():
        return load_transport(folder / "exact", store, transport_notes(ORBIT, 0, store))
    notes = transport_notes(config.transport, config.seed, store)
    transport = load_transport(folder / "transport", store, notes)
    return transport if serves_orbit_saes(transport) else None


def _measure(
    job: Job,
    name: str,
    result: FitResult,
    store: ActivationStore,
    transport: Transport,
    place: Path,
) -> dict[str, Any]:
    """Return the figures of one SAE, and write the table of its features."""
    samples = _measured(job.config, store)
    transported = name not in ("vanilla", ORBIT)
    splice: dict[str, Any] = {}
    if job.decodes:
        moved = job.action.orbit(job.source.inputs.values[samples]).flatten(0, 1)
        splice = {"splice": job.model.module.get_submodule("decoder"), "inputs_moved": moved}
    orbits = store.orbits(samples)
    figures = measure_sae(result.sae, orbits, transport, transported=transported, **splice)
    return {
        "objective": name.removeprefix("equivariant_"),
        "d_sae": result.sae.d_sae,
        "k": result.sae.sparsity.k,
        "status": result.status,
        **figures,
        **write_features(result, store, orbits, transport, place),
        **training_figures(result, transport if transported else None),
        "transport": describe_transport(transport) if name == ORBIT else None,
    }


def _probe(
    job: Job,
    result: FitResult,
    store: ActivationStore,
    completes: Transport | None,
    tick: Tick,
) -> dict[str, Any] | None:
    """Return what probes say of an SAE; None if it diverged."""
    if result.status != "completed":
        return None
    return probe_sae(job.config, _truth(job), store, result.sae, completes, tick)


def _measured(config: RunConfig, store: ActivationStore) -> Int[np.ndarray, " n"]:
    widest = max(config.d_sae, store.group.order * config.atoms)
    return measured_samples(store, d_sae=widest, seed=config.seed)


def _truth(job: Job) -> Truth:
    return Truth(job.source.shape_ids, job.source.inputs.labels)


def _notes(job: Job, store: ActivationStore) -> list[str]:
    drawn = HOW_DRAWN.get(job.action.name)
    notes = [] if drawn is None else [drawn]
    if probe_kind(job.config, _truth(job), store) is None:
        notes.append("No probing: the inputs have no classes, or none that probes can be cut for.")
    measured = len(_measured(job.config, store))
    if measured < len(store.split()[1]):
        notes.append(f"SAEs were measured on {measured} held-out samples drawn at random.")
    if job.source.shape_ids is not None and store.group.name.startswith("D"):
        notes.append(
            "Under flips some Shapes are mirror images of others, so about a tenth of the held-out "
            "orbits also occur in training, with another canonical sample."
        )
    return notes
