"""One training step of a TopK SAE on a GPU, and the kernels against float64.

    python benchmarks/speed/gpu.py
    python benchmarks/speed/gpu.py --shapes small --no-peers

This has not been run yet, for want of a GPU: only its parts were, on a CPU, with Triton's
interpreter. It prints, in this order,

1. the error of every product, by Triton and by torch, beside the dense matrix in float64, over rows
   of all lengths; whether a second run gives the same bits;
2. for what the host waits within a step, of TopK and of BatchTopK: nothing, if all is well;
3. milliseconds and peak memory of a step, at the shapes of step.py: ours with Triton and without,
   in float32 and with the search in bfloat16, the bare product x @ W, and every peer that can be
   imported here, through its public training step, in float32 and in bfloat16.

It exits 1 if a product is wrong or changes, or if the host waits, and 2 without a GPU. For the
peers, install them beside OrbitLens (README.md, and keep triton); versions as in peers.py.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from unittest.mock import MagicMock, patch

import numpy as np
import torch
from peers import Settings
from step import SHAPES
from synthetic import mixtures
from torch import Tensor

import orbitlens as ol
from orbitlens.kernels import _products as products
from orbitlens.kernels._choice import kernels_on
from orbitlens.kernels._gpu import PIECE
from orbitlens.kernels._pattern import Pattern
from orbitlens.kernels._products import (
    column_sums,
    entry_products,
    gathered_sums,
    weighted_sums,
)
from orbitlens.training._steps import StackTraining

DEVICE = torch.device("cuda")
STEPS = 32
ROUNDS = 5
ROWS = 400
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
LENGTHS = (0, 1, 15, 16, 17, 32, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 3)

Train = Callable[[Iterator[Tensor]], None]


def check(by_whom: Sequence[str]) -> bool:
    """Print the errors of all products; whether they are small and the bits are the same twice."""
    print("\n| product | type | dim | by | largest error | same bits |\n|---|---|---|---|---|---|")
    good = True
    for dtype in TOLERANCE:
        for dim in (1, 24, 130, 768):
            for by in by_whom:
                if by == "torch" and dtype != torch.float32:
                    continue  # torch has no sampled product in bfloat16
                with only_torch(by == "torch"):
                    for name, error, same in errors(dim, dtype):
                        print(f"| {name} | {dtype} | {dim} | {by} | {error:.1e} | {same} |")
                        good &= error <= TOLERANCE[dtype] and (same or by == "torch")
    return good


def errors(dim: int, dtype: torch.dtype) -> Iterator[tuple[str, float, bool]]:
    """Errors of all products, as shares of the largest result, and whether a second run agrees."""
    generator = torch.Generator().manual_seed(dim)
    picks = torch.randint(len(LENGTHS), (ROWS,), generator=generator)
    # Each length at least once, and one latent that fires everywhere.
    lengths = torch.tensor(LENGTHS)[torch.cat([torch.arange(len(LENGTHS)), picks])]
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    columns = torch.randint(300, (int(starts[-1]),), generator=generator)
    columns[::2] = 7
    values = torch.randn(len(columns), generator=generator).to(DEVICE)
    left, right = (
        torch.randn(rows, dim, generator=generator).to(DEVICE, dtype)
        for rows in (len(lengths), 300)
    )

    def pattern() -> Pattern:
        return Pattern(starts.to(DEVICE), columns.to(DEVICE), 300)

    places = (pattern().rows, pattern().columns)
    dense = torch.zeros(len(lengths), 300, dtype=torch.float64, device=DEVICE)
    dense.index_put_(places, values.double(), accumulate=True)
    products = {
        "S W": (lambda: weighted_sums(pattern(), values, right), dense @ right.double()),
        "S^T X": (lambda: gathered_sums(pattern(), values, left), dense.T @ left.double()),
        "S^T 1": (lambda: column_sums(pattern(), values), dense.sum(0)),
        "<X_r, W_c>": (
            lambda: entry_products(pattern(), left, right),
            (left.double() @ right.double().T)[places],
        ),
    }
    for name, (run, exact) in products.items():
        first, second = run(), run()
        error = (first.double() - exact).abs().max() / exact.abs().max()
        yield name, float(error), torch.equal(first, second)


@contextmanager
def only_torch(wanted: bool) -> Iterator[None]:
    """Leave the products to torch."""
    if not wanted:
        yield
        return
    with patch.object(products, "kernels_for", lambda *_: None):
        yield


def waits() -> bool:
    """Print for what the host waits in a step after the first; whether for nothing."""
    found: set[str] = set()
    original = StackTraining.step

    def watched(self: StackTraining, number: int, revival_weight: float) -> None:
        if number:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                original(self, number, revival_weight)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found.update(
            f"{each.filename}:{each.lineno}" for each in caught if "synchroniz" in str(each.message)
        )

    settings = replace(SHAPES["small"].settings, batch=256)
    data = mixtures(settings, 8 * settings.batch)
    with patch.object(StackTraining, "step", watched):
        for build in (ol.sae.topk_sae, ol.sae.batch_topk_sae):
            sae = build(settings.d_in, settings.d_sae, settings.k)
            fit(sae, settings, data, epochs=3, revival_weight=1 / 32)
    print("\nthe host waits for", ", ".join(sorted(found)) or "nothing")
    return not found


def fit(
    sae: ol.sae.SAE,
    settings: Settings,
    data: Tensor,
    *,
    epochs: int,
    revival_weight: float,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Our `fit`; an epoch is a pass over the data."""
    store = ol.store_from_array(data[:, None].numpy(), group=ol.groups.cyclic(1))
    ol.fit(
        sae.to(DEVICE),
        store,
        epochs=epochs,
        batch_size=settings.batch,
        lr=settings.lr,
        samples=np.arange(store.n),
        revival_weight=revival_weight,
        precision="bfloat16" if settings.bf16 else "float32",
        progress=progress,
    )


