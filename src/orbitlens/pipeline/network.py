"""`orbitlens transport MODEL INPUTS`: the transport of every layer of a network, on a page."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orbitlens import groups
from orbitlens.actions import Action
from orbitlens.activations import split_samples
from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError, missing_extra
from orbitlens.files import read_json, write_json, write_table
from orbitlens.models import ALL_LAYERS, get_layer
from orbitlens.pipeline._describe import describe_action, log_data
from orbitlens.pipeline._hearing import hears_warnings
from orbitlens.pipeline._job import Job, build_action, prepare
from orbitlens.pipeline.config import RunConfig
from orbitlens.pipeline.console import Console
from orbitlens.pipeline.folder import RunFolder
from orbitlens.pipeline.stages import train_model
from orbitlens.report import network_doubts, write_network_page
from orbitlens.reps import irrep_label, irreps
from orbitlens.transport import LayerEquivariance, NetworkEquivariance, measure_network, rank_groups

__all__ = ["NetworkConfig", "choose", "report"]

_RECORD, _MEASURED = "metrics.json", ".measured"


@dataclass(frozen=True)
class NetworkConfig:
    """The settings of a report on a network.

    Args:
        run: Data, model and group.
        layers: Names of layers; empty for all of them.
        candidates: Names of groups to choose from; empty to report on the group of `run`.
        max_positions: Most places of a map or token grid to keep of each input, default 16.
        max_dim: Most directions to keep of a wide layer, default 256.
        lie_inputs: Held-out images for the Lie-derivative errors, default 64; 0 leaves them out.

    Raises:
        OrbitLensError: If a number is out of range, or a group unknown or named twice.
    """

    run: RunConfig
    layers: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    max_positions: int = 16
    max_dim: int = 256
    lie_inputs: int = 64

    def __post_init__(self) -> None:
        for name, least in (("max_positions", 1), ("max_dim", 1), ("lie_inputs", 0)):
            as_count(name, getattr(self, name), least=least)
        found = [groups.from_name(name).name for name in self.candidates]
        if len(set(found)) < len(found):
            raise OrbitLensError(
                "`groups`", expected="each once", received=", ".join(found), remedy="name it once"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record."""
        own = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name != "run"
        }
        return {**self.run.to_dict(), **own}


@hears_warnings
def report(config: NetworkConfig, out: Path, *, resume: bool, console: Console) -> dict[str, Any]:
    """Measure every layer under one group, and write a page, a table and a record.

    `out` gets config.json, metrics.json, layers.csv, report/index.html and log.txt. With `resume`
    what was trained, harvested and measured is kept. Returns the record in metrics.json.
    """
    if find_spec("jinja2") is None:
        raise missing_extra("jinja2", extra="report")
    folder = RunFolder(out, config.to_dict(), resume=resume)
    job = _prepare(config, console)
    with _writing(folder, console, resume=resume):
        if not (folder / _RECORD).exists():
            _train(job, folder, console)
            found = _measure(config, job, folder, console)
            write_table([_flat(row, found) for row in found.table], folder / "layers.csv")
            record = _record(config, job, found, console)
            record = console.with_warnings(record, network_doubts(record))
            write_json(record, folder / _RECORD)
            folder.log(f"{len(found.layers)} layers measured")
        record = read_json(folder / _RECORD)
        with console.stage("draw the page"):
            write_network_page(folder / "report" / "index.html", record)
    return record


@hears_warnings
def choose(config: NetworkConfig, out: Path, *, resume: bool, console: Console) -> dict[str, Any]:
    """Rank the candidate groups on each layer, and write the ranking.

    `out` gets config.json, metrics.json, groups.csv and log.txt. Returns the record in
    metrics.json: for each layer the chosen group, or None, and the figures of all candidates.
    """
    folder = RunFolder(out, config.to_dict(), resume=resume)
    base = _prepare(config, console)
    candidates = {
        name: build_action(config.run, name, base.source.inputs) for name in config.candidates
    }
    with _writing(folder, console, resume=resume):
        if not (folder / _RECORD).exists():
            # A network that is trained here is the same for all candidates.
            _train(base, folder, console)
            record = _rank(config, base, candidates, folder, console)
            record = console.with_warnings(record, network_doubts(record))
            write_table(record["ranking"], folder / "groups.csv")
            write_json(record, folder / _RECORD)
            folder.log("groups ranked")
    return read_json(folder / _RECORD)


