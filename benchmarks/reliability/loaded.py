"""Times beside busy programs: training and a run, with the defaults and with one thread.

    python benchmarks/reliability/loaded.py              # 30 minutes on two cores, else idle
    python benchmarks/reliability/loaded.py --before DIR # also of the source of another version

Each job is a new process. The loaded machine has two busy processes for each core. Jobs are timed
in turns (`--repeat`, 5 by default). Medians are shown; a ratio is the median of those of the turns:

    default   the command as a user gives it, all variables of threads unset
    one       the same with OMP_NUM_THREADS=1: the fair share of a single thread
    before    the same with the version in DIR, or with long spins and no short ones

It prints default / one on the loaded machine, at most 1.5 wanted, and default / before on the quiet
one, at most 1.03 wanted. It exits 1 if a ratio is larger.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SETTINGS = ("OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_")
_LOADED, _QUIET = 1.5, 1.03
_LONG_SPINS = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}  # the runtimes' own

TRAIN = """
import sys, time, numpy as np, orbitlens as ol
n, dim, d_sae, k, epochs = map(int, sys.argv[1:])
orbits = np.random.default_rng(0).normal(size=(n, 4, dim)).astype("float32")
store = ol.store_from_array(orbits, group=ol.groups.cyclic(4))
fit = lambda epochs: ol.fit(
    ol.sae.topk_sae(dim, d_sae, k), store, objective=ol.objectives.canonical, epochs=epochs
)
fit(1)  # memory, and the compiler where its kernels are not there yet
start = time.perf_counter()
fit(epochs)
print(time.perf_counter() - start)
"""
RUN = """
import sys
from orbitlens.cli import main
main()
"""
# Images, dimensions and so on of each training; words of the command.
TRAININGS = {
    "training, 64 x 128": ("2000", "64", "128", "8", "150"),
    "training, 768 x 16384": ("1280", "768", "16384", "32", "5"),
}
DIGITS = (
    *("run", "digits", "--quick", "--n-samples", "400", "--epochs", "5"),
    *("--probe-latents", "1,4", "--probe-samples", "50", "--json"),
)


def seconds_of(job: str, environment: dict[str, str], *, full: bool) -> float:
    """Run a job in a new process and return its seconds: of the training alone, or of it all."""
    if job in TRAININGS:
        words = [sys.executable, "-c", TRAIN, *TRAININGS[job]]
        return float(subprocess.run(words, env=environment, check=True, stdout=-1).stdout)
    with tempfile.TemporaryDirectory() as folder:
        command = ["run", "digits", "--json"] if full else DIGITS
        words = [sys.executable, "-c", RUN, *command, "--out", f"{folder}/digits"]
        start = time.perf_counter()
        subprocess.run(words, env=environment, check=True, stdout=-1, stderr=-1)
        return time.perf_counter() - start


def environments(before: Path | None) -> dict[str, dict[str, str]]:
    """Return the environment of each way."""
    plain = {name: v for name, v in os.environ.items() if not name.startswith(_SETTINGS)}
    older = _LONG_SPINS if before is None else {"PYTHONPATH": str(before / "src")}
    return {
        "default": plain,
        "one": {**plain, "OMP_NUM_THREADS": "1"},
        "before": {**plain, **older},
    }


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processes busy."""
    crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in crowd:
            each.kill()
            each.wait()


Turns = list[list[float]]


def measure(job: str, ways: dict[str, dict[str, str]], repeat: int, *, full: bool) -> Turns:
    """Return the seconds of each way in each turn."""
    return [
        [seconds_of(job, environment, full=full) for environment in ways.values()]
        for _ in range(repeat)
    ]


def ratio(turns: Turns, other: int) -> float:
    """Return the time of the first way, as a share of another's in the same turn: the median."""
    return statistics.median(turn[0] / turn[other] for turn in turns)


def main() -> None:
    """Time every job, quiet and loaded, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--busy", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--before", type=Path, help="folder of another version")
    parser.add_argument("--jobs", nargs="*", default=[*TRAININGS, "run digits"])
    parser.add_argument("--full", action="store_true", help="run digits with its own settings")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the busy ones end, too
    ways, failed = environments(options.before), False
    for job in options.jobs:
        quiet = measure(job, ways, options.repeat, full=options.full)
        others = {name: ways[name] for name in ("default", "one")}
        with busy(options.busy):
            loaded = measure(job, others, options.repeat, full=options.full)
        ratios = ratio(loaded, 1), ratio(quiet, 2)
        failed |= ratios[0] > _LOADED or ratios[1] > _QUIET
        for state, names, found in (("quiet", ways, quiet), ("loaded", others, loaded)):
            middle = [statistics.median(each) for each in zip(*found, strict=True)]
            times = ", ".join(f"{n} {s:.2f} s" for n, s in zip(names, middle, strict=True))
            print(f"{job:<24}{state:<8}{times}", flush=True)
        print(f"{job:<24}loaded default / one {ratios[0]:.2f}, quiet default / before", end=" ")
        print(f"{ratios[1]:.2f}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