def ours(settings: Settings, data: Tensor) -> list[float]:
    """Seconds of a step in each epoch but the first, whose end has waited for the GPU."""
    times: list[float] = []
    sae = ol.sae.topk_sae(settings.d_in, settings.d_sae, settings.k, seed=settings.seed)
    fit(
        sae,
        settings,
        data,
        epochs=ROUNDS + 1,
        revival_weight=0.0,  # no peer revives latents in its first 1,000 steps
        progress=lambda *_: times.append(time.perf_counter()),
    )
    return (np.diff(times) / (len(data) // settings.batch)).tolist()


def theirs(make: Callable[[Settings], Train], settings: Settings, data: Tensor) -> list[float]:
    """Seconds of a step in each pass over batches that are on the GPU already, but the first."""
    batches, train = data.to(DEVICE).split(settings.batch), make(settings)
    seconds = []

    def passes() -> Iterator[Tensor]:
        for _ in range(ROUNDS + 1):
            torch.cuda.synchronize()
            start = time.perf_counter()
            yield from batches
            torch.cuda.synchronize()
            seconds.append((time.perf_counter() - start) / len(batches))

    train(passes())
    return seconds[1:]


def bare_product(settings: Settings) -> list[float]:
    """Seconds of x @ W."""
    dtype = torch.bfloat16 if settings.bf16 else torch.float32
    x = torch.randn(settings.batch, settings.d_in, device=DEVICE, dtype=dtype)
    W = torch.randn(settings.d_in, settings.d_sae, device=DEVICE, dtype=dtype)
    out = x @ W
    seconds = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(STEPS):
            torch.mm(x, W, out=out)
        torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / STEPS)
    return seconds


# The steps of peers.py, on a GPU: each library takes the device in its own way.


def overcomplete(settings: Settings) -> Train:
    """Its `train_sae`, or `train_sae_amp`."""
    # It imports networks that are not used here, and others look whether they are there.
    absent = {"torchvision", "torchvision.transforms", "timm"} - set(sys.modules)
    sys.modules.update(dict.fromkeys(absent, MagicMock()))
    try:
        from overcomplete.sae import TopKSAE, train_sae
        from overcomplete.sae.train import train_sae_amp
    finally:
        for name in absent:
            del sys.modules[name]

    sae = TopKSAE(settings.d_in, settings.d_sae, top_k=settings.k, device=DEVICE.type)
    optimizer = torch.optim.Adam(sae.parameters(), lr=settings.lr)
    run = train_sae_amp if settings.bf16 else train_sae

    def error(x: Tensor, x_hat: Tensor, *_: Tensor) -> Tensor:
        return (x - x_hat).square().mean()

    once = {"nb_epochs": 1, "monitoring": 0, "device": DEVICE.type}
    return lambda batches: run(sae, batches, error, optimizer, **once)


def dictionary_learning(settings: Settings) -> Train:
    """`TopKTrainer.update`."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(
        steps=10**9,
        activation_dim=settings.d_in,
        dict_size=settings.d_sae,
        k=settings.k,
        layer=0,
        lm_name="none",
        lr=settings.lr,
        warmup_steps=0,
        device=DEVICE.type,
    )

    def train(batches: Iterator[Tensor]) -> None:
        for step, x in enumerate(batches):
            with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=settings.bf16):
                trainer.update(step, x)

    return train


def sparsify(settings: Settings) -> Train:
    """Its `Trainer` on one batch, with its Triton kernel if that can be imported."""
    from sparsify import SparseCoder, SparseCoderConfig

    config = SparseCoderConfig(num_latents=settings.d_sae, k=settings.k)
    sae = SparseCoder(settings.d_in, config, device=DEVICE.type, dtype=torch.float32)
    optimizer = torch.optim.Adam(sae.parameters(), lr=settings.lr)

    def train(batches: Iterator[Tensor]) -> None:
        for x in batches:
            sae.set_decoder_norm_to_unit_norm()
            with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=settings.bf16):
                loss = sae(x).fvu
            loss.backward()
            sae.remove_gradient_parallel_to_decoder_directions()
            optimizer.step()
            optimizer.zero_grad()

    return train


def saelens(settings: Settings) -> Train:
    """Its `SAETrainer` with a data provider."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    shape = {"d_in": settings.d_in, "d_sae": settings.d_sae, "k": settings.k}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(**shape, device=DEVICE.type))
    config = SAETrainerConfig(
        total_training_samples=10**12,
        train_batch_size_samples=settings.batch,
        lr=settings.lr,
        lr_end=settings.lr,
        autocast=settings.bf16,
        device=DEVICE.type,
        logger=LoggingConfig(log_to_wandb=False),
    )

    def train(batches: Iterator[Tensor]) -> None:
        with suppress(StopIteration):
            SAETrainer(config, sae, batches).fit()

    return train


PEERS = (sparsify, overcomplete, dictionary_learning, saelens)


def table(
    settings: Settings,
    data: Tensor,
    by_whom: Sequence[str],
    peers: Sequence[Callable[[Settings], Train]],
) -> None:
    """Print a line for each contestant, in both precisions."""
    print("\n| | precision | ms, median | ms, best | peak, GB |\n|---|---|---|---|---|")
    for bf16 in (False, True):
        own = replace(settings, bf16=bf16)
        line("bare product", own, lambda own=own: bare_product(own))
        for by in by_whom:
            with only_torch(by == "torch"):
                line(f"OrbitLens, {by}", own, lambda own=own: ours(own, data))
        for make in peers:
            line(make.__name__, own, lambda own=own, make=make: theirs(make, own, data))


def line(name: str, settings: Settings, run: Callable[[], list[float]]) -> None:
    """Print a line of the table; a peer that cannot be imported or fails gets one as well."""
    precision = "bfloat16" if settings.bf16 else "float32"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(settings.seed)
    try:
        seconds = run()
    except Exception as error:  # Of others, on a machine that they were not tried on.
        print(f"| {name} | {precision} | {type(error).__name__}: {str(error)[:80]} | | |")
        return
    middle, best = statistics.median(seconds) * 1e3, min(seconds) * 1e3
    peak = torch.cuda.max_memory_allocated() / 1e9
    print(f"| {name} | {precision} | {middle:.3f} | {best:.3f} | {peak:.2f} |", flush=True)


def main() -> int:
    """Print checks and tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "gpu.py: expected a CUDA device, found none; run it on a GPU machine", file=sys.stderr
        )
        return 2
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    by_whom = ["Triton", "torch"]
    if kernels_on(torch.zeros(1, device=DEVICE).device) is None:
        print("Triton is not installed or does not work here")
        by_whom.remove("Triton")
    good = check(by_whom)
    good &= waits()
    for shape in options.shapes:
        settings = SHAPES[shape].settings
        print(f"\n{shape}: {settings}, {STEPS} steps a pass, {ROUNDS} passes")
        data = mixtures(settings, STEPS * settings.batch)
        table(settings, data, by_whom, () if options.no_peers else PEERS)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
