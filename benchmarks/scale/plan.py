"""Is `orbitlens plan` right? Its predictions beside the figures of harvests and fits.

    python benchmarks/scale/plan.py --processor          # exits 1 if a target is missed

Every case has two processes. One plans as the command does, and one does the work on a store on
disk. Latents may die on the way, so a plan gives a range of times; the error of a time is the
factor to the nearer end of it. Memory is the largest resident size of the process. Targets: a
factor of 1.5 for time, 10 % for disk, 20 % for memory.

With --processor all clocks, the plan's too, count processor time on one thread, which other work
on a shared machine changes less.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TIME, DISK, MEMORY = 1.5, 1.10, 1.20
HARVESTS: dict[str, dict[str, Any]] = {
    "cnn, C4": {"source": "photographs", "model": "cnn", "group": "C4", "n_samples": 3000},
    "cnn map, C4": {
        "source": "photographs",
        "model": "cnn",
        "layer": "encoder.2",
        "positions": "all",
        "group": "C4",
        "n_samples": 3000,
    },
    "vit tokens, D4, bfloat16": {
        "source": "cells",
        "model": "vit",
        "layer": "encoder.blocks.1",
        "positions": "all",
        "dtype": "bfloat16",
        "group": "D4",
        "image_size": 64,
        "n_samples": 500,
    },
}
LINEAR = {"hidden": 0}
FITS: dict[str, dict[str, Any]] = {
    "64 -> 256, C4": {
        **LINEAR,
        "dim": 64,
        "d_sae": 256,
        "k": 8,
        "batch_size": 1024,
        "group": "C4",
        "n_samples": 40_000,
        "epochs": 25,
        "name": "vanilla",
    },
    "128 -> 128 -> 1024, D4": {
        "dim": 128,
        "d_sae": 1024,
        "k": 16,
        "batch_size": 1024,
        "group": "D4",
        "n_samples": 20_000,
        "epochs": 15,
        "hidden": 128,
        "name": "vanilla",
    },
    "orbit 128 -> 8 x 128, D4": {
        **LINEAR,
        "dim": 128,
        "d_sae": 1024,
        "n_atoms": 128,
        "k": 16,
        "batch_size": 1024,
        "group": "D4",
        "n_samples": 15_000,
        "epochs": 10,
        "name": "orbit",
    },
    "256 -> 4096, C4, streamed": {
        **LINEAR,
        "dim": 256,
        "d_sae": 4096,
        "k": 16,
        "batch_size": 1024,
        "group": "C4",
        "n_samples": 40_000,
        "memory_gib": 0.1,
        "epochs": 2,
        "name": "vanilla",
    },
    "orbit 256 -> 4 x 1024, C4": {
        **LINEAR,
        "dim": 256,
        "d_sae": 4096,
        "n_atoms": 1024,
        "k": 16,
        "batch_size": 1024,
        "group": "C4",
        "n_samples": 10_000,
        "epochs": 4,
        "name": "orbit",
    },
    "orbit 512 -> 4 x 2048, C4": {
        **LINEAR,
        "dim": 512,
        "d_sae": 8192,
        "n_atoms": 2048,
        "k": 32,
        "batch_size": 2048,
        "group": "C4",
        "n_samples": 5120,
        "epochs": 3,
        "name": "orbit",
    },
    "768 -> 16384, C2": {
        **LINEAR,
        "dim": 768,
        "d_sae": 16384,
        "k": 32,
        "batch_size": 4096,
        "group": "C2",
        "n_samples": 15_361,
        "epochs": 2,
        "name": "vanilla",
    },
}


def predict(case: dict[str, Any], folder: Path, part: str, **width: Any) -> dict[str, Any]:
    """Plan, and measure nothing apart from the harvest but the given part."""
    from orbitlens.pipeline import RunConfig
    from orbitlens.plan import _measure as measure
    from orbitlens.plan._plan import plan

    apart = measure.measure_apart
    measure.measure_apart = lambda config, dim, other: (
        apart(config, dim, other) if other == part else {"not_measured": "another part"}
    )
    return plan(RunConfig.for_source(case.pop("source", ""), **case), folder / "acts", **width)


def predict_harvest(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Plan a harvest."""
    record = predict(case, folder, "harvest")
    seconds = record["harvest"]["seconds"]
    return {
        "seconds": [seconds, seconds],
        "disk": record["store"]["on_disk"],
        "memory": record["harvest"]["memory_bytes"],
    }


