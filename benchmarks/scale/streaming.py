"""Training from a store ten times larger than the memory for it, beside training in memory.

    python benchmarks/scale/streaming.py --folder /tmp       # exits 1 if a target is missed

Every training runs in a process of its own: the same store, the same steps, once with activations
held in memory, once read as they are needed within a tenth of the store's size, in turn for some
rounds. Its speed is that of its fastest epoch but the first; what comes before the first step (a
pass over the store for mean and scale, or the reading of all) is told beside it. Dead latents are
not revived, so that a step costs the same in both. Cold, the store is dropped from the system's
cache before the training and after every epoch; warm, the system may have kept it.

Memory is the highest resident size (VmHWM), from the beginning on, beyond that which steps have in
the same training on a store of one batch: libraries, weights, moments and temporaries. The rows of
that one batch are counted to the budget. The machine should be quiet, since streaming takes from
the cores that train; processor seconds say how much.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import orbitlens as ol

MIB = 2**20
BATCH, HELD_GIB = 4096, 64.0
# d_in, d_sae, k; in the second, reading weighs most.
SHAPES = {"256-4096-32": (256, 4096, 32), "128-1024-16": (128, 1024, 16)}
SPEED = 0.8  # of that in memory, at least
Result = dict[str, Any]


def write(path: Path, samples: int, order: int, dim: int, dtype: str) -> None:
    """Write a store of random numbers, which do not compress."""
    values = np.random.default_rng(0).standard_normal((samples, order, dim), np.float32)
    ol.store_from_array(values, group=ol.groups.cyclic(order), out=path, dtype=dtype)


def size_of(path: Path) -> int:
    """Return the bytes that a store has on disk."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def forget(path: Path) -> None:
    """Drop a store from the system's cache."""
    for file in filter(Path.is_file, path.rglob("*")):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def status(file: str, name: str) -> int:
    """Return a number that the system keeps of this process."""
    return int(Path(f"/proc/self/{file}").read_text().split(f"{name}:")[1].split()[0])


def train(
    path: Path,
    shape: tuple[int, int, int],
    memory_gib: float,
    epochs: int,
    threads: int,
    cold: bool,
) -> Result:
    """Train in this process; return what an epoch cost, what came before, and the memory."""
    torch.set_num_threads(threads)
    store, sae = ol.open_store(path), ol.sae.topk_sae(*shape)
    if cold:
        forget(path)
    instants = [(time.perf_counter(), time.process_time())]
    begins, peaks = list(instants), []

    def note(*_: float) -> None:
        instants.append((time.perf_counter(), time.process_time()))
        peaks.append(1024 * status("status", "VmHWM"))
        if memory_gib == HELD_GIB:  # what was freed after reading is no need of a step
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the highest size begins anew
        if cold:
            forget(path)
        begins.append((time.perf_counter(), time.process_time()))

    ol.fit(
        sae,
        store,
        epochs=epochs,
        batch_size=BATCH,
        revival_weight=0.0,
        precision="float32",
        memory_gib=memory_gib,
        progress=note,
    )
    took = np.array(instants[1:]) - np.array(begins[:-1])
    seconds, processor = took[1:].min(axis=0)
    return {
        "seconds": seconds,
        "processor": processor,
        "before": took[0, 0] - seconds,
        "peak": max(peaks),
        "steady": max(peaks[1:]),
        "from_disk": status("io", "\nread_bytes"),
    }


def apart(
    path: Path,
    shape: tuple[int, int, int],
    memory_gib: float,
    epochs: int,
    threads: int,
    cold: bool,
) -> Result:
    """Train in a process of its own."""
    settings = json.dumps([str(path), shape, memory_gib, epochs, threads, cold])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--train", settings]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)


def best(results: list[Result]) -> Result:
    """Return the least of each figure over the rounds, but the most memory."""
    return {
        name: (max if name in {"peak", "steady"} else min)(result[name] for result in results)
        for name in results[0]
    }


def compare(
    shape: tuple[int, int, int], parent: Path | None, options: argparse.Namespace
) -> Iterator[tuple[str, Result]]:
    """Yield what each way to train took, and at last the store's size and memory beyond it."""
    order, dim = options.order, shape[0]
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        whole, tiny = Path(folder) / "acts", Path(folder) / "tiny"
        each = order * dim * (4 if options.dtype == "float32" else 2)
        write(whole, int(options.gigabytes * 1e9 / each), order, dim, options.dtype)
        write(tiny, BATCH * 5 // 4, order, dim, options.dtype)  # a fifth is held out
        size = size_of(whole)
        budget = size // 10
        ways = {"held": HELD_GIB, "streamed": budget / 2**30, "streamed, cold": budget / 2**30}
        results: dict[str, list[Result]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, memory in ways.items():
                cold = way.endswith("cold")
                results[way].append(
                    apart(whole, shape, memory, options.epochs, options.threads, cold)
                )
        alone = apart(tiny, shape, HELD_GIB, options.epochs, options.threads, False)
        yield from ((way, best(results[way])) for way in ways)
        beyond = alone["steady"] - BATCH * order * dim * 4
        yield "store", {"size": size, "budget": budget, "baseline": beyond}


def main() -> None:
    """Print one row for each way and shape, and judge."""
    if sys.argv[1:2] == ["--train"]:
        path, *settings = json.loads(sys.argv[2])
        print(json.dumps(train(Path(path), *settings)))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.5, help="size of the store")
    parser.add_argument("--order", type=int, default=4, help="elements of an orbit")
    parser.add_argument("--dtype", default="float32", help="type on disk")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where stores are written")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = parser.parse_args()
    missed = []
    print(
        "| d_in-d_sae-k | activations | s per epoch | speed | target | processor s per epoch "
        "| s before the first step | read from disk, MB | resident, MiB | budget, MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.shapes:
        shape = SHAPES[name]
        results = dict(compare(shape, options.folder, options))
        store = results.pop("store")
        for way, result in results.items():
            speed = results["held"]["seconds"] / result["seconds"]
            grown, streamed = result["peak"] - store["baseline"], way != "held"
            if speed < SPEED or (streamed and grown > store["budget"]):
                missed.append(f"{name}, {way}")
            print(
                f"| {name} | {way} | {result['seconds']:.2f} | {speed:.2f} "
                f"| {SPEED if streamed else ''} | {result['processor']:.1f} "
                f"| {result['before']:.1f} | {result['from_disk'] / 1e6:.0f} | {grown / MIB:.0f} "
                f"| {store['budget'] // MIB if streamed else ''} |",
                flush=True,
            )
    print("missed: " + "; ".join(missed) if missed else "all targets met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
