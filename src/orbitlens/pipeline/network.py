"""`orbitlens transport MODEL INPUTS`: the transport of every layer of a network, on a page."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orbitlens import groups
from orbitlens.actions import Action
from orbitlens.activations import split_samples
from orbitlens.checks import as_count
from orbitlens.errors import DamageError, MissingExtraError, OrbitLensError, missing_extra
from orbitlens.files import read_json, write_json, write_table
from orbitlens.models import ALL_LAYERS, get_layer
from orbitlens.pipeline._describe import describe_action, log_data
from orbitlens.pipeline._hearing import hears_warnings
from orbitlens.pipeline._job import Job, build_action, prepare
from orbitlens.pipeline.config import OPEN, RunConfig
from orbitlens.pipeline.console import Console
from orbitlens.pipeline.folder import RunFolder
from orbitlens.pipeline.stages import train_model
from orbitlens.report import network_doubts, write_groups_page, write_network_page
from orbitlens.reps import character_norm, irrep_label, irreps
from orbitlens.transport import (
    LayerEquivariance,
    NetworkEquivariance,
    OtherMeasurementError,
    measure_network,
    rank_groups,
)

__all__ = ["NetworkConfig", "choose", "report"]

_RECORD, _MEASURED = "metrics.json", ".measured"
_LISTS = ("spectrum", "multiplicities")  # with a column for each irrep
_PAGE, _GROUPS = "report/index.html", "groups"


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
    _check_extras()
    config, job, folder = _begin(config, out, resume=resume, console=console)
    with _writing(folder, console, resume=resume):
        if not (folder / _RECORD).exists():
            _train(job, folder, console)
            found = _measure(config, job, folder, console)
            write_table([_flat(row, found) for row in found.table], folder / "layers.csv")
            record = _record(config, job, found, console.seconds)
            record = console.with_warnings(record, network_doubts(record))
            write_json(record, folder / _RECORD)
            folder.log(f"{len(found.layers)} layers measured")
        record = read_json(folder / _RECORD)
        with console.stage("draw the page"):
            write_network_page(folder / _PAGE, record)
    return record


@hears_warnings
def choose(config: NetworkConfig, out: Path, *, resume: bool, console: Console) -> dict[str, Any]:
    """Rank the candidate groups on each layer, and write the ranking, its page and all figures.

    `out` gets config.json, metrics.json, groups.csv, report/index.html and log.txt, and for each
    group groups/NAME with what `report` writes. A group that cannot be measured is left out, with
    the reason under "failed". With `resume` what was trained, harvested and measured is kept.
    Returns the record in metrics.json: for each layer the chosen group, or None, and the figures of
    all candidates.

    Raises:
        OrbitLensError: If no group can be measured; that of the first one.
    """
    _check_extras()
    config, base, folder = _begin(config, out, resume=resume, console=console)
    candidates = {
        name: build_action(config.run, name, base.source.inputs) for name in config.candidates
    }
    with _writing(folder, console, resume=resume):
        if not (folder / _RECORD).exists():
            # A network that is trained here is the same for all candidates.
            _train(base, folder, console)
            found, failed = _measure_each(config, base, candidates, folder, console)
            record = _ranked(config, base, candidates, found, failed, console)
            record = console.with_warnings(record, network_doubts(record))
            write_table(record["ranking"], folder / "groups.csv")
            write_json(record, folder / _RECORD)
            folder.log("groups ranked")
        record = read_json(folder / _RECORD)
        with console.stage("draw the pages"):
            for own in sorted((folder / _GROUPS).glob(f"*/{_RECORD}")):
                write_network_page(own.parent / _PAGE, read_json(own))
            write_groups_page(folder / _PAGE, record)
    return record


def _check_extras() -> None:
    if find_spec("jinja2") is None:
        raise missing_extra("jinja2", extra="report")


def _measure_each(
    config: NetworkConfig,
    base: Job,
    candidates: Mapping[str, Action],
    folder: RunFolder,
    console: Console,
) -> tuple[dict[str, NetworkEquivariance], dict[str, str]]:
    """Measure under each group and write its record; return also why other groups have none."""
    found: dict[str, NetworkEquivariance] = {}
    failures: dict[str, OrbitLensError] = {}
    for candidate, action in candidates.items():
        job, name = replace(base, action=action), action.group.name
        own = replace(config, run=replace(config.run, group=name), candidates=(), lie_inputs=0)
        try:
            found[name] = _measure(own, job, folder, console, candidate)
        except (DamageError, MissingExtraError, OtherMeasurementError):
            raise
        except OrbitLensError as error:
            if isinstance(error.__cause__, OSError):
                raise
            failures[name] = error
            shutil.rmtree(folder / _MEASURED / candidate, ignore_errors=True)
            continue
        seconds = {
            stage.removeprefix(f"{candidate}: "): value
            for stage, value in console.seconds.items()
            if stage.startswith(f"{candidate}: ")
        }
        place = folder / _GROUPS / name
        place.mkdir(parents=True, exist_ok=True)
        write_table([_flat(row, found[name]) for row in found[name].table], place / "layers.csv")
        write_json(_record(own, job, found[name], seconds), place / _RECORD)
        folder.log(f"{name}: {len(found[name].layers)} layers measured")
    if not found:
        raise next(iter(failures.values()))
    failed = {name: str(failure) for name, failure in failures.items()}
    for name, reason in failed.items():
        console.warn(f"{name} is left out, it could not be measured: {reason}")
    return found, failed


def _ranked(
    config: NetworkConfig,
    base: Job,
    candidates: Mapping[str, Action],
    found: Mapping[str, NetworkEquivariance],
    failed: Mapping[str, str],
    console: Console,
) -> dict[str, Any]:
    sequence = _sequence([each.table for each in found.values()])
    measured: dict[str, list[LayerEquivariance]] = {row["layer"]: [] for row in sequence}
    for each in found.values():
        for figures in each.layers:
            measured[figures.layer].append(figures)
    choices = {layer: rank_groups(figures) for layer, figures in measured.items()}
    ranking: list[dict[str, Any]] = []
    for layer, choice in choices.items():
        places = [*enumerate(choice.ranking, start=1), *((None, x) for x in choice.unranked)]
        ranking += [{"layer": layer, "place": p, **_figures(figures)} for p, figures in places]
    actions = [describe_action(replace(base, action=action)) for action in candidates.values()]
    interpolation = {
        action.group.name: {"exact": told["exact"], "error": told["error"]}
        for action, told in zip(candidates.values(), actions, strict=True)
    }
    skipped = {name: why for each in found.values() for name, why in each.skipped.items()}
    return {
        "config": config.to_dict(),
        "model": {"name": base.model.name, "trained_here": base.trains_model},
        "inputs": _describe_inputs(base),
        "groups": [
            {"name": name, "order": each.group.order, "page": True, **interpolation[name]}
            for name, each in found.items()
        ],
        "failed": dict(failed),
        "sequence": sequence,
        "skipped": {name: why for name, why in skipped.items() if name not in measured},
        "chosen": {layer: choice.chosen for layer, choice in choices.items()},
        "ranking": ranking,
        "seconds": dict(console.seconds),
    }


def _sequence(tables: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the layers of all groups in the order of the calls, with those that feed each.

    A layer may be measured under some of the groups only. What feeds it is taken from the group
    with the most layers, among which few are missing.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    for table in sorted(tables, key=len, reverse=True):
        rows = {row["layer"]: row for row in table} | rows
    order: list[str] = []
    for table in tables:
        place = 0
        for row in table:
            if row["layer"] in order:
                place = order.index(row["layer"]) + 1
            else:
                order.insert(place, row["layer"])
                place += 1
    return [{"layer": name, "after": rows[name]["after"]} for name in order]


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


def _begin(
    config: NetworkConfig, out: Path, *, resume: bool, console: Console
) -> tuple[NetworkConfig, Job, RunFolder]:
    """Check the folder, load network and images, and check the names of the layers.

    In the settings that are returned, those of the images that were left to the network are its
    own.
    """
    RunFolder(out, config.to_dict(), resume=resume, open_settings=OPEN)
    with console.stage("load network and images"):
        job = prepare(replace(config.run, layer=ALL_LAYERS))
    for layer in config.layers:
        get_layer(job.model.module, layer)
    config = replace(config, run=replace(job.config, layer=config.run.layer))
    return config, job, RunFolder(out, config.to_dict(), resume=resume)


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
    config: NetworkConfig, job: Job, found: NetworkEquivariance, seconds: Mapping[str, float]
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
                {
                    "name": irrep.name,
                    "dim": irrep.dim,
                    "label": irrep_label(irrep),
                    "in_regular": irrep.dim // character_norm(irrep),
                }
                for irrep in irreps(group)
            ],
        },
        "action": describe_action(job),
        "layers": list(found.table),
        "skipped": found.skipped,
        **({"use": found.use} if found.use else {}),
        "config": config.to_dict(),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _describe_inputs(job: Job) -> dict[str, Any]:
    values = job.source.inputs.values
    return {
        "name": job.source.inputs.name,
        "n": len(values),
        "held_out": len(split_samples(len(values))[1]),
        "image_size": values.shape[-1],
        "passed_over": list(job.source.inputs.passed_over),
        "given": job.network_input["sentence"],
    }


def _flat(row: Mapping[str, Any], found: NetworkEquivariance) -> dict[str, Any]:
    """Give every irrep and part a column of its own, and write the names of layers as text."""
    shares = zip(irreps(found.group), row["spectrum"], strict=True)
    # A measurement that an earlier version began has none.
    copies = zip(irreps(found.group), row["multiplicities"], strict=False)
    use = found.use.get(row["layer"], {"parts": {}})
    after = None if row["after"] is None else " ".join(row["after"])
    return {
        **{name: value for name, value in row.items() if name not in _LISTS},
        "after": after,
        **{f"spectrum {irrep.name}": share for irrep, share in shares},
        **{f"copies of {irrep.name}": number for irrep, number in copies},
        **{f"use {name}": value for name, value in use["parts"].items()},
        **{f"determined {name}": value for name, value in use.get("determined", {}).items()},
        **{f"parameters {name}": value for name, value in use.get("sizes", {}).items()},
    }


def _figures(figures: LayerEquivariance) -> dict[str, Any]:
    left_out = ("layer", *_LISTS)
    plain = {name: value for name, value in asdict(figures).items() if name not in left_out}
    return {"verdict": figures.verdict, **plain}