def _rank(
    config: NetworkConfig,
    base: Job,
    candidates: Mapping[str, Action],
    folder: RunFolder,
    console: Console,
) -> dict[str, Any]:
    measured: dict[str, list[LayerEquivariance]] = {}
    for name, action in candidates.items():
        job = replace(base, action=action)
        found = _measure(replace(config, lie_inputs=0), job, folder, console, name)
        for figures in found.layers:
            measured.setdefault(figures.layer, []).append(figures)
    choices = {layer: rank_groups(figures) for layer, figures in measured.items()}
    rows = [
        # A negative R^2 is that of a group that explains nothing: it has no place.
        {"layer": layer, "place": place if figures.r2 >= 0 else None, **_figures(figures)}
        for layer, choice in choices.items()
        for place, figures in enumerate(choice.ranking, start=1)
    ]
    return {
        "config": config.to_dict(),
        "inputs": _describe_inputs(base),
        "chosen": {layer: choice.chosen for layer, choice in choices.items()},
        "ranking": rows,
        "seconds": dict(console.seconds),
    }


@contextmanager
def _writing(folder: RunFolder, console: Console, *, resume: bool) -> Iterator[None]:
    """Write a folder; what has been measured in it is kept until everything is done.

    Bad input leaves nothing of a measurement that it began.
    """
    with folder.writing():
        console.keep_warnings_in(folder)
        try:
            yield
        except BaseException as error:
            bad_input = isinstance(error, OrbitLensError) and not isinstance(
                error.__cause__, OSError
            )
            if bad_input and not resume:
                shutil.rmtree(folder / _MEASURED, ignore_errors=True)
            with suppress(OSError):
                (folder / _MEASURED).rmdir()  # nothing was kept
            raise
        shutil.rmtree(folder / _MEASURED, ignore_errors=True)


def _prepare(config: NetworkConfig, console: Console) -> Job:
    """Load images and network, and check the names of the layers."""
    with console.stage("load images and network"):
        job = prepare(replace(config.run, layer=ALL_LAYERS))
    for layer in config.layers:
        get_layer(job.model.module, layer)
    return job


def _train(job: Job, folder: RunFolder, console: Console) -> None:
    """Train the network or load it; most networks come trained."""
    log_data(job, folder)
    if job.trains_model:
        with console.stage("train the base model") as tick:
            train_model(job, folder / "model.safetensors", tick)


def _measure(
    config: NetworkConfig, job: Job, folder: RunFolder, console: Console, candidate: str = ""
) -> NetworkEquivariance:
    prefix = f"{candidate}: " if candidate else ""
    found = measure_network(
        job.model.module.to(config.run.torch_device),
        inputs=job.source.inputs.values,
        action=job.action,
        layers=config.layers or None,
        max_positions=config.max_positions,
        max_dim=config.max_dim,
        layout=config.run.layout,
        prepare=job.model.prepare,
        seed_forward=config.run.seed_forward,
        name=job.model.name,
        lie_inputs=config.lie_inputs,
        seed=config.run.seed,
        scratch=folder / _MEASURED / candidate,
        resume=True,
        stage=lambda name: console.stage(prefix + name),
    )
    job.model.module.cpu()
    return found


def _record(
    config: NetworkConfig, job: Job, found: NetworkEquivariance, console: Console
) -> dict[str, Any]:
    group = found.group
    return {
        "model": {"name": job.model.name, "trained_here": job.trains_model},
        "inputs": _describe_inputs(job),
        "group": {
            "name": group.name,
            "order": group.order,
            "elements": list(group.element_names),
            "irreps": [
                {"name": irrep.name, "dim": irrep.dim, "label": irrep_label(irrep)}
                for irrep in irreps(group)
            ],
        },
        "action": describe_action(job),
        "layers": list(found.table),
        "skipped": found.skipped,
        "config": config.to_dict(),
        "seconds": {name: round(value, 2) for name, value in console.seconds.items()},
    }


def _describe_inputs(job: Job) -> dict[str, Any]:
    values = job.source.inputs.values
    return {
        "name": job.source.inputs.name,
        "n": len(values),
        "held_out": len(split_samples(len(values))[1]),
        "image_size": values.shape[-1],
        "passed_over": list(job.source.inputs.passed_over),
    }


def _flat(row: Mapping[str, Any], found: NetworkEquivariance) -> dict[str, Any]:
    """Give every irrep a column of its own."""
    shares = zip(irreps(found.group), row["spectrum"], strict=True)
    return {
        **{name: value for name, value in row.items() if name != "spectrum"},
        **{f"spectrum {irrep.name}": share for irrep, share in shares},
    }


def _figures(figures: LayerEquivariance) -> dict[str, Any]:
    left_out = ("layer", "spectrum")
    plain = {name: value for name, value in asdict(figures).items() if name not in left_out}
    return {"verdict": figures.verdict, **plain}
