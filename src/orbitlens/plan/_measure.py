"""Short measurements of the code that will do the work; training has a process of its own.

Its first step and its memory are therefore those of a real run.
"""

import inspect
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.activations import harvest, open_store, store_from_array
from orbitlens.data import LazyInputs
from orbitlens.files import one_line_errors
from orbitlens.groups import Group, cyclic, from_name
from orbitlens.pipeline import ORBIT, RunConfig, build_sae, load_source, prepare, sae_objective
from orbitlens.pipeline._saes import sparsity_rule
from orbitlens.reps import IsotypicBasis, multiplicities, regular
from orbitlens.sae import SAE, OrbitDictionary, compose
from orbitlens.training import fit, unit_scale
from orbitlens.transport import fit_transport
from orbitlens.typing import Float, Tensor

Shape = tuple[int, int, int]  # activations of one input, [|G|, positions, dim]
METHODS = ("least_squares", "exact")  # the default transport, and that of an orbit SAE
HARVEST_BATCH: int = inspect.signature(harvest).parameters["batch_size"].default
_WRITTEN, _LOADED = 2**25, 64  # bytes of a store, inputs of a harvest
_SECONDS, _SECONDS_APART = 1.0, 60
# Multiplications: an epoch has several short steps; a step that is longer is that of fewer orbits.
_SHORT, _LONG = 2**28, 2**36
_PROGRAM = "from orbitlens.plan._measure import main; main()"


def held_memory(field: str = "VmRSS") -> int:
    """Return the bytes that this process holds, or its peak with "VmHWM"; 0 where unknown."""
    with suppress(OSError):
        found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def _seconds(work: Callable[[], object]) -> float:
    """Return the shorter time of two rounds, as other work on the machine only adds."""
    return min(timeit.repeat(work, number=1, repeat=2))


