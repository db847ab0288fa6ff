"""The plan of a run: measure, estimate, and say it in lines."""

from pathlib import Path
from typing import Any

from orbitlens import groups
from orbitlens.cli.options import config_of, given
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.pipeline import check_pairs
from orbitlens.pipeline.config import RunConfig
from orbitlens.plan import measure
from orbitlens.plan.advice import advice_of, duration, size, warnings_of
from orbitlens.plan.estimate import Passes, Speeds, Workload, check_memory, plan
from orbitlens.plan.machine import free_disk, held_memory, usable_memory
from orbitlens.plan.sizes import NAMES

_OF_SOURCE = ("model", "layer", "random_weights", "image_size", "interpolation")


def plan_run(
    source: str | None,
    dim: int | None,
    positions: str,
    workers: int,
    out: Path,
    values: dict[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a plan and its lines for a reader."""
    library = held_memory()
    values["source"] = source
    if source is None:
        work, passes = _of_width(dim, positions, values), None
    else:
        if dim is not None:
            raise OrbitLensError(
                "`dim`",
                expected="none where a SOURCE shows how wide activations are",
                received=dim,
                remedy="leave out one of the two",
            )
        config = config_of({**values, "positions": positions}, {})
        work, passes = _of_model(config, workers)
    check_pairs(work.config, work.group)
    check_memory(work)
    record = plan(work, _speeds(work, out, library, passes))
    limits = {"disk": free_disk(out), "memory": usable_memory()}
    record["free_disk"], record["machine_memory"] = limits["disk"], limits["memory"]
    record["warnings"] = warnings_of(record, **limits, place=out)
    record["advice"] = advice_of(record, epochs=work.config.epochs, memory=limits["memory"])
    return record, _lines(record, work)


def _of_width(dim: int | None, positions: str, values: dict[str, Any]) -> Workload:
    """Plan for activations that nothing is known of but their shape."""
    for name in _OF_SOURCE:
        if given(name):
            raise OrbitLensError(
                f"`--{name.replace('_', '-')}`",
                expected="a SOURCE of inputs with it",
                received="none",
                remedy="name one, such as shapes or a folder of images",
            )
    if dim is None:
        raise OrbitLensError(
            "`dim`",
            expected="the width of the activations",
            received="neither it nor a SOURCE",
            remedy="give --dim, or SOURCE and --model to have it measured",
        )
    if not 1 <= dim <= 2**20:
        raise out_of_range("dim", f"1 to {2**20}", dim)
    if positions != "auto" and not positions.isdecimal():
        raise OrbitLensError(
            "`positions`",
            expected="a number where --dim is given",
            received=repr(positions),
            remedy="give the number of activations per moved input, such as 196",
        )
    places = 1 if positions == "auto" else int(positions)
    if not 1 <= places <= 10**6:
        raise out_of_range("positions", "1 to 1000000", places)
    config = config_of(values, {"source": ""})
    return Workload(config, config.n_samples, groups.from_name(config.group), places, dim)


def _of_model(config: RunConfig, workers: int) -> tuple[Workload, Passes]:
    passes, group, positions, dim = measure.measure_passes(config, workers)
    return Workload(config, config.n_samples, group, positions, dim, workers), passes


def _speeds(work: Workload, out: Path, library: int, passes: Passes | None) -> Speeds:
    config, group, dim = work.config, work.group, work.dim
    stored = measure.measure_store(group, work.positions, dim, config.dtype, out)
    start, loaded = measure.measure_start()
    return Speeds(
        *stored,
        library,
        start,
        library + loaded,
        measure.measure_transports(group, dim),
        {name: measure.measure_steps(config, name, dim, group) for name in NAMES},
        passes,
    )


def _lines(record: dict[str, Any], work: Workload) -> list[str]:
    """Say it to a reader, one line for each thing to know."""
    return [
        f"{work.n:,} inputs under {work.group.name} ({work.group.order} elements), "
        f"{_counted(work.positions, 'position')}, width {work.dim}",
        *_store_lines(record),
        *_harvest_lines(record["harvest"], work),
        *_transport_lines(record["transport"]),
        *(
            line
            for name, each in record["training"].items()
            for line in _training_lines(name, each, work.config)
        ),
        *(f"what would change the most: {line}" for line in record["advice"]),
        *(f"warning: {line}" for line in record["warnings"]),
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _store_lines(record: dict[str, Any]) -> list[str]:
    store = record["store"]
    return [
        f"store: {size(store['on_disk'])} on disk, {size(store['raw'])} of numbers at "
        f"{store['bytes_per_number']} bytes each ({record['dtype']}, not compressed), in "
        f"{_counted(store['shards'], 'shard')} of {store['shard_samples']:,} samples"
    ]


def _harvest_lines(harvest: dict[str, Any], work: Workload) -> list[str]:
    if harvest["seconds"] is None:
        return [
            f"harvest: {duration(harvest['writing_seconds'])} to write; with SOURCE and --model "
            "forward passes are timed too"
        ]
    return [
        f"harvest: {duration(harvest['seconds'])} with {_counted(work.workers, 'worker')}: "
        f"loading inputs {duration(harvest['loading_seconds'])}, forward passes "
        f"{duration(harvest['forward_seconds'])}, writing {duration(harvest['writing_seconds'])}; "
        f"memory {size(harvest['memory_bytes'])}, of which inputs {size(harvest['input_bytes'])}"
    ]


def _transport_lines(transport: dict[str, Any]) -> list[str]:
    times = ", ".join(f"{name} {duration(each)}" for name, each in transport["seconds"].items())
    return [f"transport: {times}; memory {size(transport['memory_bytes'])}"]


def _training_lines(name: str, each: dict[str, Any], config: RunConfig) -> list[str]:
    called = "orbit SAE" if name == "orbit" else "SAE, vanilla or equivariant"
    memory = each["memory"]
    where = "kept in memory" if each["held"] else f"read in {each['parts_per_epoch']} parts"
    reading = "" if each["held"] else f" and {duration(each['reading_seconds_per_epoch'])} to read"
    learned = sum(memory[part] for part in ("parameters", "gradients", "moments"))
    step = sum(memory[part] for part in ("block", "entries", "batch", "orientations"))
    return [
        f"{called}: {each['latents']:,} latents, {each['parameters']:,} parameters",
        f"  time {duration(each['seconds'])}, up to {duration(each['seconds_with_dead_latents'])} "
        f"while latents are dead: {each['steps']:,} steps of {duration(each['seconds_per_step'])}, "
        f"{config.epochs} epochs of {each['steps_per_epoch']:,} steps{reading}",
        f"  memory {size(each['memory_bytes'])}: activations {size(memory['activations'])} "
        f"({where}), parameters with gradients and Adam {size(learned)}, a step {size(step)}, "
        f"library {size(memory['library'])}",
    ]