def measure_harvest(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Harvest."""
    from orbitlens.pipeline import RunConfig, prepare, stages

    config = RunConfig.for_source(case.pop("source"), **case)
    start = time.perf_counter()
    stages.harvest_orbits(prepare(config), folder / "acts.zarr")
    seconds = time.perf_counter() - start
    files = [path for path in (folder / "acts.zarr").rglob("*") if path.is_file()]
    return {"seconds": seconds, "disk": sum(path.stat().st_size for path in files)}


def predict_fit(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Plan a training."""
    name, dim = case.pop("name"), case.pop("dim")
    record = predict(case, folder, name, dim=dim)
    training = record["training"][name]
    return {
        "seconds": [training["seconds"], training["seconds_with_dead_latents"]],
        "disk": record["store"]["on_disk"],
        "memory": training["memory_bytes"],
    }


def measure_fit(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train on a store that another process has written."""
    import orbitlens as ol
    from orbitlens.pipeline import RunConfig, sae_objective
    from orbitlens.plan import _measure as measure

    name, dim = case.pop("name"), case.pop("dim")
    config = RunConfig(**case)
    store = ol.open_store(folder / "acts.zarr")
    sae = measure.build(config, dim, name)
    start = time.perf_counter()
    ol.fit(
        sae,
        store,
        objective=sae_objective(config, name),
        epochs=config.epochs,
        batch_size=config.batch_size,
        memory_gib=config.memory_gib,
    )
    seconds = time.perf_counter() - start
    files = [path for path in (folder / "acts.zarr").rglob("*") if path.is_file()]
    return {"seconds": seconds, "disk": sum(path.stat().st_size for path in files)}


def write(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the store that a training reads: orbits whose activations have structure."""
    import torch

    import orbitlens as ol

    torch.manual_seed(0)
    group = ol.groups.from_name(case["group"])
    directions = torch.randn(4 * case["dim"], case["dim"])
    shape = (case["n_samples"] * group.order, 12)
    places = torch.randint(len(directions), shape)
    rows = torch.nn.functional.embedding_bag(
        places, directions, mode="sum", per_sample_weights=torch.rand(shape)
    )
    array = rows.view(-1, group.order, case["dim"])
    ol.store_from_array(array, group=group, out=folder / "acts.zarr")
    return {}


WORK = {each.__name__: each for each in (predict_harvest, measure_harvest)}
WORK |= {each.__name__: each for each in (predict_fit, measure_fit, write)}


def worker(name: str, case: str, folder: str, processor: bool) -> None:
    """Do one part in a process of its own, which has loaded what the command line loads."""
    clock = "import time; time.perf_counter = time.process_time; "
    if processor:
        time.perf_counter = time.process_time
    import torch

    from orbitlens.pipeline import stages  # noqa: F401
    from orbitlens.plan import _measure as measure

    measure._SECONDS_APART = 600
    if processor:
        torch.set_num_threads(1)
        measure._PROGRAM = f"{clock}import torch; torch.set_num_threads(1); {measure._PROGRAM}"
    found = WORK[name](json.loads(case), Path(folder))
    print(json.dumps({"memory": measure.held_memory("VmHWM"), **found}))


def run(name: str, case: dict[str, Any], folder: str, processor: bool) -> dict[str, Any]:
    """Start a worker and wait for what it found."""
    words = [sys.executable, __file__, "--worker", name, json.dumps(case), folder]
    words += ["--processor"] if processor else []
    said = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(said.splitlines()[-1])


def factor(predicted: float, measured: float) -> float:
    """By how much a prediction is off, from 1."""
    return max(predicted, measured) / min(predicted, measured)


def judge(name: str, planned: dict[str, Any], found: dict[str, Any]) -> bool:
    """Print a line of the table; say whether a target is missed."""
    low, high = planned["seconds"]
    seconds = found["seconds"]
    off = factor(min(max(seconds, low), high), seconds)
    disk, memory = (factor(planned[part], found[part]) for part in ("disk", "memory"))
    print(
        f"| {name} | {low:.2f} to {high:.2f} | {seconds:.2f} | {off:.2f} "
        f"| {planned['disk'] / 1e6:.1f} | {found['disk'] / 1e6:.1f} | {disk:.3f} "
        f"| {planned['memory'] / 1e6:.0f} | {found['memory'] / 1e6:.0f} | {memory:.2f} |",
        flush=True,
    )
    return off > TIME or disk > DISK or memory > MEMORY


def main() -> int:
    """Print the table and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processor", action="store_true", help="processor time, one thread")
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker, options.processor)
        return 0
    print(
        "| | s, planned | s, taken | factor | MB on disk, planned | written | factor "
        "| MB of memory, planned | held | factor |\n" + "|---" * 10 + "|"
    )
    missed = False
    for kind, cases in (("harvest", HARVESTS), ("fit", FITS)):
        for name, case in cases.items():
            if not name.startswith(options.only):
                continue
            with tempfile.TemporaryDirectory() as folder:
                if kind == "fit":
                    run("write", case, folder, options.processor)
                planned = run(f"predict_{kind}", case, folder, options.processor)
                found = run(f"measure_{kind}", case, folder, options.processor)
            missed |= judge(f"{kind} {name}", planned, found)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
