"""Trainings that are killed at random instants, and whether anyone can tell afterwards.

    OMP_NUM_THREADS=1 python benchmarks/scale/faults_training.py     # exits 1 if a bit differs

A process trains with a checkpoint after every step, so that many an instant is one of writing, and
gets SIGKILL after a random time; another one goes on, until the training has come to its end. Then
every bit of the SAEs, of their histories and of the rest of the result is compared with those of a
training that nobody disturbed and that wrote no checkpoint, and the next training begins. From one
kill to the next, a checkpoint may not go back. Last, each training gets SIGTERM and Ctrl-C once,
with an interval so long that the signal alone is a reason to write.
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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # what Adam loads when it is first used; children find it loaded
from safetensors import safe_open

import orbitlens as ol
from orbitlens.activations import ActivationStore
from orbitlens.files import write_json
from orbitlens.sae import SAE

DIM = 64
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SELDOM, ALWAYS = 3600.0, 1e-9
TEMPORARY = (".checkpoint.partial", ".tmp")  # the second is what safetensors writes to first


@dataclass(frozen=True)
class Case:
    """One kind of training.

    Args:
        samples: Size of its store.
        build: Makes the SAEs, which train together.
        settings: What `fit` gets besides.
    """

    samples: int
    build: Callable[[ActivationStore], Sequence[SAE]]
    settings: dict[str, Any]


def _in_memory(store: ActivationStore) -> list[SAE]:
    del store
    return [ol.sae.topk_sae(DIM, 4096, 16), ol.sae.batch_topk_sae(DIM, 4096, 16, hidden=64)]


def _streamed(store: ActivationStore) -> list[SAE]:
    del store
    return [ol.sae.topk_sae(DIM, 2048, 16)]


def _orbit(store: ActivationStore) -> list[SAE]:
    return [ol.sae.orbit_sae(DIM, 1024, 8, ol.fit_transport(store, "exact"))]


CASES = {
    "in memory, TopK and BatchTopK": Case(1000, _in_memory, {"epochs": 3, "batch_size": 20}),
    # The training part has 82 MB, the budget is 64.
    "streamed, TopK": Case(
        100_000, _streamed, {"epochs": 2, "batch_size": 1000, "memory_gib": 0.06}
    ),
    "orbit SAE": Case(
        1000,
        _orbit,
        {
            "epochs": 3,
            "batch_size": 20,
            "lr_decay": 0.5,
            "objective": ol.objectives.orbit_invariance,
        },
    ),
}


@dataclass
class Tally:
    """Counts of the trainings of one case, and of their faults."""

    kills: int = 0
    in_writing: int = 0
    before_the_first: int = 0
    trainings: int = 0
    different: int = 0
    gone_back: int = 0
    signals: int = 0
    left: list[str] = field(default_factory=list)


def prepare(name: str, folder: Path) -> None:
    """Write the store of a case."""
    torch.set_num_threads(1)
    drawn = ol.data.toy(n_features=16, orbit_size=4, dim=DIM, n_samples=CASES[name].samples, seed=0)
    ol.store_from_array(drawn.orbits, group=drawn.group, out=folder / "acts")


def train(name: str, folder: Path, place: Path, seconds: float | None) -> None:
    """Train, or go on with it, and write down every bit of what comes out."""
    torch.set_num_threads(1)
    case, store = CASES[name], ol.open_store(folder / "acts")
    saved = {} if seconds is None else {"checkpoint_seconds": seconds}
    try:
        results = ol.fit(
            list(case.build(store)),
            store,
            lr=2e-3,
            **case.settings,
            **saved,
            checkpoint=None if seconds is None else place / "checkpoint",
            progress=lambda *_: (place / "an-epoch").touch(),
        )
    except KeyboardInterrupt:
        sys.exit(CODES[signal.SIGINT])
    outcome = [
        {
            "tensors": {key: digest(value) for key, value in result.sae.state_dict().items()},
            "history": asdict(result.history),
            "status": result.status,
            "scale": result.scale,
        }
        for result in results
    ]
    write_json({"outcome": outcome}, place / "result.json")


def digest(tensor: torch.Tensor) -> str:
    """Return a fingerprint of type, shape and bits."""
    kind = f"{tensor.dtype} {list(tensor.shape)} ".encode()
    return hashlib.sha256(kind + tensor.contiguous().numpy().tobytes()).hexdigest()


def started(target: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    """Start a process that has the libraries already."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def ended(process: multiprocessing.Process, *codes: int) -> int:
    """Wait for a process, which must end with one of some codes."""
    process.join()
    if process.exitcode not in codes:
        raise SystemExit(f"a process ended with {process.exitcode}, not with one of {codes}")
    return process.exitcode


