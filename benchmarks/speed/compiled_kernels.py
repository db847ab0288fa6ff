"""Time the kernels of a step beside what torch does without them, on this CPU.

    python benchmarks/speed/compiled_kernels.py

Every line is one call on the matrices of a step; milliseconds are the least of several rounds that
alternate, so that a busy moment of the machine falls on both.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from torch.nn.functional import embedding_bag

from orbitlens.kernels import _cpu as cpu
from orbitlens.kernels._choice import kernels_on
from orbitlens.kernels._largest import RunningLargest, largest
from orbitlens.kernels._pattern import Pattern
from orbitlens.kernels.buffers import Memory

SHAPES = {"large": (768, 16384, 32, 4096), "small": (128, 1024, 16, 4096)}
Call = Callable[[], object]


def sums_by_torch(pattern: Pattern, values: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """S W."""
    return embedding_bag(
        pattern.columns,
        vectors,
        pattern.starts,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )


def products_by_torch(pattern: Pattern, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """<X_r, W_c> at the entries."""
    empty = left.new_zeros(len(pattern.columns))
    size = (pattern.height, pattern.width)
    entries = torch.sparse_csr_tensor(pattern.starts, pattern.columns, empty, size)
    return torch.sparse.sampled_addmm(entries, left, right.mT, beta=0.0).values()


def of_products(d_in: int, d_sae: int, k: int, batch: int) -> dict[str, tuple[Call, Call]]:
    """The products of a step, by torch and compiled."""
    columns = torch.rand(batch, d_sae).topk(k).indices.sort(-1).values.flatten()
    pattern = Pattern(torch.arange(0, batch * k + 1, k), columns, d_sae)
    values, x, w = torch.rand(batch * k), torch.randn(batch, d_in), torch.randn(d_sae, d_in)
    across, ordered = pattern.transposed, values[pattern.across[0]]
    at, transposed = (pattern.starts, pattern.columns), (across.starts, across.columns)
    return {
        "S W": (
            lambda: sums_by_torch(pattern, values, w),
            lambda: cpu.weighted_sums(*at, values, w),
        ),
        "S^T X": (
            lambda: sums_by_torch(across, ordered, x),
            lambda: cpu.weighted_sums(*transposed, ordered, x),
        ),
        "<X_r, W_c>": (
            lambda: products_by_torch(pattern, x, w),
            lambda: cpu.entry_products(*at, x, w),
        ),
    }


def of_searches(d_sae: int, k: int, batch: int) -> dict[str, tuple[Call, Call]]:
    """The searches through a block, by torch and compiled."""
    width = min(d_sae, 8192)
    rows = min(batch, 2**23 // width)
    block, bias = torch.randn(rows, width), torch.randn(1, width)
    values, places = torch.empty(rows, k), torch.empty(rows, k, dtype=torch.long)
    keep = cpu.keep_largest
    running = RunningLargest(rows * k)
    running.add(block, first=0, stride=width)

    def above_by_torch() -> tuple[torch.Tensor, ...]:
        sums = block + bias
        row, column = (sums > running.floor).nonzero(as_tuple=True)
        return sums[row, column], row, column

    keep(block, bias, values, places, first=0)
    return {
        "k largest, first block": (
            lambda: largest(block + bias, k),
            lambda: keep(block, bias, values, places, first=0),
        ),
        "k largest, later block": (
            lambda: largest(block + bias, k),
            lambda: keep(block, bias, values, places, first=width),
        ),
        "above a floor": (
            above_by_torch,
            lambda: cpu.above(block, bias[0], running.floor),
        ),
    }


def milliseconds(call: Call) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    if kernels_on(torch.device("cpu")) is None:
        parser.error("there is no C compiler, or it cannot be used here")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for shape, (d_in, d_sae, k, batch) in SHAPES.items():
        print(f"\n{shape}: d_in {d_in}, d_sae {d_sae}, k {k}, batch {batch}")
        print(f"{'':24}{'torch':>9}{'compiled':>10}{'times':>7}")
        calls = of_products(d_in, d_sae, k, batch) | of_searches(d_sae, k, batch)
        for name, (by_torch, compiled) in calls.items():
            with (
                Memory(),
                warnings.catch_warnings(action="ignore"),
            ):  # torch's own, of beta features
                compiled()
                pairs = [(milliseconds(by_torch), milliseconds(compiled)) for _ in range(rounds)]
            least = [min(times) for times in zip(*pairs, strict=True)]
            print(f"{name:24}{least[0]:9.2f}{least[1]:10.2f}{least[0] / least[1]:7.1f}")


if __name__ == "__main__":
    main()
