"""The record of a plan: sizes from shapes, times from a few real steps times their number."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.activations import split_samples
from orbitlens.activations.store import Needs, chunk_samples, plan_shards
from orbitlens.groups import from_name
from orbitlens.pipeline import ORBIT, RunConfig, check_pairs
from orbitlens.plan import _measure as measure
from orbitlens.plan._lines import find_advice, find_warnings
from orbitlens.plan._measure import HARVEST_BATCH, Shape

Record = dict[str, Any]
NAMES = ("vanilla", ORBIT)  # an equivariant SAE costs as much as a vanilla one
_LEARNED = 20  # bytes per parameter: weights, a copy in training, gradient, two moments of Adam
# Zarr ends a chunk with its checksum, and a shard with the place of each chunk and a checksum.
_CHECKSUM, _PLACE, _ATTRIBUTES = 4, 16, 4096
_SPLIT = 2**22


def plan(
    config: RunConfig, out: Path, *, dim: int | None = None, positions: int = 1, workers: int = 1
) -> Record:
    """Plan a harvest, the transports and the trainings on it, in seconds and bytes.

    Without a width, a few inputs of the source are harvested. A figure that cannot be measured in
    a minute is None, and "not_measured" gives the reason.
    """
    shape, cost = (from_name(config.group).order, positions, dim or 1), {}
    check_pairs(config, from_name(config.group))
    if dim is None:
        shape, cost = measure.measure_passes(config, workers)
    data = {name: training_data(config, shape, copies=1 + (name == ORBIT)) for name in NAMES}
    batch = max(1, HARVEST_BATCH // shape[0])
    store, speed = store_size(config, shape, batch), measure.measure_store(config, shape, out)
    record = {
        "inputs": config.n_samples,
        "group": config.group,
        **dict(zip(("order", "positions", "dim"), shape, strict=True)),
        "dtype": config.dtype,
        "epochs": config.epochs,
        "workers": workers,
        "store": store,
        "harvest": _harvest(config, shape, store, speed, cost, workers),
        "transport": _transport(config, shape, speed),
        "training": {name: _training(config, shape, name, data[name], speed) for name in NAMES},
        "free_disk": shutil.disk_usage(measure.nearest_folder(out)).free,
        "machine_memory": measure.usable_memory(),
    }
    return {**record, "warnings": find_warnings(record, out), "advice": find_advice(record)}


def _harvest(
    config: RunConfig, shape: Shape, store: Record, speed: Record, cost: Record, workers: int
) -> Record:
    """Plan the harvest; workers share one disk, so that writing does not get faster with them."""
    n, sample = config.n_samples, 4 * math.prod(shape)
    parts = ("loading_seconds", "forward_seconds", "input_bytes")
    record = {part: cost[part] * n if cost else None for part in parts}
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
    seconds: dict[str, float | None] = dict.fromkeys(measure.METHODS)
    for method in measure.METHODS:
        if method in found:
            per_row, once = found[method]
            reading = speed["read"] * n * 4 * math.prod(shape)
            seconds[method] = per_row * n * shape[1] + once + reading
    memory, reason = found.get("memory"), found["not_measured"]
    return {"seconds": seconds, "memory_bytes": memory, "not_measured": reason}


def _training(config: RunConfig, shape: Shape, name: str, data: Record, speed: Record) -> Record:
    least = _LEARNED * shape[2] * (config.atoms if name == ORBIT else config.d_sae)
    found: Record = {"not_measured": "the dictionary alone does not fit into the memory"}
    if least <= measure.usable_memory():
        found = measure.measure_apart(config, shape[2], name)
    steps = -(-data["samples"] * shape[1] // config.batch_size)
    content = 4 * data["samples"] * math.prod(shape)
    reading = 0.0 if data["held"] else speed["read"] * content
    set_up = found.get("set_up_seconds", 0.0) + (speed["read"] + speed["scale"]) * content
    memory = {"activations": data["bytes"], "training": max(least, found.get("memory", 0))}
    record: Record = {
        **dict.fromkeys(("latents", "parameters", "batch_measured")),
        **found,
        "steps_per_epoch": steps,
        "steps": config.epochs * steps,
        "set_up_seconds": set_up,
        "reading_seconds_per_epoch": reading,
        "memory_bytes": sum(memory.values()),
        "memory": memory,
        "held": data["held"],
        "bytes_to_hold": data["bytes_to_hold"],
    }
    for end in ("", "_with_dead_latents"):
        step = record.setdefault(f"seconds_per_step{end}", None)
        whole = None if step is None else set_up + config.epochs * (steps * step + reading)
        record[f"seconds{end}"] = whole
    return record


def store_size(config: RunConfig, shape: Shape, together: int = 1) -> dict[str, int]:
    """Return the shards of a store and its bytes on disk: padded numbers, checksums, places."""
    n, width = config.n_samples, getattr(torch, config.dtype).itemsize
    shards = plan_shards(n, [shape], together)
    chunk = min(shards.samples, chunk_samples(shape))
    start, stop = shards.span(shards.count - 1)
    per_shard = -(-shards.samples // chunk)
    chunks = (shards.count - 1) * per_shard + -(-(stop - start) // chunk)
    padded = chunks * (chunk * math.prod(shape) * width + _CHECKSUM)
    places = shards.count * (per_shard * _PLACE + _CHECKSUM)
    return {
        "raw": n * math.prod(shape) * width,
        "on_disk": padded + places + _ATTRIBUTES,
        "shards": shards.count,
        "shard_samples": shards.samples,
        "bytes_per_number": width,
    }


def training_data(config: RunConfig, shape: Shape, *, copies: int) -> dict[str, Any]:
    """Return how many samples `fit` trains on, whether it holds them all, and in how many bytes."""
    n, sample, memory = config.n_samples, 4 * math.prod(shape), int(config.memory_gib * 2**30)
    train = split_samples(min(n, _SPLIT))[0]
    count = n * len(train) // min(n, _SPLIT)
    needed = copies * count * sample
    found = {"samples": count, "held": needed <= memory, "bytes_to_hold": needed}
    if found["held"]:
        return {**found, "bytes": needed + 24 * count * shape[1]}  # and orders of the rows
    shard = plan_shards(n, [shape], 1).samples
    needs = Needs.of(
        count=count,
        sample=sample,
        positions=shape[1],
        chunk=min(shard, chunk_samples(shape)),
        shard=shard,
        batch_size=config.batch_size,
    )
    longest = int(np.bincount(train // needs.run).max())
    if needs.all(count) > memory and needs.runs_held(memory, longest) < 1:
        raise needs.too_little(memory, needs.least(count, longest), longest * sample)
    return {**found, "bytes": min(memory, needs.all(count)) - needs.by_zarr}  # on a local disk
