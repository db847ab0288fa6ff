"""Kill every verb at random instants, go on, and compare with a run that nobody disturbed.

    OMP_NUM_THREADS=1 python benchmarks/reliability/kills.py --kills 200   # exits 1 if any is lost
    OMP_NUM_THREADS=1 python benchmarks/reliability/kills.py --kills 0 --cost 4

A command gets SIGKILL, SIGTERM, SIGINT or SIGHUP after a random time, from its first moment to its
last. Then the user goes on: with --resume where the verb has it, else with the same command. It may
be killed again. At the end every number and every file is compared. A kill is lost if

    - the result differs, apart from seconds and from the times in log.txt;
    - a traceback is printed, or the exit code is not that of the signal (0 if it came too late);
    - a process stays behind, or the next command is refused;
    - a hidden or temporary file is left when everything is done.

Every fourth command is the program itself, which begins with its imports. The others run in a
process that has the libraries already, so that 200 kills take minutes. Ctrl-C within the start of
Python itself is not ours: it waits until the program has begun.

--cost N kills `transport MODEL INPUTS` N times near its half. What resuming costs is its time, less
the time that was left, over the time that was done; all in seconds of the processor.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What the verbs load when they need it; children find it loaded.
import matplotlib.pyplot as plt
import numpy as np
import rich.progress
import sklearn.datasets
import sklearn.linear_model
import torch
import torch._dynamo
import xgboost

import orbitlens as ol
from orbitlens.activations.store import _on_disk
from orbitlens.cli import commands
from orbitlens.cli import main as orbitlens_main
from orbitlens.pipeline import network, verbs

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import catches, marked

LEFT_OUT = ("seconds", "checksum", "path", "page")  # of records
LOADED = (plt, rich.progress, sklearn, xgboost, commands, network, verbs)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PATIENCE_S = 60.0
TINY = ["digits", "--n-samples", "120", "--image-size", "8", "--model-epochs", "2"]
LAYERS = ["mlp", *TINY, "--max-dim", "16", "--lie-inputs", "8", "--layers"]
SAE = ["--d-sae", "32", "--k", "4", "--hidden", "8", "--epochs"]


@dataclass(frozen=True)
class Case:
    """A command, and whether it goes on with --resume.

    Args:
        words: The words of the command, without `--out`.
        resumes: Whether it takes `--resume`.
        out: The name of its output.
        at_once: Whether its output is whole as soon as it is there, and the command refused then.
    """

    words: list[str]
    resumes: bool = True
    out: str = "out"
    at_once: bool = False


CASES = {
    "harvest": Case(["harvest", *TINY, "--group", "C4"]),
    "harvest, 2 workers": Case(["harvest", *TINY, "--group", "C4", "--workers", "2"]),
    "train": Case(["train", "acts", *SAE, "6", "--objective", "equivariant_latent"]),
    "train orbit": Case(["train", "acts", *SAE, "6", "--objective", "orbit", "--n-atoms", "8"]),
    "transport": Case(["transport", "acts", "--transport", "gradient"]),
    "transport of layers": Case(["transport", *LAYERS, "encoder.1,encoder.3"]),
    "transport, groups": Case(["transport", *LAYERS, "encoder.1", "--groups", "C2,C4"]),
    "probe": Case(["probe", "acts", "--sae", "sae/vanilla/sae"]),
    "run": Case(["run", *TINY, "--quick", *SAE, "3", "--n-atoms", "8", "--features", "2"]),
    "import": Case(
        ["import", "acts.npy", "--group", "C4"], resumes=False, out="out.zarr", at_once=True
    ),
    "reproduce": Case(["reproduce", "toy", "--budget", "smoke"], resumes=False),
}


@dataclass
class Tally:
    """Counts of one case."""

    kills: int = 0
    finished_first: int = 0
    runs: int = 0
    lost: int = 0
    signals: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, words: str) -> None:
        """Note something that must not happen."""
        self.lost += 1
        self.faults.append(words)


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code, its last words, seconds of wall and processor."""

    code: int
    said: str
    wall: float
    processor: float


