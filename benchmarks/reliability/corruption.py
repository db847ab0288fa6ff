"""Damage files at random, read them with every verb, and compare with what was written.

    OMP_NUM_THREADS=1 python benchmarks/reliability/corruption.py --trials 1000 --seed 0

Each trial copies a tiny study, damages one file or exchanges two, and runs one verb, or one
function of Python, that reads it. A bit or a byte is flipped, a file is cut, deleted or partly
zeroed, a file takes the place of another, or two files or two folders are exchanged, also between
two studies. The outcome is

    right      the numbers of the undamaged study: what was damaged was not needed, or made again
    refused    one line and exit code 2, or an OrbitLensError
    SILENT     other numbers, without a word
    TRACEBACK  any other error, or no end within two minutes

It exits with 1 if any outcome is SILENT or TRACEBACK. Files of other programs (`import`) have no
checksums, so they are only cut and deleted.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What the verbs load when they need it; the process of each trial finds it loaded.
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import sklearn.linear_model
import torch
import xgboost
from safetensors.numpy import load_file

import orbitlens as ol
from orbitlens.activations.store import _on_disk
from orbitlens.cli import commands
from orbitlens.errors import OrbitLensError
from orbitlens.pipeline import network, verbs
from orbitlens.training import _checkpoint
from orbitlens.transport import network as network_of_layers

LOADED = (plt, sklearn.datasets, sklearn.linear_model, xgboost, commands, network, verbs)
LIMIT = 120
SMALL = "--n-samples 200 --image-size 8 --model-epochs 1"
SAE = "--d-sae 8 --k 2 --hidden 8 --n-atoms 3 --epochs 2"
RUN = f"run digits {SMALL} {SAE} --features 1 --probe-samples 50 --probe-latents 2,4"
TRAIN = f"train harvest --objective equivariant_canonical {SAE}"
NETWORK = f"transport cnn digits {SMALL} --lie-inputs 4"
# The seconds that a stage took, and digests that follow from the rest.
LEFT_OUT = ("seconds", "checksum", "sae")
KINDS = ("flip", "byte", "cut", "delete", "zero", "exchange", "copy", "folders")


@dataclass(frozen=True)
class Reader:
    """A verb or a function that reads `folders`; `numbers` returns what came of it."""

    name: str
    folders: tuple[str, ...]
    numbers: Callable[[], Any]
    words: str = ""
    kinds: tuple[str, ...] = KINDS


def record(*files: str) -> Callable[[], Any]:
    """Return a function that returns the numbers in files, which may have `*` in their names."""

    def read() -> Any:
        found = sorted(path for name in files for path in Path().glob(name))
        return {str(path): content(path) for path in found}

    return read


def content(path: Path) -> Any:
    """Return the numbers in a file."""
    if path.suffix == ".json":
        return without(json.loads(path.read_text()))
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        return {name: hashlib.sha256(each.tobytes()).hexdigest() for name, each in tensors.items()}
    if path.suffix == ".zarr":
        return store(str(path))()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without(value: Any) -> Any:
    """Return a record without what differs from run to run."""
    if isinstance(value, dict):
        return {name: without(each) for name, each in value.items() if name not in LEFT_OUT}
    return [without(each) for each in value] if isinstance(value, list) else value


def store(path: str) -> Callable[[], Any]:
    """Return a function that reads a store in several ways."""

    def read() -> Any:
        found = ol.activations.open_store(path)
        orbits = found.orbits()
        some = found.orbits(np.arange(0, found.n, 7))
        batches = ol.activations.OrbitBatches(found, batch_size=8, memory=2**26)
        digests = [hashlib.sha256(each.numpy().tobytes()).hexdigest() for each in (orbits, some)]
        total = float(sum(batch.double().sum() for batch in batches.epoch(0)))
        labels = None if found.labels is None else found.labels.tolist()
        moves = None if found.moves is None else found.moves.tolist()
        told = {**found.to_dict(), "path": ""}
        return [digests, total, labels, moves, told, found.group.to_dict()]

    return read


def sae(path: str) -> Callable[[], Any]:
    """Return a function that loads an SAE and uses it."""

    def read() -> Any:
        found = ol.load(path)
        x = torch.randn(20, found.d_in, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            made = found(x)
        return [made.codes.tolist(), made.x_hat.tolist()]

    return read


def transport(path: str) -> Callable[[], Any]:
    """Return a function that loads a transport."""

    def read() -> Any:
        found = ol.load(path)
        return [
            found.matrices.tolist(),
            found.r2,
            found.r2_interval,
            found.r2_per_element.tolist(),
            found.order_errors,
            found.group.to_dict(),
            found.source,
        ]

    return read


PLAIN = tuple(kind for kind in KINDS if kind != "folders")
READERS = (
    Reader("report", ("run",), record("run/report/index.html"), "report run"),
    Reader(
        "run --resume",
        ("part",),
        record("part/metrics.json", "part/saes/*/sae/*.safetensors", "part/saes/*/metrics.json"),
        f"{RUN} --out part --resume",
    ),
    Reader(
        "run --resume, finished", ("run",), record("run/metrics.json"), f"{RUN} --out run --resume"
    ),
    Reader(
        "harvest --resume",
        ("half",),
        record("half/acts.zarr", "half/model.safetensors"),
        f"harvest digits {SMALL} --out half --resume",
    ),
    Reader(
        "train --resume",
        ("training", "harvest"),
        record("training/metrics.json", "training/*/sae/*.safetensors"),
        f"{TRAIN} --out training --resume",
        PLAIN,
    ),
    Reader(
        "train --rho",
        ("harvest", "rho"),
        record("new/metrics.json", "new/*/sae/*.safetensors"),
        f"train harvest --objective orbit --rho rho {SAE} --out new",
        PLAIN,
    ),
    Reader(
        "probe",
        ("harvest", "trained"),
        record("new/metrics.json"),
        "probe harvest --sae trained --probe-latents 2,4 --probe-samples 50 --out new",
        PLAIN,
    ),
    Reader(
        "transport",
        ("harvest",),
        record("new/metrics.json", "new/transport/*.safetensors"),
        "transport harvest --out new",
        PLAIN,
    ),
    Reader(
        "transport MODEL INPUTS --resume",
        ("network",),
        record("network/metrics.json", "network/layers.csv"),
        f"{NETWORK} --out network --resume",
        PLAIN,
    ),
    Reader(
        "import",
        ("acts.npy",),
        store("new.zarr"),
        "import acts.npy --group C4 --out new.zarr",
        ("cut", "delete"),
    ),
    Reader("load of an SAE", ("trained",), sae("trained/equivariant_canonical/sae"), kinds=PLAIN),
    Reader("load of an orbit SAE", ("run/saes/orbit/sae",), sae("run/saes/orbit/sae"), kinds=PLAIN),
    Reader("load of a transport", ("rho/transport",), transport("rho/transport"), kinds=PLAIN),
    Reader("open_store", ("harvest/acts.zarr",), store("harvest/acts.zarr"), kinds=PLAIN),
    Reader("open_store of a grid", ("grid.zarr",), store("grid.zarr"), kinds=PLAIN),
)


def build() -> None:
    """Write the study in the working folder."""
    for words in (
        f"{RUN} --out run",
        f"{RUN} --seed 1 --out other",
        f"harvest digits {SMALL} --out harvest",
        "transport harvest --transport exact --out rho",
        f"{TRAIN} --out trained",
    ):
        command(words)
    shutil.copytree("run", "part")
    Path("part/metrics.json").unlink()
    for name in ("part/report", "part/saes/orbit"):
        shutil.rmtree(name)
    acts = ol.activations.open_store("harvest/acts.zarr").orbits().numpy()
    np.save("acts.npy", acts)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1))
    pictures = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    turns = ol.actions.images(ol.groups.cyclic(4))
    ol.harvest(net, layer="0", inputs=pictures, action=turns, out="grid.zarr", positions="all")
    half_harvest()
    with stopped_at_call(3, network_of_layers, "measure_layer"):
        command(f"{NETWORK} --out network", ends=143)
    due = _checkpoint.Checkpoint.due
    _checkpoint.Checkpoint.due = property(lambda _: True)
    with stopped_at_call(2, _checkpoint.Checkpoint, "stop_after_signal"):
        command(f"{TRAIN} --out training", ends=143)
    _checkpoint.Checkpoint.due = due


def half_harvest() -> None:
    """Make the folder of a harvest that was stopped before its last shards."""
    shutil.copytree("harvest", "half")
    Path("half/metrics.json").unlink()
    unfinished = Path("half/acts.zarr").rename("half/.acts.zarr.unfinished")
    record = json.loads((unfinished / "zarr.json").read_text())
    for name in ("seal", "fingerprint"):
        del record["attributes"][name]
    record["attributes"]["complete"] = False
    (unfinished / "zarr.json").write_text(json.dumps(record))
    for file in sorted(unfinished.glob("activations/c.*"))[2:]:
        file.unlink()


@contextmanager
def stopped_at_call(number: int, where: Any, name: str) -> Iterator[None]:
    """Stop the program, as SIGTERM does, at such a call of a function."""
    kept, calls = getattr(where, name), []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise SystemExit(143)
        return kept(*arguments, **named)

    setattr(where, name, counted)
    try:
        yield
    finally:
        setattr(where, name, kept)


def command(words: str, *, ends: int = 0) -> None:
    """Run a command that must end with an exit code."""
    try:
        commands.main(words.split())
    except SystemExit as end:
        if (end.code or 0) != ends:
            raise RuntimeError(f"{words}: exit code {end.code}") from end


def files_of(folders: tuple[str, ...]) -> list[Path]:
    """Return the files in folders that are read again."""
    found = [Path(each) for each in folders if Path(each).is_file()]
    for each in folders:
        found += [path for path in Path(each).rglob("*") if path.is_file()]
    # These two are for people.
    return sorted(path for path in found if path.name not in ("log.txt", "index.html"))


def damage(reader: Reader, rng: random.Random) -> str:
    """Damage the files of a reader in one way, and say how."""
    kind = rng.choice(reader.kinds)
    files = files_of(reader.folders)
    file = rng.choice(files)
    if kind == "folders":
        return exchange_folders(reader, rng)
    if kind in ("exchange", "copy"):
        others = [path for path in files_of(("run", "other", *reader.folders)) if path != file]
        same = [path for path in others if path.name == file.name]
        other = rng.choice(
            same or [path for path in others if path.suffix == file.suffix] or others
        )
        kept = file.read_bytes()
        file.write_bytes(other.read_bytes())
        if kind == "exchange" and other in files:
            other.write_bytes(kept)
        return f"{kind} {file} and {other}"
    content = bytearray(file.read_bytes())
    place = rng.randrange(max(1, len(content)))
    if kind == "flip" and content:
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "byte" and content:
        content[place] = rng.randrange(256)
    elif kind == "cut":
        del content[place:]
    elif kind == "zero":
        end = min(len(content), place + rng.choice((1, 16, 512)))
        content[place:end] = bytes(end - place)
    if kind == "delete":
        file.unlink()
    else:
        file.write_bytes(bytes(content))
    return f"{kind} {file} at {place}"


def exchange_folders(reader: Reader, rng: random.Random) -> str:
    """Exchange two folders of a run, or one with that of another run."""
    root = Path(reader.folders[0])
    saes = sorted(path for path in root.glob("saes/*") if path.is_dir())
    within = [(one, two) for one in saes for two in saes if one < two]
    within += [(one / "sae", two / "sae") for one, two in within]
    within += [(root / "transport", root / "exact")] if (root / "exact").exists() else []
    across = [(path, _in_other(path)) for path in root.rglob("*") if path.is_dir()]
    one, two = rng.choice([pair for pair in within + across if pair[1].is_dir()])
    one.rename("exchanged")
    two.rename(one)
    Path("exchanged").rename(two)
    return f"folders {one} and {two}"


def _in_other(path: Path) -> Path:
    """Return the folder of the other run in the place of a folder, finished or not."""
    names = ["acts.zarr" if name == ".acts.zarr.unfinished" else name for name in path.parts[1:]]
    return Path("other", *names)


def read(reader: Reader, result: Path) -> int:
    """Run a reader in a process of its own; return its exit code, and write what came of it."""
    child = os.fork()
    if child == 0:
        for number in (1, 2):
            os.dup2(os.open(f"{result}.{number}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        code = 70
        try:
            code = _read(reader, result)
        except OrbitLensError as error:
            code = 2
            print(f"orbitlens: {error}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    begun = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - begun > LIMIT:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -9
        time.sleep(0.005)


def _read(reader: Reader, result: Path) -> int:
    torch.set_num_threads(1)
    if reader.words:
        try:
            commands.main(reader.words.split())
        except SystemExit as end:
            if end.code:
                return int(end.code)
    result.write_text(json.dumps(reader.numbers(), default=str))
    return 0


def outcome(code: int, result: Path, right: str) -> str:
    """Return one of the four words."""
    said = Path(f"{result}.2").read_text(errors="replace")
    if code == 0:
        return "right" if result.read_text() == right else "SILENT"
    errors = [line for line in said.splitlines() if line.startswith("orbitlens: ")]
    return "refused" if code == 2 and len(errors) == 1 and "Traceback" not in said else "TRACEBACK"


def trials(base: Path, work: Path, count: int, seed: int) -> Iterator[tuple[str, str, str, str]]:
    """Yield reader, outcome, damage and words of each trial."""
    result, right = base.parent / "result.json", {}

    def fresh() -> None:
        os.chdir(base)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(base, work)
        os.chdir(work)

    for reader in READERS:
        fresh()
        if read(reader, result) != 0:
            sys.exit(f"{reader.name} fails undamaged: {Path(f'{result}.2').read_text()}")
        right[reader.name] = result.read_text()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")  # noqa: S311 - it damages files
        reader = READERS[number % len(READERS)]
        fresh()
        result.unlink(missing_ok=True)
        how = damage(reader, rng)
        found = outcome(read(reader, result), result, right[reader.name])
        yield reader.name, found, how, Path(f"{result}.2").read_text(errors="replace")


def table(found: list[tuple[str, str, str, str]]) -> None:
    """Print how often each word came up, by reader."""
    words = ("right", "refused", "SILENT", "TRACEBACK")
    print(
        "\n| read by | trials | " + " | ".join(words) + " |\n|---" * 1 + "|---|---|---|---|---|---|"
    )
    for name in [reader.name for reader in READERS] + ["all"]:
        counts = Counter(word for reader, word, _, _ in found if name in (reader, "all"))
        cells = [name, sum(counts.values()), *(counts[word] for word in words)]
        print("| " + " | ".join(map(str, cells)) + " |")


def main() -> int:
    """Damage, read, compare; print a table and judge."""
    parser = argparse.ArgumentParser(description="Damage files at random and read them.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="print every trial")
    options = parser.parse_args()
    # Several shards of several chunks in a store of 200 samples.
    _on_disk._SHARD_BYTES, _on_disk._CHUNK_BYTES = 2**16, 2**13
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        base, work = Path(folder).resolve() / "base", Path(folder).resolve() / "work"
        work.mkdir()
        os.chdir(work)
        built = Reader("build", (), lambda: build() or "")
        if read(built, Path(folder) / "build.json") != 0:
            sys.exit((Path(folder) / "build.json.2").read_text())
        os.chdir(folder)
        work.rename(base)
        found = []
        for number, trial in enumerate(trials(base, work, options.trials, options.seed)):
            found.append(trial)
            name, word, how, said = trial
            if number % 100 == 99:
                print(f"{number + 1} trials", file=sys.stderr, flush=True)
            if word.isupper():
                bad.append(trial)
            if options.verbose or word.isupper():
                last = said.strip().splitlines()[-1:] or [""]
                print(f"{number} {name}: {word}: {how}: {last[0][:300]}", flush=True)
                if word == "TRACEBACK":
                    print(said[-1500:], flush=True)
        os.chdir("/")
        table(found)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