def reached(place: Path) -> tuple[int, int]:
    """Return epoch and batch of the checkpoint; before the first one, the beginning."""
    if not (place / "checkpoint").exists():
        return 0, 0
    with safe_open(place / "checkpoint", "np") as file:
        where = json.loads(file.metadata()["orbitlens-training"])["place"]
    return where["epoch"], where["batch"]


def killed(
    name: str, folder: Path, kills: int, whole: float, instants: np.random.Generator
) -> Tally:
    """Kill trainings of a case so many times, and compare each with the undisturbed one."""
    tally, expected = Tally(), (folder / "undisturbed" / "result.json").read_bytes()
    while tally.kills < kills:
        place = folder / f"training-{tally.trainings}"
        place.mkdir()
        while not (place / "result.json").exists():
            before, beside = reached(place), set(left_over(place))
            process = started(train, name, folder, place, ALWAYS)
            process.join(instants.uniform(0, whole) if tally.kills < kills else None)
            if process.is_alive():
                process.kill()
            if ended(process, 0, -signal.SIGKILL) == 0:
                continue
            tally.kills += 1
            tally.in_writing += bool(set(left_over(place)) - beside)
            tally.before_the_first += not (place / "checkpoint").exists()
            tally.gone_back += reached(place) < before
        tally.trainings += 1
        tally.different += (place / "result.json").read_bytes() != expected
        tally.left += left_over(place)
    return tally


def told_to_stop(
    name: str, folder: Path, whole: float, instants: np.random.Generator, tally: Tally
) -> None:
    """Send SIGTERM and Ctrl-C within an epoch, go on, and compare."""
    expected = (folder / "undisturbed" / "result.json").read_bytes()
    for number, code in CODES.items():
        place = folder / f"told-{code}"
        place.mkdir()
        process = started(train, name, folder, place, SELDOM)
        while process.is_alive() and not (place / "an-epoch").exists():
            time.sleep(0.001)
        time.sleep(instants.uniform(0, whole / 20))
        os.kill(process.pid, number)
        ended(process, code)
        written = reached(place)
        tally.signals += written > (0, 0)
        ended(started(train, name, folder, place, SELDOM), 0)
        tally.trainings += 1
        tally.different += (place / "result.json").read_bytes() != expected
        tally.left += left_over(place)


def left_over(place: Path) -> list[str]:
    """Return the names of files that nobody asked for."""
    wanted = {"checkpoint", "result.json", "an-epoch"}
    return [path.name for path in place.iterdir() if path.name not in wanted]


def judged(
    name: str, parent: str | None, kills: int, instants: np.random.Generator
) -> dict[str, Any]:
    """Do everything with one case."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        at = Path(folder)
        ended(started(prepare, name, at), 0)
        for place, seconds in ((at / "undisturbed", None), (at / "timed", ALWAYS)):
            place.mkdir()
            since = time.perf_counter()
            ended(started(train, name, at, place, seconds), 0)
            whole = time.perf_counter() - since
        tally = killed(name, at, kills, whole, instants)
        told_to_stop(name, at, whole, instants, tally)
        size = (at / "timed" / "checkpoint").stat().st_size
    temporary = [file.startswith(TEMPORARY) for file in tally.left]
    return {
        "case": name,
        **asdict(tally),
        "left": len(temporary),
        "left_not_temporary": temporary.count(False),
        "checkpoint_mb": round(size / 1e6, 1),
        "seconds_of_one": round(whole, 2),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def main() -> None:
    """Kill, go on, compare; print one JSON line for each case and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="over all cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=None, help="where checkpoints are written")
    options = parser.parse_args()
    instants, wrong = np.random.default_rng(options.seed), 0
    shares = [len(part) for part in np.array_split(np.arange(options.kills), len(CASES))]
    for name, kills in zip(CASES, shares, strict=True):
        record = judged(name, options.folder, kills, instants)
        wrong += record["different"] + record["gone_back"] + record["left_not_temporary"]
        wrong += record["signals"] != len(CODES)
        print(json.dumps(record), flush=True)
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main()
