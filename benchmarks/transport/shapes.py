"""The exact transport against least squares and gradient descent, on the Shapes autoencoders.

    orbitlens reproduce shapes-transport --budget full          # trains the base models, once
    python benchmarks/transport/shapes.py --models runs/shapes-models

exits 1 if a target is missed: R^2 of the exact transport within 0.002 of the unconstrained fit on
every element, and at least 50 times faster than the paper's gradient descent with its 100 epochs.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orbitlens as ol
from orbitlens.transport import Motion

CLOSE, FASTER = 0.002, 50.0


def timed(fit: Callable[[], Motion]) -> tuple[float, Motion]:
    """Return the seconds that a fit takes, and what it finds."""
    start = time.perf_counter()
    found = fit()
    return time.perf_counter() - start, found


def measure(store: ol.ActivationStore, *, epochs: int) -> tuple[str, bool]:
    """Compare the fits on one store; a row of figures, and whether the targets are met."""
    train, held_out = store.split()
    seconds, found = {}, {}
    for method in ("exact", "least_squares"):
        ol.transport.METHODS[method](store, train)  # once before, for the caches
        seconds[method], found[method] = timed(
            lambda method=method: ol.transport.METHODS[method](store, train)
        )
    seconds["gradient"], found["gradient"] = timed(
        lambda: ol.transport.gradient(store, train, epochs=epochs)
    )
    scores = {
        name: ol.transport.transport_r2(store, held_out, motion.matrices.float())
        for name, motion in found.items()
    }
    gap = float((scores["least_squares"][1] - scores["exact"][1])[1:].max())
    ratio = seconds["gradient"] / seconds["exact"]
    met = gap < CLOSE and ratio > FASTER
    row = " | ".join(
        [
            *(f"{scores[name][0]:.5f}" for name in ("exact", "least_squares", "gradient")),
            f"{gap:.5f}",
            *(f"{seconds[name]:.1f}" for name in ("exact", "gradient")),
            f"{ratio:.0f}",
            "yes" if met else "NO",
        ]
    )
    return row, met


def main() -> None:
    """Measure every model of the first seed, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=100, help="of gradient descent")
    options = parser.parse_args()
    print(
        "| model | group | seed | R² exact | R² unconstrained | R² gradient | "
        "largest gap of an element | seconds, exact | seconds, gradient | times | met |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    verdicts = []
    for model in ("mlp", "cnn"):
        for group in ("C4", "D4"):
            for seed in range(options.seeds):
                (folder,) = options.models.glob(f"{model}-code-auto-{group}-seed{seed}-*")
                row, met = measure(ol.open_store(folder / "acts.zarr"), epochs=options.epochs)
                print(f"| {model} | {group} | {seed} | {row} |", flush=True)
                verdicts.append(met)
    sys.exit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    main()