def measure_store(config: RunConfig, shape: Shape, out: Path) -> tuple[dict[str, float], int]:
    """Return seconds per byte of float32 to write a store, to read and to scale it; free bytes."""
    array = torch.randn(max(2, _WRITTEN // (4 * math.prod(shape))), *shape)
    write = partial(store_from_array, group=from_name(config.group), dtype=config.dtype)
    folder = next(each for each in (out, *out.absolute().parents) if each.is_dir())
    with one_line_errors(out), tempfile.TemporaryDirectory(prefix=".plan-", dir=folder) as place:
        paths = [Path(place) / name for name in ("second", "first")]
        times = {"write": _seconds(lambda: write(array, out=paths.pop(), digest="plan"))}
        store = open_store(Path(place) / "first")
        times["read"] = _seconds(lambda: sum(len(part) for part in store.chunks()))
    times["scale"] = _seconds(lambda: unit_scale(array.movedim(2, 1).flatten(0, 1)))
    speed = {name: each / (4 * array.numel()) for name, each in times.items()}
    return speed, shutil.disk_usage(folder).free


def measure_passes(config: RunConfig, workers: int) -> tuple[Shape, dict[str, float]]:
    """Harvest a few inputs; return the shape of their activations and the cost of one input."""
    few = replace(config, n_samples=min(config.n_samples, _LOADED))
    job = prepare(few)
    module, values = job.model.module.to(config.torch_device), job.source.inputs.values
    loading = _seconds(lambda: load_source(few)) / len(values)
    lazy = isinstance(values, LazyInputs)  # looked at first, and read again batch by batch
    run = partial(harvest, module, layer=job.model.layer, action=job.action)
    run = partial(run, positions=config.positions, prepare=job.model.prepare)
    run = partial(run, seed_forward=config.seed_forward)
    threads, order = torch.get_num_threads(), job.action.group.order
    torch.set_num_threads(max(1, threads // workers))
    try:
        first = _seconds(lambda: run(inputs=values[:1]))
        held, together = held_memory(), max(1, HARVEST_BATCH // order)
        amount = min(together, len(values), max(2, int(_SECONDS / first)))
        took = _seconds(lambda: run(inputs=values[:amount]))
        store = run(inputs=values[:1])
    finally:
        torch.set_num_threads(threads)
    # Every harvest begins with a look at a few inputs, which costs as much for one as for many.
    each = first if amount == 1 else max((took - first) / (amount - 1), took / amount / 8)
    return (order, store.positions, store.dim), {
        "forward_seconds": each / workers,
        "loading_seconds": 2 * loading if lazy else loading,
        "input_bytes": 0 if lazy else values[0].nbytes,
        "process_bytes": held + max(0, held_memory("VmHWM") - held) * together // amount,
    }


def measure_apart(config: RunConfig, dim: int, part: str) -> dict[str, Any]:
    """Return what `main` measures in a minute; "not_measured" says why something is missing."""
    words = [sys.executable, "-c", _PROGRAM, json.dumps(config.to_dict()), str(dim), part]
    run: Any = partial(subprocess.run, capture_output=True, check=True, timeout=_SECONDS_APART)
    reason = None
    try:
        lines = run(words).stdout
    except subprocess.TimeoutExpired as error:
        lines, reason = error.stdout, f"a few steps take longer than {_SECONDS_APART} s"
    except subprocess.CalledProcessError as error:
        lines, reason = error.stdout, f"a step failed: {error.stderr.decode()[-200:].strip()!r}"
    parts = [json.loads(line) for line in (lines or b"").splitlines()]
    return {"not_measured": reason} | {name: each for part in parts for name, each in part.items()}


def main() -> None:
    """Measure the part that the command line names; print what is found, a record a line."""
    config, dim, part = RunConfig.from_dict(json.loads(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
    measure = measure_transports if part == "transport" else partial(measure_training, name=part)
    for found in measure(config, dim):
        print(json.dumps(found), flush=True)  # noqa: T201 - the process that started it reads this


def build(config: RunConfig, dim: int, name: str) -> SAE:
    """Build an SAE; of an orbit SAE the shapes are right, but no transport has been fitted."""
    if name != ORBIT:
        return build_sae(config, dim)
    group, same = from_name(config.group), torch.eye(dim, dtype=torch.float64)
    copies, spare = divmod(dim, group.order)
    first, *others = (copies * each for each in multiplicities(regular(group)))
    basis = IsotypicBasis(group, (first + spare, *others), same, same)
    rule = sparsity_rule(config, config.atoms, group.order)
    return compose(rule, OrbitDictionary(config.atoms, basis))


def measure_training(config: RunConfig, dim: int, name: str) -> Iterator[dict[str, Any]]:
    """Yield the size of an SAE; then its first step, later ones, and memory but for activations."""
    sae = build(config, dim, name)
    yield {"latents": sae.d_sae, "parameters": sum(each.numel() for each in sae.parameters())}
    if not sae.sparsity.steers:
        with torch.no_grad():
            sae.encoder.get_parameter("b_enc")[0] = -1e9  # a latent that dies
    batch = min(config.batch_size, max(1, _LONG // (sae.d_sae * dim)))
    count = max(1, min(16, _SHORT // (batch * sae.d_sae * dim)))
    calm = 1 if count == 1 else 2  # epochs after the first in which no latent counts as dead
    store = store_from_array(torch.randn(batch * count, 1, dim), group=cyclic(1))
    ends = [time.perf_counter()]
    fit(
        sae,
        store,
        objective=sae_objective(replace(config, orbit_weight=config.orbit_weight or 1.0), name),
        epochs=2 * calm + 1,
        batch_size=batch,
        samples=np.arange(store.n),
        dead_after=1 + calm,
        precision=config.precision,
        memory_gib=2**20,
        progress=lambda *_: ends.append(time.perf_counter()),
    )
    first, *steps = (np.diff(ends) / count).tolist()
    step, dead = min(steps[:calm]), max(min(steps[:calm]), min(steps[calm:]))
    once = max(0.0, count * (first - step))
    step, dead = (each * config.batch_size / batch for each in (step, dead))
    held = (3 if name == ORBIT else 2) * 4 * store.n * dim  # the store lies in memory, too
    yield {"batch_measured": batch, "memory": held_memory("VmHWM") - held, "set_up_seconds": once}
    yield {"seconds_per_step": step, "seconds_per_step_with_dead_latents": dead}
    if batch < config.batch_size:
        share = f"{batch} of {config.batch_size} orbits"
        yield {"not_measured": f"a full batch; {share} say that a step takes at most so long"}


def measure_transports(config: RunConfig, dim: int) -> Iterator[dict[str, Any]]:
    """Yield, for each method, seconds per row and seconds of its closed form; peak memory."""
    group = from_name(config.group)
    few = max(10, 2 + -(-3 * dim // group.order))  # two of which are held out
    many = few + min(2**14, max(few, 2**30 // (group.order * dim) ** 2))
    times = []
    for method, n in (("identity", 10), (METHODS[0], many), *((each, few) for each in METHODS)):
        store = store_from_array(move(n, group, dim), group=group)
        start = time.perf_counter()
        fit_transport(store, method)
        times.append(time.perf_counter() - start)
        if n == few:
            per_row = max(times[1] - times[2], times[1] / 10) / (many - few)
            rates = per_row, max(times[-1] - few * per_row, times[-1] / 10)
            yield {method: rates, "memory_bytes": held_memory("VmHWM")}


def move(n: int, group: Group, dim: int) -> Float[Tensor, "n group dim"]:
    """Return orbits that move by copies of the regular representation; spare numbers are zero."""
    copies, spare = divmod(dim, group.order)
    base = torch.randn(n, copies, group.order)
    moved = torch.einsum("gij,ncj->ngci", regular(group).matrices.float(), base).flatten(2)
    return torch.nn.functional.pad(moved, (0, spare))
