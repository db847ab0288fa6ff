"""Training many small SAEs: one stack against one after the other, overcomplete and SAELens.

    python benchmarks/ensemble.py --peers .venv-peers/bin/python   # exits 1 if a target is missed

24 TopK SAEs of the toy model (N = 16, orbit size 4, 16 latents, k = 3), one for each seed, each on
the same 8,000 augmented samples, in batches of 256 with Adam at 5e-4, equally many steps for
everybody, on the same cores, one library after the other. Peers train from memory, with the loader
or iterator that they take, with their own bookkeeping and no evaluation. They have no two-layer
encoder, so ours is timed with the paper's encoder and with a linear one like theirs. They need
versions of other libraries that ours exclude, and so an environment of their own:

    python -m venv .venv-peers
    .venv-peers/bin/pip install torch==2.13.0 sae-lens==6.54.12 overcomplete==0.3.0 'matplotlib<3.9'
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

COUNT, LATENTS, K, HIDDEN = 24, 16, 3, 64
BATCH, LR = 256, 5e-4


def ours(data: Path, epochs: int) -> dict[str, float]:
    """Seconds for the stack and for one after the other, with both encoders."""
    import orbitlens as ol

    rows = torch.from_numpy(np.load(data))
    store = ol.store_from_array(rows, group=ol.groups.cyclic(rows.shape[1]))
    samples = np.arange(len(rows))
    objectives = [
        *[ol.objectives.reconstruction] * (COUNT // 4),
        *[ol.objectives.canonical] * (COUNT // 4),
        *[ol.objectives.latent_invariance] * (COUNT // 4),
        *[ol.objectives.output_invariance] * (COUNT // 4),
    ]

    def saes(hidden: int | None) -> list[ol.SAE]:
        return [ol.sae.topk_sae(16, LATENTS, K, hidden=hidden, seed=s) for s in range(COUNT)]

    def stack(hidden: int | None, objective: object) -> float:
        members = saes(hidden)
        return seconds(
            lambda: ol.fit(
                members,
                store,
                objective=objective,
                seed=range(COUNT),
                epochs=epochs,
                batch_size=BATCH,
                lr=LR,
                samples=samples,
            )
        )

    def alone(hidden: int | None, chosen: list[object]) -> float:
        members = saes(hidden)
        return seconds(
            lambda: [
                ol.fit(
                    sae,
                    store,
                    objective=objective,
                    seed=seed,
                    epochs=epochs,
                    batch_size=BATCH,
                    lr=LR,
                    samples=samples,
                )
                for seed, (sae, objective) in enumerate(zip(members, chosen, strict=True))
            ]
        )

    vanilla = [ol.objectives.reconstruction] * COUNT
    ol.fit(saes(HIDDEN), store, objective=objectives, seed=range(COUNT), epochs=1)  # warm up
    return {
        "stack": stack(HIDDEN, vanilla),
        "one after the other": alone(HIDDEN, vanilla),
        "stack, linear encoder": stack(None, vanilla),
        "one after the other, linear encoder": alone(None, vanilla),
        "stack, four objectives": stack(HIDDEN, objectives),
        "one after the other, four objectives": alone(HIDDEN, objectives),
    }


def overcomplete(data: Path, epochs: int) -> dict[str, float]:
    """Seconds for overcomplete's `train_sae`, one SAE after the other."""
    # It imports torchvision for networks that are not used here; the CPU build has none.
    for name in ("torchvision", "torchvision.transforms", "timm"):
        sys.modules.setdefault(name, MagicMock())
    from overcomplete.sae import TopKSAE, train_sae

    x = torch.from_numpy(np.load(data)).flatten(0, 1)
    per_epoch = len(x) // 4  # one random element of each orbit

    def train(seed: int) -> None:
        torch.manual_seed(seed)
        sampler = torch.utils.data.RandomSampler(x, num_samples=per_epoch)
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x),
            sampler=torch.utils.data.BatchSampler(sampler, BATCH, drop_last=False),
            batch_size=None,
        )
        sae = TopKSAE(16, nb_concepts=LATENTS, top_k=K, encoder_module="linear")
        optimizer = torch.optim.Adam(sae.parameters(), lr=LR)
        train_sae(
            sae,
            loader,
            lambda x, x_hat, *_: (x - x_hat).square().mean(),
            optimizer,
            nb_epochs=epochs,
        )

    return {"overcomplete": seconds(lambda: [train(seed) for seed in range(COUNT)])}


def saelens(data: Path, epochs: int) -> dict[str, float]:
    """Seconds for SAELens' `SAETrainer`, one SAE after the other."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    x = torch.from_numpy(np.load(data)).flatten(0, 1)
    per_epoch = len(x) // 4

    def batches(seed: int) -> object:
        generator = torch.Generator().manual_seed(seed)
        while True:
            for rows in torch.randint(len(x), (per_epoch,), generator=generator).split(BATCH):
                yield x[rows]

    def train(seed: int) -> None:
        torch.manual_seed(seed)
        steps = epochs * -(-per_epoch // BATCH)
        config = SAETrainerConfig(
            total_training_samples=steps * BATCH,
            train_batch_size_samples=BATCH,
            lr=LR,
            lr_end=LR,
            logger=LoggingConfig(log_to_wandb=False),
        )
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=16, d_sae=LATENTS, k=K))
        SAETrainer(config, sae, batches(seed)).fit()

    return {"SAELens": seconds(lambda: [train(seed) for seed in range(COUNT)])}


PEERS = {"overcomplete": overcomplete, "saelens": saelens}


def seconds(work: Callable[[], object]) -> float:
    """Time one piece of work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    """Print seconds and ratios, and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--peers", type=Path, help="python of an environment with the peers")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.peer:
        for name, value in PEERS[options.peer](options.data, options.epochs).items():
            print(f"{name}\t{value}")
        return 0
    import orbitlens as ol

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "orbits.npy"
        np.save(data, ol.data.toy(n_features=16, orbit_size=4, n_samples=8000, seed=0).orbits)
        times = ours(data, options.epochs)
        for peer in PEERS if options.peers else ():
            words = ["--peer", peer, "--data", str(data), "--epochs", str(options.epochs)]
            program = [str(options.peers), __file__, *words]
            done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
            name, value = done.stdout.splitlines()[-1].split("\t")
            times[name] = float(value)
    print("| 24 SAEs | seconds | times the stack |\n|---|---|---|")
    for name, value in times.items():
        print(f"| {name} | {value:.1f} | {value / times['stack']:.1f} |")
    met = times["one after the other"] >= 6 * times["stack"] and all(
        value > times["stack"]
        for name, value in times.items()
        if name in ("overcomplete", "SAELens")
    )
    print(
        f"targets (6 times one after the other, faster than every peer): {'yes' if met else 'NO'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
