"""How the time of training grows: with the number of vectors, and with the order of the group.

    python benchmarks/speed/growth.py stored         # exits 1 if the target is missed; 8 GiB
    python benchmarks/speed/growth.py group

*stored*: 10^4 to 10^7 vectors of width 64, in float16 on disk, train a small SAE (256 latents, k 8,
batches of 4,096) with `fit`, each number in a process of its own. The first pass is told apart, as
it is the one that reads and sets up. The time of a vector is that of the best later turn, of a
million vectors or more, and must not be above 1.25 times that of the smallest store. Stores that
exceed a budget of a tenth of their size in float32, 256 MiB at least, train within it as well.

*group*: one step of the orbit SAE for C1 to C32 on activations of width 256, with 16,384 latents in
all (16,384 / |G| atoms), batches of 1,024, k 16, held to an ordinary SAE of as many latents. Beside
it the theory, multiplications of the encoder in the isotypic basis over dense ones: C_n has r = 1
or 2 real and (n - r) / 2 complex types, and a complex product counts as four, so that a block of
n x n takes 2 n - r; and n more for each latent, if it comes back from the Fourier transform by a
plain product.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from peers import Settings
from synthetic import mixtures
from turns import Contestant, Epochs, Referee, forget_peak, peak_bytes

import orbitlens as ol
from orbitlens.reps import IsotypicBasis, multiplicities, regular
from orbitlens.sae import SAE, OrbitDictionary, TopK, compose

Clock = Callable[[], float]

SMALL = Settings(64, 256, 8, 4096)
SIZES = (10**4, 10**5, 10**6, 10**7)
FLAT = 1.25
MODES = ("in memory", "within a tenth")
ROOM = 16.0  # GiB, for every store
PART, LEAST = 10, 0.25
ORDERS = (1, 2, 4, 8, 16, 32)
WIDE = Settings(256, 16384, 16, 1024)
STEPS = 4
ORDINARY = "ordinary SAE"


def write(n: int, folder: Path) -> Path:
    """Make a store of n vectors on disk, without holding them in memory."""
    rows = open_memmap(folder / "rows.npy", mode="w+", dtype=np.float16, shape=(n, SMALL.d_in))
    for seed, start in enumerate(range(0, n, 10**5)):
        part = rows[start : start + 10**5]
        part[:] = mixtures(SMALL, len(part), seed=seed).numpy()
    rows.flush()
    out = folder / f"{n}.zarr"
    ol.activations.import_activations(folder / "rows.npy", out=out, dtype="float16")
    (folder / "rows.npy").unlink()
    return out


def train(sae: SAE, store: ol.ActivationStore, settings: Settings, **more: object) -> None:
    """Call `fit` on all samples, without the auxiliary loss."""
    ol.fit(
        sae,
        store,
        objective=ol.objectives.reconstruction,
        batch_size=settings.batch,
        lr=settings.lr,
        samples=np.arange(store.n),
        revival_weight=0.0,
        **more,
    )


def stored_worker(path: Path, rounds: int, streamed: bool, clock: Clock) -> None:
    """At each turn, pass over a store; small ones often enough to be measured."""
    referee = Referee()
    store = ol.open_store(path)
    each = max(1, 10**6 // store.n)
    sae = ol.sae.topk_sae(SMALL.d_in, SMALL.d_sae, SMALL.k)
    forget_peak()
    epochs = Epochs(
        referee.wait, lambda seconds: referee.answer(seconds / store.n, peak_bytes()), each, clock
    )
    epochs.begin()
    memory = budget(store.n) if streamed else ROOM
    train(sae, store, SMALL, epochs=1 + each * rounds, progress=epochs, memory_gib=memory)


def budget(n: int) -> float:
    """A tenth of n vectors in float32, but not less than reading needs; GiB."""
    return max(LEAST, gib(n) / PART)


def gib(n: int) -> float:
    """The size of n vectors in float32."""
    return 4 * n * SMALL.d_in / 2**30


def stored(sizes: list[int], rounds: int, more: list[str]) -> int:
    """Print what a vector costs in stores of several sizes."""
    found: dict[tuple[int, str], list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {n: write(n, Path(folder)) for n in sizes}
        entered = {}
        for n, path in paths.items():
            for mode in MODES[: 1 + (gib(n) > budget(n))]:
                words = ["stored", "--worker", path, "--rounds", rounds, *more]
                words += ["--streamed"] if mode == MODES[1] else []
                entered[n, mode] = Contestant([sys.executable, __file__, *words])
                found[n, mode] = [entered[n, mode].turn()]
        for _ in range(rounds):
            for key, entrant in entered.items():
                found[key].append(entrant.turn())
        for entrant in entered.values():
            entrant.end()
    print("| vectors | | ns, first pass | ns, best later pass | peak, GB |\n" + "|---" * 5 + "|")
    best = {key: min(seconds for seconds, _ in turns[1:]) for key, turns in found.items()}
    for (n, mode), turns in found.items():
        peak = max(peak for _, peak in turns) / 1e9
        figures = f"{turns[0][0] * 1e9:.0f} | {best[n, mode] * 1e9:.0f} | {peak:.2f}"
        print(f"| {n:,} | {mode} | {figures} |")
    smallest = best[sizes[0], MODES[0]]
    met = True
    for (n, mode), seconds in best.items():
        flat = seconds <= FLAT * smallest
        met &= flat
        print(f"{n:,} {mode}: {seconds / smallest:.2f} of the smallest: {'yes' if flat else 'NO'}")
    return 0 if met else 1


def group_worker(order: int, rounds: int, clock: Clock) -> None:
    """At each turn, some steps of the orbit SAE of C_order; order 0 is the ordinary SAE."""
    referee = Referee()
    group = ol.groups.cyclic(max(order, 1))
    n = STEPS * WIDE.batch
    x = mixtures(WIDE, n * group.order).view(n, group.order, WIDE.d_in)
    store = ol.store_from_array(x, group=group)
    del x
    sae = orbit(group) if order else ol.sae.topk_sae(WIDE.d_in, WIDE.d_sae, WIDE.k)
    forget_peak()

    def answer(seconds: float) -> None:
        referee.answer(seconds / STEPS, peak_bytes())

    epochs = Epochs(referee.wait, answer, clock=clock)
    epochs.begin()
    train(sae, store, WIDE, epochs=1 + rounds, progress=epochs)


def orbit(group: ol.groups.Group) -> SAE:
    """An orbit SAE on copies of the regular representation, in its isotypic basis."""
    copies = tuple(WIDE.d_in // group.order * m for m in multiplicities(regular(group)))
    same = torch.eye(WIDE.d_in, dtype=torch.float64)
    dictionary = OrbitDictionary(
        WIDE.d_sae // group.order, IsotypicBasis(group, copies, same, same)
    )
    return compose(TopK(WIDE.k), dictionary)


def theory(order: int) -> tuple[float, float]:
    """Multiplications of the encoder over dense ones: in the basis, and with the way back."""
    real = 2 - order % 2
    blocks = (2 * order - real) / order**2
    return blocks, blocks + (order / WIDE.d_in if order > 1 else 0.0)


def by_group(rounds: int, more: list[str]) -> int:
    """Print what a step costs for groups of several orders."""
    entered = {
        order: Contestant(
            [sys.executable, __file__, "group", "--worker", str(order), "--rounds", rounds, *more]
        )
        for order in (0, *ORDERS)
    }
    turns: dict[int, list[list[float]]] = {order: [] for order in entered}
    for _ in range(1 + rounds):
        for order, entrant in entered.items():
            turns[order].append(entrant.turn())
    for entrant in entered.values():
        entrant.end()
    best = {order: min(seconds for seconds, _ in each[1:]) for order, each in turns.items()}
    print(
        "| | step, ms | over the ordinary SAE | multiplications over dense | with the way back "
        "| peak, GB |\n" + "|---" * 6 + "|"
    )
    for order, each in turns.items():
        name = f"C{order}" if order else ORDINARY
        expected = " | ".join(f"{value:.3f}" for value in theory(max(order, 1)))
        figures = f"{best[order] * 1e3:.1f} | {best[order] / best[0]:.2f} | {expected}"
        print(f"| {name} | {figures} | {max(peak for _, peak in each) / 1e9:.2f} |")
    return 0


def main() -> int:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("stored", "group"))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3, help="turns of each, after a warm-up")
    parser.add_argument(
        "--cpu-time", action="store_true", help="one thread and its CPU time, on a busy machine"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--streamed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1 if options.cpu_time else 2)
    clock = time.process_time if options.cpu_time else time.perf_counter
    more = ["--cpu-time"] if options.cpu_time else []
    if options.worker and options.what == "stored":
        stored_worker(Path(options.worker), options.rounds, options.streamed, clock)
        return 0
    if options.worker:
        group_worker(int(options.worker), options.rounds, clock)
        return 0
    if options.what == "stored":
        return stored(options.sizes, options.rounds, more)
    return by_group(options.rounds, more)


if __name__ == "__main__":
    sys.exit(main())
