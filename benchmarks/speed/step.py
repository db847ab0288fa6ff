"""One training step of a TopK SAE: ours against four peers and against the bare encoder product.

    python benchmarks/speed/step.py --peers .venv-peers/bin/python
    python benchmarks/speed/step.py --peers .venv-peers/bin/python --shapes small --peers-bf16

exits 1 if a target is missed. README.md says how to make the peers' environment. Everybody trains
in float32 on the same synthetic activations (sparse mixtures of a random dictionary, with noise),
which lie in memory, with Adam, 2 threads, in a process of its own, so that peak memory is its own
too. Contestants take turns, and the best block of steps of each counts; the first is a warm-up. The
bare product x @ W, into memory that is there already, is taken in our process, in the same turns.

Peers get their batches ready made; our `fit` draws and gathers its own from a store, and measures
the history that it returns. One epoch of ours is a block.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from peers import PEERS, Settings
from synthetic import mixtures
from turns import Contestant, Epochs, Referee, forget_peak, paced, peak_bytes

Clock = Callable[[], float]

OURS = "OrbitLens"
BF16 = ", bf16"
PRODUCT = "bare product"


@dataclass(frozen=True)
class Shape:
    """Settings and targets at one size."""

    settings: Settings
    steps: int
    fastest: float
    others: float
    over_product: float | None = None
    memory: float | None = None
    in_bf16: float | None = None


SHAPES = {
    "small": Shape(Settings(128, 1024, 16, 4096), steps=8, fastest=3.0, others=3.0),
    "large": Shape(
        Settings(768, 16384, 32, 4096),
        steps=2,
        fastest=1.7,
        others=4.0,
        over_product=1.5,
        memory=0.6,
        in_bf16=3.0,
    ),
}
SLOWER = ("SAELens", "overcomplete", "dictionary_learning")


def peer(name: str, settings: Settings, data: Path, blocks: int, clock: Clock) -> None:
    """Train a peer, one block a turn."""
    referee = Referee()
    batches = torch.from_numpy(np.load(data)).split(settings.batch)
    made = PEERS[name](settings)
    forget_peak()
    before = peak_bytes()
    made.train(
        paced(
            batches,
            blocks,
            referee.wait,
            lambda seconds: referee.answer(seconds / len(batches), peak_bytes(), before),
            clock,
        )
    )


def ours(settings: Settings, data: Path, blocks: int, clock: Clock) -> None:
    """Train ours, one epoch a turn, and take the bare product after it."""
    import orbitlens as ol

    referee = Referee()
    store = ol.store_from_array(np.load(data)[:, None], group=ol.groups.cyclic(1))
    steps = store.n // settings.batch
    sae = ol.sae.topk_sae(settings.d_in, settings.d_sae, settings.k, seed=settings.seed)
    forget_peak()
    before = peak_bytes()

    def answer(seconds: float) -> None:
        peak = peak_bytes()
        referee.answer(seconds / steps, peak, before, bare_product(settings, clock))
        forget_peak()

    epochs = Epochs(referee.wait, answer, clock=clock)
    epochs.begin()
    ol.fit(
        sae,
        store,
        objective=ol.objectives.reconstruction,
        epochs=blocks,
        batch_size=settings.batch,
        lr=settings.lr,
        samples=np.arange(store.n),
        revival_weight=0.0,
        progress=epochs,
        precision="bfloat16" if settings.bf16 else "float32",
    )


def bare_product(settings: Settings, clock: Clock) -> float:
    """The seconds of x @ W, best of three."""
    dtype = torch.bfloat16 if settings.bf16 else torch.float32
    x = torch.randn(settings.batch, settings.d_in).to(dtype)
    W = torch.randn(settings.d_in, settings.d_sae).to(dtype)
    out = torch.mm(x, W)
    seconds = []
    for _ in range(3):
        start = clock()
        torch.mm(x, W, out=out)
        seconds.append(clock() - start)
    return min(seconds)


@dataclass
class Figures:
    """Figures of a contestant: seconds of a step, and bytes in all and before training."""

    seconds: float = float("inf")
    peak: float = 0.0
    before: float = 0.0


def compete(shape: str, options: argparse.Namespace) -> dict[str, Figures]:
    """Let all contestants take turns."""
    kinds = ("", BF16)[: 1 + options.peers_bf16] if options.peers else ()
    settings = SHAPES[shape].settings
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "x.npy"
        np.save(data, mixtures(settings, SHAPES[shape].steps * settings.batch).numpy())

        def start(name: str, python: str | Path) -> Contestant:
            words = [
                "--worker",
                name,
                "--data",
                data,
                "--shapes",
                shape,
                "--rounds",
                options.rounds,
            ]
            words += ["--cpu-time"] if options.cpu_time else []
            return Contestant([python, __file__, *words])

        names = [OURS, OURS + BF16] + [name + kind for kind in kinds for name in options.only]
        entered: dict[str, Contestant] = {}
        found: dict[str, Figures] = {name: Figures() for name in names}
        found[PRODUCT], found[PRODUCT + BF16] = Figures(), Figures()
        for turn in range(options.rounds + 1):
            for name in names:
                # Started one by one, so that no warm-up waits for the imports of others.
                if turn == 0:
                    entered[name] = start(name, sys.executable if OURS in name else options.peers)
                seconds, peak, before, *product = entered[name].turn()
                print(f"{shape}, turn {turn}, {name}: {seconds * 1e3:.1f} ms", file=sys.stderr)
                found[name].peak = max(found[name].peak, peak)
                found[name].before = before
                if turn == 0:
                    continue
                found[name].seconds = min(found[name].seconds, seconds)
                if product:
                    bare = found[PRODUCT + BF16 * name.endswith(BF16)]
                    bare.seconds = min(bare.seconds, *product)
        for contestant in entered.values():
            contestant.end()
    return {name: figures for name, figures in found.items() if figures.seconds < float("inf")}


def table(found: dict[str, Figures]) -> None:
    """Print what was found."""
    print(
        "| | ms | times the product | times ours | peak, GB | of it training |\n" + "|---" * 6 + "|"
    )
    for name, each in found.items():
        kind = BF16 * name.endswith(BF16)
        bare, own = found.get(PRODUCT + kind), found.get(OURS + kind)
        ratios = [f"{each.seconds / other.seconds:.2f}" if other else "" for other in (bare, own)]
        memory = [f"{each.peak / 1e9:.2f}", f"{(each.peak - each.before) / 1e9:.2f}"]
        memory = memory if each.peak else ["", ""]
        print("|", " | ".join([name, f"{each.seconds * 1e3:.1f}", *ratios, *memory]), "|")


def verdicts(shape: str, found: dict[str, Figures]) -> list[bool]:
    """Print and return whether each target is met, of those whose contestants ran."""
    wanted, own = SHAPES[shape], found[OURS]
    fp32 = {name: found[name] for name in PEERS if name in found}
    results = []

    def judge(text: str, value: float, met: bool) -> None:
        print(f"{shape}: {text}: {value:.2f}, {'yes' if met else 'NO'}")
        results.append(met)

    if wanted.over_product:
        value = own.seconds / found[PRODUCT].seconds
        judge(f"at most {wanted.over_product} bare products", value, value <= wanted.over_product)
    if not fp32:
        return results
    fastest = min(each.seconds for each in fp32.values())
    value = fastest / own.seconds
    judge(f"{wanted.fastest} times faster than the fastest peer", value, value >= wanted.fastest)
    for name in [name for name in SLOWER if name in fp32]:
        value = fp32[name].seconds / own.seconds
        judge(f"{wanted.others} times faster than {name}", value, value >= wanted.others)
    if wanted.memory and len(fp32) == len(PEERS):
        value = own.peak / min(each.peak for each in fp32.values())
        judge(f"at most {wanted.memory} of the leanest peer's peak", value, value <= wanted.memory)
    if wanted.in_bf16:
        value = fastest / found[OURS + BF16].seconds
        judge(
            f"in bf16 {wanted.in_bf16} times faster than the fastest peer",
            value,
            value >= wanted.in_bf16,
        )
    return results


def main() -> int:
    """Print tables, and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="python of an environment with the peers")
    parser.add_argument("--peers-bf16", action="store_true", help="peers in bfloat16 as well")
    parser.add_argument(
        "--only", nargs="+", choices=PEERS, default=list(PEERS), help="of the peers"
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, after a warm-up")
    parser.add_argument(
        "--cpu-time", action="store_true", help="one thread and its CPU time, on a busy machine"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1 if options.cpu_time else 2)
    if options.worker:
        clock = time.process_time if options.cpu_time else time.perf_counter
        name = options.worker.removesuffix(BF16)
        settings = replace(SHAPES[options.shapes[0]].settings, bf16=options.worker.endswith(BF16))
        if name == OURS:
            ours(settings, options.data, options.rounds + 1, clock)
        else:
            peer(name, settings, options.data, options.rounds + 1, clock)
        return 0
    results = []
    for shape in options.shapes:
        print(f"\n{shape}: {SHAPES[shape].settings}\n")
        found = compete(shape, options)
        table(found)
        print()
        results += verdicts(shape, found)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