class Command:
    """A running command, as a program or in a process that has the libraries."""

    def __init__(self, words: list[str], folder: Path, mark: str, *, program: bool) -> None:
        self._said, self._begun = folder / "said.txt", time.perf_counter()
        self.program = program
        environment = {**os.environ, "ORBITLENS_KILLS": mark}
        if program:
            with self._said.open("wb") as said:
                process = subprocess.Popen(
                    [Path(sys.executable).with_name("orbitlens"), *words],
                    cwd=folder,
                    env=environment,
                    stdout=said,
                    stderr=said,
                )
            self.pid = process.pid
            process.returncode = 0  # this class waits for it
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])
        self.pid = os.fork()
        if self.pid == 0:
            _be(words, folder, self._said, environment)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS[1:])

    def wait(self, seconds: float | None) -> Ended | None:
        """Wait for the end, so many seconds; return None if it has not come."""
        end = None if seconds is None else time.perf_counter() + seconds
        while True:
            pid, status, used = os.wait4(self.pid, 0 if end is None else os.WNOHANG)
            now = time.perf_counter()
            if pid:
                said = self._said.read_text(errors="replace")
                code = os.waitstatus_to_exitcode(status)
                return Ended(code, said, now - self._begun, used.ru_utime + used.ru_stime)
            if end is not None and now >= end:
                return None
            time.sleep(0.0005)

    def kill(self, number: int) -> None:
        """Send a signal."""
        while self.program and number == signal.SIGINT and not catches(self.pid, signal.SIGTERM):
            time.sleep(0.001)
        os.kill(self.pid, number)


def _be(words: list[str], folder: Path, said: Path, environment: dict[str, str]) -> None:
    """Be the command, in a fork."""
    code = 1
    try:
        for number in SIGNALS[1:]:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS[1:])
        os.environ.update(environment)
        os.chdir(folder)
        stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        if words[0] == "harvest":
            # Several shards in a small store. A fit adds up shard by shard, so its last bits would
            # not be those of the program itself.
            _on_disk._SHARD_BYTES, _on_disk._CHUNK_BYTES = 2**15, 2**12
        sys.argv = ["orbitlens", *words]
        # Workers import the main module; that of the program is small.
        sys.modules["__main__"] = types.ModuleType("__main__")
        orbitlens_main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def picture(folder: Path) -> dict[str, str]:
    """Return what is in a folder: fingerprints of files, and records without their times.

    Of a store these are fingerprints of its numbers; the two kinds of processes cut other shards.
    """
    is_store = (folder / "activations").is_dir()
    stores = [folder] if is_store else sorted(folder.rglob("*.zarr"))
    found = {}
    for place in stores:
        store = ol.open_store(place)
        numbers = store.orbits(np.arange(store.n)).numpy()
        found[f"{place.relative_to(folder)}"] = hashlib.sha256(numbers.tobytes()).hexdigest()
    for path in sorted(folder.rglob("*")):
        stored = any(place == path or place in path.parents for place in stores)
        if path.is_file() and path.name != "log.txt" and not stored:
            content = path.read_bytes()
            if path.suffix == ".json":
                record = {**json.loads(content), **dict.fromkeys(LEFT_OUT)}
                content = json.dumps(record, sort_keys=True).encode()
            if path.name == "index.html":
                # The table of the stages ends the page.
                content = re.sub(
                    rb"<tr>\s*<th[^>]*>[^<]*</th>\s*<td>(?:[0-9.]+ (?:h|min|s) ?)+</td>\s*</tr>\s*",
                    b"",
                    content,
                )
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def prepare(folder: Path, mark: str) -> None:
    """Make what the commands read."""
    whole(["harvest", *TINY, "--group", "C4", "--out", "acts"], folder, mark)
    words = ["train", "acts", *SAE, "3", "--objective", "vanilla", "--out", "sae"]
    whole(words, folder, mark)
    orbits = ol.open_store(folder / "acts" / "acts.zarr").orbits(np.arange(120))
    np.save(folder / "acts.npy", orbits.numpy())


def whole(words: list[str], folder: Path, mark: str, *, program: bool = False) -> Ended:
    """Run a command to its end, which must be a good one."""
    ended = Command(words, folder, mark, program=program).wait(None)
    if ended is None or ended.code != 0:
        raise SystemExit(f"{' '.join(words)}: {ended}")
    return ended


def tried(case: Case, folder: Path, kills: int, instants: np.random.Generator, mark: str) -> Tally:
    """Kill a command so many times, until it is done each time, and compare."""
    words = [*case.words, "--out", case.out]
    spans = {
        program: whole([*case.words, "--out", f"whole-{program}"], folder, mark, program=program)
        for program in (False, True)
    }
    expected = picture(folder / "whole-False")
    tally = Tally()
    if picture(folder / "whole-True") != expected:
        tally.fault("two undisturbed runs differ")
    while tally.kills < kills:
        done = False
        begun = False
        while not done:
            program = int(instants.integers(4)) == 0
            resume = case.resumes and begun and (folder / case.out).exists()
            command = Command(
                [*words, "--resume"] if resume else words, folder, mark, program=program
            )
            begun = True
            stop = tally.kills < kills
            seconds = instants.uniform(0, 1.05 * spans[program].wall) if stop else None
            ended = command.wait(seconds)
            number = None
            if ended is None:
                number = SIGNALS[int(instants.integers(len(SIGNALS)))]
                command.kill(number)
                tally.kills += 1
                tally.signals[signal.Signals(number).name] += 1
                ended = command.wait(PATIENCE_S)
            if ended is None:
                tally.fault(f"{signal.Signals(number or 0).name} was not heeded")
                os.kill(command.pid, signal.SIGKILL)
                command.wait(None)
                continue
            done = ended.code == 0 or (case.at_once and (folder / case.out).exists())
            tally.finished_first += done and number is not None
            judge(tally, ended, number, mark, "program" if program else "fork")
            if ended.code == 2:
                break
        tally.runs += 1
        compare(tally, folder, case.out, expected)
        remove(folder / case.out)
        for left in folder.glob(f".{case.out}*"):
            remove(left)
    return tally


