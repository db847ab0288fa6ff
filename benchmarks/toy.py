"""Feature recovery and detection on the toy model: vanilla against the three equivariant SAEs.

    python benchmarks/toy.py --seeds 3

Settings of Erdogan & Lucic, arXiv 2511.09432, for the toy model: encoder hidden 64, 256 epochs,
learning rate 5e-4, TopK 3, lambda 1. Ours to choose: 10,000 samples (a fifth held out), batches of
256, as many latents as true features.
"""

import argparse
import sys

import torch

import orbitlens as ol
from orbitlens.pipeline import OBJECTIVES, measure_sae

COLUMNS = ("recovery", "detection_top1", "detection_top4", "mse", "transported_mse")


def one_run(
    name: str, *, n_features: int, orbit_size: int, seed: int, epochs: int
) -> dict[str, float]:
    """Train one SAE on one toy model and measure it on held-out orbits."""
    toy = ol.data.toy(n_features=n_features, orbit_size=orbit_size, n_samples=10_000, seed=seed)
    store = ol.store_from_array(toy.orbits, group=toy.group)
    rho = ol.fit_transport(store)
    sae = ol.sae.topk_sae(16, n_features, 3, hidden=64, seed=seed)
    ol.fit(sae, store, objective=OBJECTIVES[name], epochs=epochs, seed=seed)
    held_out = torch.from_numpy(store.split()[1])
    orbits = toy.orbits[held_out]
    figures = measure_sae(sae, orbits, rho, transported=name != "vanilla")
    # One orientation per sample: no orbit is in both halves of a detection probe.
    elements = torch.randint(
        orbit_size, (len(orbits),), generator=torch.Generator().manual_seed(seed)
    )
    with torch.no_grad():
        codes = sae.encode(orbits[torch.arange(len(orbits)), elements])
    present = toy.present[held_out]
    transported = figures["transported_mse"]
    return {
        "recovery": ol.metrics.feature_recovery(sae.W_dec.detach(), toy.features).score,
        "detection_top1": ol.metrics.feature_detection(codes, present, m=1, seed=seed),
        "detection_top4": ol.metrics.feature_detection(codes, present, m=4, seed=seed),
        "mse": figures["mse"],
        "transported_mse": figures["mse"] if transported is None else transported,
    }


def main() -> int:
    """Print a table of means and standard deviations, and whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-features", type=int, default=16)
    parser.add_argument("--orbit-size", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=256)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: expected at least 2, a spread needs them")
    torch.set_num_threads(1)  # such small matrices are faster on one core
    means: dict[str, torch.Tensor] = {}
    spreads: dict[str, torch.Tensor] = {}
    print("| SAE | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name in OBJECTIVES:
        rows = [
            one_run(
                name,
                n_features=options.n_features,
                orbit_size=options.orbit_size,
                seed=seed,
                epochs=options.epochs,
            )
            for seed in range(options.seeds)
        ]
        table = torch.tensor([[row[column] for column in COLUMNS] for row in rows])
        means[name], spreads[name] = table.mean(0), table.std(0)
        cells = (f"{m:.3f} ± {s:.3f}" for m, s in zip(means[name], spreads[name], strict=True))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    met = all(
        (means[name] - means["vanilla"])[:2]
        .gt(torch.maximum(spreads[name], spreads["vanilla"])[:2])
        .all()
        for name in OBJECTIVES
        if name != "vanilla"
    )
    print(f"every equivariant SAE above vanilla by more than the spread: {'yes' if met else 'NO'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
