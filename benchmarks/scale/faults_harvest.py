"""Kill harvests at random instants, resume them, and compare every bit.

    python benchmarks/scale/faults_harvest.py --kills 100     # exits 1 if a bit differs
    python benchmarks/scale/faults_harvest.py --kills 100 --layers   # of harvest_layers

A process harvests with `resume` and gets SIGKILL after a random time; another one continues, until
the store is complete. Then every file is compared with those of an undisturbed harvest, and the
next harvest begins. With --workers 2 the parent of two worker processes is killed, or, every third
time, one of the workers.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

import orbitlens as ol
from orbitlens.activations.store import _on_disk
from orbitlens.errors import OrbitLensError

SAMPLES, WIDTH = 4096, 4096  # eight shards of 32 MiB; of many layers eight of 2 MiB in each


def harvest(out: Path, workers: int, layers: bool) -> None:
    """Begin or resume a harvest; a killed worker is an error of one line."""
    torch.set_num_threads(workers)
    torch.manual_seed(0)
    width = 512 if layers else WIDTH  # of 512 channels 256 directions are kept
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, width), torch.nn.Tanh())
    _on_disk._SHARD_BYTES = 2**21 if layers else _on_disk._SHARD_BYTES
    try:
        call = ol.activations.harvest_layers if layers else partial(ol.harvest, layer="2")
        call(
            model,
            inputs=torch.rand(SAMPLES, 1, 16, 16),
            action=ol.actions.images(ol.groups.cyclic(4)),
            out=out,
            labels=np.arange(SAMPLES) % 7,
            class_names=tuple("abcdefg"),
            workers=workers,
            resume=True,
        )
    except OrbitLensError as error:
        if "a worker process" not in str(error):
            raise


def digests(folder: Path) -> dict[str, str]:
    """Return the fingerprint of every file, hidden ones as well."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def children(pid: int) -> list[int]:
    """Return the workers of a harvest, without the helper of multiprocessing that tracks them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def main() -> None:
    """Kill, resume, compare; print one JSON line and judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--layers", action="store_true", help="all layers, some in fewer directions"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=None, help="where stores are written")
    options = parser.parse_args()
    fork = multiprocessing.get_context("fork")  # so that the libraries are imported once
    instants = np.random.default_rng(options.seed)
    kills = harvests = different = in_workers = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        undisturbed = Path(folder) / "undisturbed"
        process = fork.Process(target=harvest, args=(undisturbed / "acts", 1, options.layers))
        process.start()
        process.join()
        begun = time.perf_counter()
        settings = (options.workers, options.layers)
        process = fork.Process(target=harvest, args=(Path(folder) / "timed" / "acts", *settings))
        process.start()
        process.join()
        whole = time.perf_counter() - begun
        expected = digests(undisturbed)
        while kills < options.kills:
            place = Path(folder) / f"harvest-{harvests}"
            while not (place / "acts").exists():
                process = fork.Process(target=harvest, args=(place / "acts", *settings))
                process.start()
                process.join(instants.uniform(0, whole))
                victims = children(process.pid) if kills % 3 == 2 else []
                if process.is_alive() and kills < options.kills:
                    os.kill(victims[0] if victims else process.pid, signal.SIGKILL)
                    in_workers += bool(victims)
                    kills += 1
                process.join()
            harvests += 1
            store = place / "acts" / ("2.zarr" if options.layers else "")
            whole_store = ol.open_store(store).n == SAMPLES
            different += digests(place) != expected or not whole_store
            for file in place.rglob("*"):
                if file.is_file():
                    file.unlink()
    record = {
        "kills": kills,
        "of_workers": in_workers,
        "harvests": harvests,
        "different": different,
        "seconds_of_one": round(whole, 2),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    print(json.dumps(record))
    sys.exit(int(different > 0))


if __name__ == "__main__":
    main()
