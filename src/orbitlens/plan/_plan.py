"""The record of a plan: seconds and bytes, or None, and then "not_measured" says why."""

import math
from pathlib import Path
from typing import Any

from orbitlens.activations.store import buffer_size, count_training_samples, stored_size
from orbitlens.checks import usable_memory
from orbitlens.groups import from_name
from orbitlens.pipeline import ORBIT, RunConfig, check_pairs
from orbitlens.pipeline.stages import choice_cost
from orbitlens.plan import _measure as measure
from orbitlens.plan._lines import find_advice, find_warnings
from orbitlens.plan._measure import HARVEST_BATCH, Shape

Record = dict[str, Any]
NAMES = ("vanilla", ORBIT)  # an equivariant SAE costs as much as a vanilla one
_LEARNED = 20  # bytes per parameter: weights, a copy in training, gradient, two moments of Adam


def plan(
    config: RunConfig, out: Path, *, dim: int | None = None, positions: int = 1, workers: int = 1
) -> Record:
    """Plan a run on activations of width `dim`, or on the source; then a few are harvested."""
    check_pairs(config, group := from_name(config.group))
    shape, cost = (group.order, positions, dim or 1), Record()
    if dim is None:
        shape, cost = measure.measure_passes(config, workers)
    n, data = config.n_samples, {name: _data(config, shape, name) for name in NAMES}
    store = stored_size(n, shape, dtype=config.dtype, together=max(1, HARVEST_BATCH // shape[0]))
    speed, free = measure.measure_store(config, shape, out)
    record = {
        "inputs": n,
        "group": config.group,
        **dict(zip(("order", "positions", "dim"), shape, strict=True)),
        "dtype": config.dtype,
        "epochs": config.epochs,
        "workers": workers,
        "store": store,
        "harvest": _harvest(config, shape, store, speed, cost, workers),
        "transport": _transport(config, shape, speed),
        "training": {name: _training(config, shape, name, data[name], speed) for name in NAMES},
        "free_disk": free,
        "machine_memory": usable_memory(),
    }
    return {**record, "warnings": find_warnings(record, out), "advice": find_advice(record)}


def _harvest(
    config: RunConfig, shape: Shape, store: Record, speed: Record, cost: Record, workers: int
) -> Record:
    """Plan the harvest; workers share one disk, so that writing does not get faster with them."""
    n, sample = config.n_samples, 4 * math.prod(shape)
    parts = ("loading_seconds", "forward_seconds", "input_bytes")
    record: Record = {part: cost[part] * n if cost else None for part in parts}
    record["writing_seconds"] = speed["write"] * n * sample
    if not cost:
        return {**record, "seconds": None, "memory_bytes": None}
    # A shard in float32, rounded, and as the bytes of its file; three batches on their way.
    shard = store["shard_samples"] * (4 + 2 * store["bytes_per_number"]) // 4
    each = cost["process_bytes"] + sample * (shard + 3 * max(1, HARVEST_BATCH // shape[0]))
    processes = workers * each + (cost["process_bytes"] if workers > 1 else 0)
    inputs = record["input_bytes"]  # they exist twice while they are loaded
    seconds = sum(each for name, each in record.items() if name.endswith("seconds"))
    return {**record, "seconds": seconds, "memory_bytes": inputs + max(inputs, processes)}


def _transport(config: RunConfig, shape: Shape, speed: Record) -> Record:
    n, found = config.n_samples, measure.measure_apart(config, shape[2], "transport")
    reading, seconds = speed["read"] * n * 4 * math.prod(shape), dict.fromkeys(measure.METHODS)
    for method in found.keys() & seconds.keys():
        per_row, once = found.pop(method)
        seconds[method] = per_row * n * shape[1] + once + reading
    return {"memory_bytes": None, **found, "seconds": seconds}


def _training(config: RunConfig, shape: Shape, name: str, data: Record, speed: Record) -> Record:
    least = _LEARNED * shape[2] * (config.atoms if name == ORBIT else config.d_sae)
    found: Record = {"not_measured": "the dictionary alone does not fit into the memory"}
    if least <= usable_memory():
        found = measure.measure_apart(config, shape[2], name)
    steps = -(-data["samples"] * shape[1] // config.batch_size)
    content = 4 * data["samples"] * math.prod(shape)
    reading = 0.0 if data["held"] else speed["read"] * content
    set_up = found.get("set_up_seconds", 0.0) + (speed["read"] + speed["scale"]) * content
    # The weight of an orbit SAE is chosen first, unless it is given.
    epochs = config.epochs + (choice_cost(config, steps) if name == ORBIT else 0)
    memory = {"activations": data.pop("bytes"), "training": max(least, found.get("memory", 0))}
    record: Record = {
        **dict.fromkeys(("latents", "parameters", "batch_measured")),
        **data,
        **found,
        "steps_per_epoch": steps,
        "steps": config.epochs * steps,
        "set_up_seconds": set_up,
        "reading_seconds_per_epoch": reading,
        "memory_bytes": sum(memory.values()),
        "memory": memory,
    }
    for end in ("", "_with_dead_latents"):
        step = record.setdefault(f"seconds_per_step{end}", None)
        whole = None if step is None else set_up + epochs * (steps * step + reading)
        record[f"seconds{end}"] = whole
    return record


def _data(config: RunConfig, shape: Shape, name: str) -> Record:
    """Return what training does with the activations; an orbit SAE holds them twice."""
    count, memory = count_training_samples(config.n_samples), int(config.memory_gib * 2**30)
    needed = 4 * count * math.prod(shape) * (2 if name == ORBIT else 1)
    if held := needed <= memory:
        size = needed + 24 * count * shape[1]  # and orders of the rows
    else:
        batch = config.batch_size
        size = buffer_size(config.n_samples, shape, batch_size=batch, memory=memory)
    return {"samples": count, "held": held, "bytes_to_hold": needed, "bytes": size}
