"""Time and samples until a TopK SAE explains a given share of the variance: ours and four peers.

    python benchmarks/speed/time_to_variance.py --peers .venv-peers/bin/python

exits 1 if a target is missed: at most as many samples as every peer needs, and fewer seconds.

Activations of the code of the Shapes CNN (C4, 20 epochs), as the pipeline harvests them; the base
model is trained if `--models` does not hold it. All see the same array of n * |G| rows in float32,
about its mean and of mean square one (overcomplete has no bias), in epochs, with the same batch, k
and d_sae, and with their own initialisation and their own constraints. None has an auxiliary loss:
those of peers begin later than these runs end, and ours is off. Rows of held-out orbits tell what
is explained, in the same way for all.

First each finds, for each learning rate of a grid, after how many epochs the target is reached, and
keeps the rate that needs the fewest. Then they take turns to train for that many epochs without
being measured, and the best time counts. The clock runs for the steps of peers, whose batches are
shuffled beforehand, and for the whole of our `fit`. Peers are measured after each epoch of one run;
ours, whose `fit` gives the same bits for the same seed, by bisection over runs of 1, 2, 4, ...
epochs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from peers import PEERS, Settings
from torch import Tensor
from turns import Contestant, Referee

OURS = "OrbitLens"
BATCH, LATENTS, K = 512, 1024, 8
RATES = (1e-2, 3e-3, 3e-2, 1e-3)
TARGET = 0.999
PARTS = ("train", "held_out")


def activations(models: Path) -> tuple[Tensor, Tensor]:
    """Training and held-out rows, shape [rows, dim]."""
    from orbitlens.reproduce.shapes import shapes_base

    base = shapes_base(models, model="cnn", group="C4", seed=0, model_epochs=20, n_samples=4096)
    train, held_out = (base.store.orbits(part).flatten(0, 1) for part in base.store.split())
    mean = train.mean(0)
    scale = (train - mean).square().mean().sqrt()
    return (train - mean) / scale, (held_out - mean) / scale


@torch.no_grad()
def explained(reconstruct: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """1 - sum ||x - x_hat||^2 / sum ||x - mean||^2, in float64."""
    x_hat = torch.cat([reconstruct(part) for part in x.split(BATCH)])
    error = (x - x_hat).double().square().sum()
    return 1 - float(error / (x.double() - x.double().mean(0)).square().sum())


@dataclass
class Run:
    """Epochs of training, their seconds without measuring, and what is explained after them."""

    epochs: float = 0.0
    seconds: float = 0.0
    explained: float = 0.0


def train_peer(
    name: str, lr: float, epochs: int, target: float, train: Tensor, held_out: Tensor
) -> Run:
    """Train a peer until the target is reached, at most for `epochs` epochs; 0 is no target."""
    made = PEERS[name](Settings(train.shape[1], LATENTS, K, BATCH, lr=lr))
    generator = torch.Generator().manual_seed(0)
    run = Run()

    def batches() -> Iterator[Tensor]:
        while run.epochs < epochs and not (target and run.explained >= target):
            rows = train[torch.randperm(len(train), generator=generator)]
            start = time.perf_counter()
            yield from rows.split(BATCH)
            run.seconds += time.perf_counter() - start
            run.epochs += 1
            if target or run.epochs == epochs:
                run.explained = explained(made.reconstruct, held_out)

    made.train(batches())
    return run


def train_ours(lr: float, epochs: int, target: float, train: Tensor, held_out: Tensor) -> Run:
    """The same with `fit`: the fewest epochs are found by doubling and bisection."""
    import orbitlens as ol

    store = ol.store_from_array(train.unsqueeze(1), group=ol.groups.cyclic(1))

    @cache
    def trained(epochs: int) -> Run:
        sae = ol.sae.topk_sae(train.shape[1], LATENTS, K)
        start = time.perf_counter()
        ol.fit(
            sae,
            store,
            epochs=epochs,
            batch_size=BATCH,
            lr=lr,
            samples=np.arange(len(train)),
            revival_weight=0.0,
        )
        seconds = time.perf_counter() - start
        return Run(epochs, seconds, explained(lambda x: sae.decode(sae.encode(x)), held_out))

    if not target:
        return trained(epochs)
    enough = 1
    while trained(enough).explained < target and enough < epochs:
        enough = min(2 * enough, epochs)
    if trained(enough).explained < target:
        return trained(enough)
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if trained(middle).explained < target:
            too_few = middle
        else:
            enough = middle
    return trained(enough)


def work(name: str, folder: Path) -> None:
    """At each turn, train as told."""
    referee = Referee()
    train, held_out = (torch.from_numpy(np.load(folder / f"{part}.npy")) for part in PARTS)
    while True:
        lr, epochs, target = referee.wait()
        told = (lr, int(epochs), target, train, held_out)
        run = train_ours(*told) if name == OURS else train_peer(name, *told)
        referee.answer(run.epochs, run.seconds, run.explained)


def tuned(name: str, entrant: Contestant, target: float, most: int) -> tuple[float, Run]:
    """The learning rate that needs the fewest epochs, or explains most if none suffices."""
    runs: dict[float, Run] = {}
    for lr in RATES:
        # A rate that needs more epochs than another did is not kept, so it need not go on.
        enough = [run.epochs for run in runs.values() if run.explained >= target]
        runs[lr] = Run(*entrant.turn(lr, min([most, *enough]), target))
        print(f"{name}, {lr:g}: {runs[lr]}", file=sys.stderr)

    def worth(lr: float) -> tuple[bool, float, float]:
        run = runs[lr]
        return run.explained < target, run.epochs, -run.explained

    best = min(RATES, key=worth)
    return best, runs[best]


def compete(data: Path, options: argparse.Namespace) -> dict[str, tuple[float, Run]]:
    """Tune all, then let them take turns; the learning rate and the best run of each."""
    found, entered = {}, {}
    for name in [OURS, *(PEERS if options.peers else ())]:
        python = sys.executable if name == OURS else options.peers
        entered[name] = Contestant([python, __file__, "--worker", name, "--data", data])
        found[name] = tuned(name, entered[name], options.target, options.epochs)
        found[name][1].seconds = float("inf")
    for _ in range(options.rounds):
        for name, (lr, best) in found.items():
            run = Run(*entered[name].turn(lr, best.epochs, 0))
            best.seconds = min(best.seconds, run.seconds)
    for entrant in entered.values():
        entrant.end()
    return found


def verdicts(found: dict[str, tuple[float, Run]], target: float) -> list[bool]:
    """Print and return whether each target is met."""
    own = found[OURS][1]
    reached = own.explained >= target
    print(f"{OURS} explains {target}: {'yes' if reached else 'NO'}")
    results = [reached]
    for name in list(found)[1:]:
        run = found[name][1]
        # A peer that did not get there in the epochs that it was given would need more.
        samples = own.epochs <= run.epochs or run.explained < target
        seconds = own.seconds < run.seconds
        print(f"no more samples than {name}: {'yes' if samples else 'NO'}")
        print(f"fewer seconds than {name}: {'yes' if seconds else 'NO'}")
        results += [samples, seconds]
    return results


def main() -> int:
    """Print a table, and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="python of an environment with the peers")
    parser.add_argument("--models", type=Path, default=Path("runs/shapes-models"))
    parser.add_argument("--target", type=float, default=TARGET, help="share to be explained")
    parser.add_argument("--epochs", type=int, default=40, help="at most")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each, once tuned")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.worker:
        work(options.worker, options.data)
    with tempfile.TemporaryDirectory() as folder:
        parts = activations(options.models)
        for name, rows in zip(PARTS, parts, strict=True):
            np.save(Path(folder) / f"{name}.npy", rows.numpy())
        found = compete(Path(folder), options)
    rows = len(parts[0])
    print(
        f"{rows} rows of width {parts[0].shape[1]}; {LATENTS} latents, k {K}, batches of {BATCH}\n"
    )
    print("| | lr | epochs | samples | seconds | explained |\n" + "|---" * 6 + "|")
    for name, (lr, run) in found.items():
        figures = f"{run.epochs:.0f} | {run.epochs * rows:.0f} | {run.seconds:.2f}"
        print(f"| {name} | {lr:g} | {figures} | {run.explained:.4f} |")
    print()
    return 0 if all(verdicts(found, options.target)) else 1


if __name__ == "__main__":
    sys.exit(main())