def judge(tally: Tally, ended: Ended, number: int | None, mark: str, how: str) -> None:
    """Judge the end of a command: its words, its code and its children."""
    name = "nothing" if number is None else signal.Signals(number).name
    last = " | ".join(ended.said.strip().splitlines()[-3:])
    right = {0} if number is None else {0, -number, 128 + number}
    if ended.code not in right:
        tally.fault(f"code {ended.code} after {name} ({how}): {last}")
    if "Traceback" in ended.said or "Exception ignored" in ended.said:
        tally.fault(f"traceback after {name} ({how}): {ended.said}")
    patient = time.perf_counter() + 15
    while marked(mark) and time.perf_counter() < patient:
        time.sleep(0.01)
    for pid in marked(mark):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        tally.fault(f"process left after {name} ({how}): {command}")
        os.kill(pid, signal.SIGKILL)


def compare(tally: Tally, folder: Path, out: str, expected: dict[str, str]) -> None:
    """Compare a finished output with the undisturbed one."""
    found = picture(folder / out)
    differing = sorted(
        name for name in {*found, *expected} if found.get(name) != expected.get(name)
    )
    if differing:
        tally.fault(f"differs: {', '.join(differing[:5])}")
    left = [path.name for path in folder.iterdir() if path.name.startswith(f".{out}")]
    if left:
        tally.fault(f"left: {', '.join(left)}")


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def cost(folder: Path, times: int, instants: np.random.Generator, mark: str) -> dict[str, Any]:
    """Measure what resuming `transport MODEL INPUTS` costs, in a job of some size."""
    layers = ["transport", "vit", "cells", "--n-samples", "4000", "--image-size", "16"]
    layers += ["--model-epochs", "1", "--group", "D4", "--out"]
    undisturbed = whole([*layers, "cost-whole"], folder, mark, program=True)
    shares = []
    for number in range(times):
        out = f"cost-{number}"
        instant = undisturbed.wall * instants.uniform(0.4, 0.6)
        command = Command([*layers, out], folder, mark, program=True)
        command.wait(instant)
        os.kill(command.pid, signal.SIGKILL)
        done = command.wait(None)
        again = whole([*layers, out, "--resume"], folder, mark, program=True)
        rest = undisturbed.processor - done.processor
        share = (again.processor - rest) / done.processor
        same = picture(folder / out) == picture(folder / "cost-whole")
        shares.append(share)
        print(
            json.dumps(
                {
                    "done_s": round(done.processor, 1),
                    "rest_s": round(rest, 1),
                    "resumed_s": round(again.processor, 1),
                    "cost_of_what_was_done": round(share, 3),
                    "same": same,
                }
            ),
            flush=True,
        )
    return {
        "whole_s": round(undisturbed.processor, 1),
        "mean_cost": round(float(np.mean(shares)), 3),
    }


def main() -> None:
    """Kill, go on, compare; print one JSON line for each verb and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="over all verbs")
    parser.add_argument("--cost", type=int, default=0, help="times to measure what resuming costs")
    parser.add_argument("--only", default="", help="verbs whose names contain this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=None, help="where everything is written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    instants, lost = np.random.default_rng(options.seed), 0
    mark = f"kills-{os.getpid()}"
    cases = {name: case for name, case in CASES.items() if options.only in name}
    shares = [len(part) for part in np.array_split(np.arange(options.kills), len(cases))]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        at = Path(folder)
        if options.kills:
            prepare(at, mark)
        for (name, case), kills in zip(cases.items(), shares, strict=True):
            if not kills:
                continue
            begun = time.perf_counter()
            tally = tried(case, at, kills, instants, mark)
            lost += tally.lost
            record = {"verb": name, **vars(tally), "seconds": round(time.perf_counter() - begun)}
            print(json.dumps(record), flush=True)
            for each in ("whole-False", "whole-True"):
                remove(at / each)
        if options.cost:
            print(json.dumps(cost(at, options.cost, instants, mark)), flush=True)
    print(json.dumps({"lost": lost}))
    sys.exit(int(lost > 0))


if __name__ == "__main__":
    main()
