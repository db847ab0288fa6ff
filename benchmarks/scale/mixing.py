"""How well a bounded buffer mixes a store, and what that does to an SAE.

    python benchmarks/scale/mixing.py

The worst case: samples sorted by class, every run of one class, and each class with directions of
its own. For buffers of some shares of the store, and for two ends of the scale, no shuffle at all
and a full one:

    correlation  of the places in the epoch of two orbits of one run; 0 for a full shuffle
    runs         from which a batch comes
    excess       variance of the share of a class in a batch, over that of a full shuffle
    explained    variance of held-out orbits that an SAE explains after the epochs
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
import zarr
from zarr.storage import MemoryStore

import orbitlens as ol
from orbitlens.activations import ActivationStore, OrbitBatches
from orbitlens.metrics import explained_variance

DIM, ORDER, SPARSE, PER_CLASS = 32, 2, 3, 12
Epoch = Callable[[int], Iterator[torch.Tensor]]


def sorted_store(n: int, classes: int, runs: int) -> ActivationStore:
    """Sums of a few directions, drawn from those of the sample's class."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((classes, PER_CLASS, DIM))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    labels = np.arange(n) * classes // n
    kept = rng.random((n, ORDER, PER_CLASS)).argsort(-1) < SPARSE
    codes = kept * rng.uniform(0.5, 1.5, kept.shape)
    values = np.einsum("ngf,nfd->ngd", codes, directions[labels]).astype(np.float32)
    store = ol.store_from_array(values, group=ol.groups.cyclic(ORDER), labels=labels)
    rows = n // runs
    array = zarr.create_array(
        MemoryStore(), data=values, chunks=(rows, ORDER, DIM), compressors=None
    )
    return replace(store, array=array)


def batches_of(store: ActivationStore, share: float, batch_size: int, seed: int) -> OrbitBatches:
    """Batches whose buffer holds a share of the training samples, and all that is in its runs."""
    sample = 4 * ORDER * DIM
    samples = store.split()[0]
    beside = 9 * int(store.array.chunks[0]) * sample + 2 * batch_size * sample + 16 * len(samples)
    whole = len(samples) * (sample + 8)
    # A buffer of everything is the whole store, kept; of smaller ones there are two.
    memory = beside + whole * (1 if share >= 1 else 2.3 * share)
    return OrbitBatches(
        store, batch_size=batch_size, memory=int(memory), samples=samples, seed=seed
    )


def unshuffled(store: ActivationStore, batch_size: int) -> Epoch:
    """The training samples in the order of the disk."""
    return lambda _: store.chunks(store.split()[0], size=batch_size)


def mixing(numbers: list[np.ndarray], n: int, classes: int, runs: int) -> tuple[float, ...]:
    """Figures of one epoch, given the sample numbers in each of its batches."""
    order = np.concatenate(numbers)
    run_of, class_of = order * runs // n, order * classes // n
    places = np.arange(len(order))
    sizes = np.bincount(run_of, minlength=runs)
    sums = np.bincount(run_of, places - places.mean(), minlength=runs)
    squares = np.bincount(run_of, (places - places.mean()) ** 2, minlength=runs)
    pairs = (sizes * (sizes - 1)).sum()
    correlation = (sums**2 - squares).sum() / pairs / places.var()
    full = [batch for batch in numbers if len(batch) == len(numbers[0])]
    size, total = len(full[0]), len(order)
    found = np.mean([len(np.unique(batch * runs // n)) for batch in full])
    share = np.bincount(class_of, minlength=classes) / total
    counts = np.array([np.bincount(batch * classes // n, minlength=classes) for batch in full])
    variance = ((counts / size - share) ** 2).mean(0)
    expected = share * (1 - share) / size * (total - size) / (total - 1)
    return float(correlation), float(found), float((variance / expected).mean())


def train(epoch: Epoch, store: ActivationStore, *, epochs: int, steps: int, seed: int) -> float:
    """Variance of held-out orbits explained after training; the rate falls to zero."""
    sae = ol.sae.topk_sae(DIM, 128, SPARSE, seed=seed).train()
    adam = torch.optim.Adam(sae.parameters(), lr=3e-3, fused=True)
    rate = torch.optim.lr_scheduler.LinearLR(adam, 1, 0, epochs * steps)
    for number in range(epochs):
        for batch in epoch(number):
            rows = batch.flatten(0, 1)
            loss = (rows - sae(rows).x_hat).square().sum(-1).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            sae.dictionary.project_()
            rate.step()
    held_out = store.orbits(store.split()[1]).flatten(0, 1)
    with torch.no_grad():
        return float(explained_variance(held_out, sae.eval()(held_out).x_hat))


def main() -> None:
    """Print one row for each share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=51_200)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.01, 0.02, 0.05, 0.1, 0.2, 0.33, 1]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = sorted_store(options.n, options.classes, options.runs)
    # The same runs, with sample numbers in the place of activations.
    numbers = np.broadcast_to(
        np.arange(store.n, dtype=np.float32)[:, None, None], store.array.shape
    )
    numbered = replace(
        store,
        array=zarr.create_array(
            MemoryStore(), data=numbers.copy(), chunks=store.array.chunks, compressors=None
        ),
    )
    steps = -(-len(store.split()[0]) // options.batch_size)
    print("| buffer | its runs | correlation | runs | excess | explained, mean | sd |")
    print("|---|---|---|---|---|---|---|")
    for share in [0.0, *options.shares]:

        def epoch_of(store: ActivationStore, seed: int, share: float = share) -> Epoch:
            if share == 0:
                return unshuffled(store, options.batch_size)
            return batches_of(store, share, options.batch_size, seed).epoch

        figures, explained = [], []
        for seed in range(options.seeds):
            order = [
                batch[:, 0, 0].numpy().astype(np.int64) for batch in epoch_of(numbered, seed)(0)
            ]
            figures.append(mixing(order, store.n, options.classes, options.runs))
            explained.append(
                train(epoch_of(store, seed), store, epochs=options.epochs, steps=steps, seed=seed)
            )
        correlation, found, excess = np.mean(figures, 0)
        name = "none, order of the disk" if share == 0 else f"{share:.0%}"
        parts = batches_of(store, share, options.batch_size, 0)._parts if share else options.runs
        print(
            f"| {name} | {options.runs / parts:.1f} | {correlation:.3f} | {found:.1f} "
            f"| {excess:.1f} | {np.mean(explained):.4f} | {np.std(explained):.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
