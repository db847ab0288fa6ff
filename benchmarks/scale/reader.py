"""Speed and memory of shuffled batches, compared with other ways to read the same store.

    python benchmarks/scale/reader.py --folder /tmp

Every way runs in a process of its own, once after the store was dropped from the system's cache
("cold") and once more ("warm"). Memory is the growth of the highest resident size (VmHWM), starting
after a tiny store and one orbit of this store were read. One product of the batch with a matrix
stands for training: `held` takes batches from memory, `step` from disk. On a busy machine, trust
CPU seconds more than the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import orbitlens as ol
from orbitlens.activations import ActivationStore, OrbitBatches, open_store
from orbitlens.activations.store._shard_reader import ShardFiles

MIB = 2**20
ORDER, DIM = 4, 512


def write(path: Path, size: int) -> None:
    """Write a store of about `size` bytes of random numbers, which do not compress."""
    values = np.random.default_rng(0).standard_normal(
        (size // (4 * ORDER * DIM), ORDER, DIM), np.float32
    )
    ol.store_from_array(values, group=ol.groups.cyclic(ORDER), out=path)


def forget(path: Path) -> None:
    """Drop a store from the system's cache."""
    for file in filter(Path.is_file, path.rglob("*")):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak() -> int:
    """Return the highest resident size in bytes since the last `reset`."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def reset() -> None:
    """Reset the highest resident size to the current one."""
    Path("/proc/self/clear_refs").write_text("5")


def sequential(store: ActivationStore, batch: int, memory: int) -> Iterator[int]:
    """Read shard after shard with Zarr."""
    rows = int((store.array.shards or store.array.chunks)[0])
    for start in range(0, store.n, rows):
        yield np.asarray(store.array[start : start + rows]).nbytes


def files(store: ActivationStore, batch: int, memory: int) -> Iterator[int]:
    """Read chunk after chunk and check the checksums, nothing more."""
    shards = ShardFiles.of(store.array)
    if shards is None:
        raise SystemExit("the store of this benchmark must be readable as files")
    for _, chunk, _ in shards.pieces(np.arange(store.n)):
        yield chunk.nbytes


def random_rows(store: ActivationStore, batch: int, memory: int) -> Iterator[int]:
    """Read a few batches of a full shuffle, row by row."""
    order = np.random.default_rng(0).permutation(store.n)
    for start in range(0, min(store.n, 4 * batch), batch):
        yield 4 * store.orbits(order[start : start + batch]).numel()


def shuffled(store: ActivationStore, batch: int, memory: int) -> Iterator[int]:
    """Read an epoch of shuffled batches."""
    for rows in OrbitBatches(store, batch_size=batch, memory=memory).epoch(0):
        yield 4 * rows.numel()


def places(store: ActivationStore, batch: int, memory: int) -> Iterator[int]:
    """Read the same batches without copying them, as training does."""
    batches = OrbitBatches(store, batch_size=batch, memory=memory)
    for rows, chosen in batches.places(0):
        yield 4 * rows[0].numel() * len(rows if chosen is None else chosen)


def step(store: ActivationStore, batch: int, memory: int) -> Iterator[int]:
    """Read the same batches, with a product for each."""
    weights, products = torch.randn(DIM, 2048), torch.empty(batch * ORDER, 2048)
    for rows in OrbitBatches(store, batch_size=batch, memory=memory).epoch(0):
        torch.mm(rows.flatten(0, 1), weights, out=products[: len(rows) * ORDER])
        yield 4 * rows.numel()


def held(store: ActivationStore, batch: int, memory: int) -> Iterator[int]:
    """Take the same products on batches of a store in memory."""
    weights, products = torch.randn(DIM, 2048), torch.empty(batch * ORDER, 2048)
    batches = OrbitBatches(store, batch_size=batch, memory=2**40)
    next(iter(batches.epoch(0)))
    yield 0
    for rows in batches.epoch(1):
        torch.mm(rows.flatten(0, 1), weights, out=products[: len(rows) * ORDER])
        yield 4 * rows.numel()


WAYS: dict[str, Callable[[ActivationStore, int, int], Iterator[int]]] = {
    "sequential": sequential,
    "files": files,
    "random_rows": random_rows,
    "shuffled": shuffled,
    "places": places,
    "held": held,
    "step": step,
}


def measure(way: str, path: Path, batch: int, memory: int) -> dict[str, float]:
    """Read the store in one way, in this process."""
    torch.set_num_threads(1)
    store = open_store(path)
    # What libraries load when they are first used is no matter of the budget.
    tiny = ol.store_from_array(np.zeros((64, ORDER, DIM), np.float32), group=store.group)
    for rows in OrbitBatches(tiny, batch_size=8, memory=MIB * 8).epoch(0):
        torch.mm(rows.flatten(0, 1), torch.randn(DIM, 8))
    store.orbits(np.array([0]))
    reset()
    before, total = peak(), 0
    began, used = time.perf_counter(), time.process_time()
    for size in WAYS[way](store, batch, memory):
        if size == 0:
            began, used = time.perf_counter(), time.process_time()
        total += size
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return {"speed": total / 1e6 / seconds, "cpu": cpu / (total / 1e9), "grown": peak() - before}


def apart(way: str, path: Path, batch: int, memory: int) -> dict[str, float]:
    """Measure in a process of its own."""
    numbers = [str(path), str(batch), str(memory)]
    command = [sys.executable, __file__, "--way", way, *numbers]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    """Print one row for each way and budget."""
    if sys.argv[1:2] == ["--way"]:
        way, path, batch, memory = sys.argv[2:]
        print(json.dumps(measure(way, Path(path), int(batch), int(memory))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--budgets", type=int, nargs="+", default=[64, 128], help="MiB")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "acts.zarr"
        write(path, options.mib * MIB)
        rows = [("sequential", 0), ("files", 0), ("random_rows", 0), ("held", 0)]
        beside = ("shuffled", "places", "step")
        rows += [(way, budget) for budget in options.budgets for way in beside]
        print("| way | budget, MiB | MB/s cold | MB/s warm | CPU s per GB | resident, MiB |")
        print("|---|---|---|---|---|---|")
        for way, budget in rows:
            cold, warm = [], []
            for _ in range(options.repeats):
                forget(path)
                cold.append(apart(way, path, options.batch_size, budget * MIB))
                warm.append(apart(way, path, options.batch_size, budget * MIB))
            speeds = [max(result["speed"] for result in results) for results in (cold, warm)]
            cpu = min(result["cpu"] for result in warm)
            grown = max(result["grown"] for result in cold + warm) / MIB
            print(
                f"| {way} | {budget or ''} | {speeds[0]:.0f} | {speeds[1]:.0f} | {cpu:.1f} "
                f"| {grown:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
