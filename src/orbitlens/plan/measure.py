"""What a plan measures on this machine, in a few seconds.

Each figure comes from the very code that will do the work, on random activations of the shapes
asked for: a shard that is written and read, an SAE that `fit` trains, smaller if need be, a
transport, and some orbits through the network. The least of a few repetitions counts, as other
work on the machine only adds.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from orbitlens.activations import ActivationStore, harvest, open_store, store_from_array
from orbitlens.data import LazyInputs
from orbitlens.files import one_line_errors
from orbitlens.groups import Group, cyclic
from orbitlens.objectives import reconstruction
from orbitlens.pipeline import ORBIT, build_sae, load_source, prepare, sae_objective
from orbitlens.pipeline.config import RunConfig
from orbitlens.plan.estimate import Passes, StepRate, TransportRate
from orbitlens.plan.machine import few_threads, held_memory, nearest_folder, peak_since
from orbitlens.plan.sizes import copies_of_irreps, piece_bytes, sae_size
from orbitlens.reps import IsotypicBasis
from orbitlens.sae import SAE, OrbitDictionary, topk_sae
from orbitlens.sae.orbit import compose_orbit
from orbitlens.sae.sparsity import SPARSITY_RULES
from orbitlens.training import Objective, fit, unit_scale
from orbitlens.training._encode import searches_in_bfloat16, sparse_codes
from orbitlens.training._held import HeldData
from orbitlens.training._stack import stack_saes
from orbitlens.transport import fit_transport
from orbitlens.typing import Float, Tensor

_WRITTEN = 2**25
_PRODUCTS = 2**30
"""Multiplications of a step that is measured, some tens of milliseconds of a core."""
_WEIGHTS = 2**23
"""Weights of a layer that is measured."""
_ROWS = 1024
_EPOCHS = 2
_NARROW = 192
_LOADED = 64
_SECONDS = 1.0


def measure_start() -> tuple[float, int]:
    """Measure what the first training of a process loads.

    Returns:
        Seconds and bytes.
    """
    store = store_from_array(torch.randn(8, 1, 4), group=cyclic(1))
    before = held_memory()
    seconds = _least(lambda _: fit(topk_sae(4, 8, 2), store, epochs=1), rounds=1)
    return seconds, max(0, held_memory() - before)


def measure_store(
    group: Group, positions: int, dim: int, dtype: str, out: Path
) -> tuple[float, float, float, float, float]:
    """Measure a store beside `out`.

    Args:
        group: The group.
        positions: Activations per moved input.
        dim: Width of an activation.
        dtype: Type on disk.
        out: Where the store will be; it need not exist.

    Returns:
        `write`, `read`, `look`, `hold` and `pieces` of `Speeds`; what is read was just written.

    Raises:
        OrbitLensError: If the place cannot be written.
    """
    shape = (group.order, positions, dim)
    array = torch.randn(max(2, _WRITTEN // (4 * math.prod(shape))), *shape)
    size, folder = 4 * array.numel(), nearest_folder(out)
    with one_line_errors(out), tempfile.TemporaryDirectory(prefix=".plan-", dir=folder) as place:
        write = partial(store_from_array, group=group, dtype=dtype, digest="plan")
        little = _least(lambda i: write(array[:1], out=Path(place) / f"little-{i}"))
        whole = _least(lambda i: write(array, out=Path(place) / f"whole-{i}"))
        store = open_store(Path(place) / "whole-0")
        # As training reads: some samples here and there are held out.
        samples = np.flatnonzero(np.arange(store.n) % 5 < 4)
        part = 4 * len(samples) * math.prod(shape)
        with peak_since() as peak:
            hold = _least(lambda _: HeldData([store], [samples], torch.device("cpu")), rounds=1)
        hold = min(hold, _least(lambda _: HeldData([store], [samples], torch.device("cpu")), rounds=1))
        read = _least(lambda _: store.orbits())
    seen = array[:, :, 0]
    look = _least(lambda _: unit_scale(seen)) / (4 * seen.numel())
    pieces = max(0, peak.bytes - part) / piece_bytes(len(samples), *shape)
    return max(whole - little, whole / 5) / size, read / size, look, hold / part, pieces


def measure_passes(config: RunConfig, workers: int = 1) -> tuple[Passes, Group, int, int]:
    """Measure a network on a few inputs of the source, as `harvest` runs it.

    Args:
        config: The settings; of its samples only a few are loaded.
        workers: Processes that will run it, with a share of the threads each.

    Returns:
        What it took, the group, and positions and width of the activations.

    Raises:
        OrbitLensError: If source, group, model, layer or positions are wrong.
    """
    few = replace(config, n_samples=min(config.n_samples, _LOADED))
    before = held_memory()
    job = prepare(few)
    module, values = job.model.module.to(config.torch_device), job.source.inputs.values
    loading = _least(lambda _: load_source(few), rounds=1) / len(values)
    lazy = isinstance(values, LazyInputs)  # looked at first, and read again batch by batch
    together = max(1, 256 // job.action.group.order)

    def run(inputs: Float[Tensor, "n *axes"]) -> ActivationStore:
        return harvest(
            module,
            layer=job.model.layer,
            inputs=inputs,
            action=job.action,
            positions=config.positions,
            prepare=job.model.prepare,
        )

    with few_threads(workers):
        first = _least(lambda _: run(values[:1]), rounds=1)
        loaded = held_memory() - before  # weights, and libraries that only they or inputs need
        count = max(1, min(together, len(values), int(_SECONDS / first)))
        with peak_since() as peak:
            took = _least(lambda _: run(values[:count]))
    store = run(values[:1])
    passes = Passes(
        per_sample=took / count,
        loading=2 * loading if lazy else loading,
        input_bytes=0 if lazy else values[0].nbytes,
        memory=max(0, loaded) + peak.bytes * together // count,
    )
    return passes, job.action.group, store.positions, store.dim


def measure_transports(group: Group, dim: int) -> dict[str, TransportRate]:
    """Measure how long the closed-form transports take.

    Wide layers are measured at a width of 192: each sample costs the square of the width, the
    closed form its cube.

    Args:
        group: The group.
        dim: Width of an activation.

    Returns:
        The rate of "least_squares", and of "exact", which an orbit SAE needs.
    """
    narrow = min(dim, max(_NARROW, group.order))
    few = 2 + -(-3 * narrow // group.order)
    many = few + min(2**14, max(few, _PRODUCTS // (group.order * narrow) ** 2))
    short, long = (store_from_array(_moving(n, group, narrow), group=group) for n in (few, many))
    seconds = {
        method: _least(partial(_fitted, short, method)) for method in ("least_squares", "exact")
    }
    whole = _least(partial(_fitted, long, "least_squares"))
    slope = max(whole - seconds["least_squares"], whole / 10) / (many - few)
    wider = dim / narrow
    return {
        method: TransportRate(slope * wider**2, max(once - few * slope, once / 10) * wider**3)
        for method, once in seconds.items()
    }


def _fitted(store: ActivationStore, method: str, _: int) -> object:
    return fit_transport(store, method)


def _moving(n: int, group: Group, dim: int) -> Float[Tensor, "n group dim"]:
    """Orbits that move by copies of the regular representation, and what is over not at all."""
    copies = dim // group.order
    still = torch.randn(n, dim - copies * group.order)
    base = torch.randn(n, copies, group.order)
    table = torch.from_numpy(group.table[group.inverses].copy())  # (rho(g) y)[h] = y[g^-1 h]
    moved = base[:, :, table].movedim(2, 1).flatten(2)
    return torch.cat([moved, still.unsqueeze(1).expand(-1, group.order, -1)], -1).contiguous()


def measure_steps(config: RunConfig, name: str, dim: int, group: Group) -> StepRate:
    """Measure steps of `fit`, smaller in batch and latents alike if they would take long.

    Args:
        config: The settings.
        name: One of `NAMES`.
        dim: Width of the activations.
        group: The group of an orbit SAE.
    """
    size = sae_size(config, name, dim, group)
    pairs, unit = config.batch_size * size.latents, group.order if size.tied else 1
    shrink = max(1.0, size.latents * dim / _WEIGHTS, math.sqrt(pairs * size.width / _PRODUCTS))
    small = max(-(-config.k // unit), round(size.latents / shrink / unit)) * unit
    shrink = size.latents / small
    batch = max(1, round(config.batch_size / shrink))
    # Short steps come in longer epochs, which have work of their own.
    work = batch * (small * (size.width + 64) + 32 * config.k * dim)
    steps = max(1, min(16, _PRODUCTS // (4 * work)))
    rows = torch.randn(batch * steps, 1, dim)
    build = partial(_build, config, name, dim, group)
    # Which precision is a matter of the size asked for.
    few = max(small, min(size.latents, _WEIGHTS // dim // unit * unit))
    half = searches_in_bfloat16(config.precision, build(few))
    step, dead_step = _seconds_per_step(
        build(small),
        store_from_array(rows, group=cyclic(1)),
        objective=sae_objective(config, ORBIT) if size.tied else reconstruction,
        batch_size=batch,
        precision="bfloat16" if half else "float32",
    )
    search = full = 0.0
    if shrink > 1:
        search = _search(build(small), rows[:batch, 0], half=half)
        full = _search(build(few), torch.randn(min(config.batch_size, _ROWS), dim), half=half)
    return StepRate(shrink, step, dead_step, search, full, batch, small)


def _build(config: RunConfig, name: str, dim: int, group: Group, latents: int) -> SAE:
    """Build an SAE of any number of latents; of an orbit SAE only the shapes are right."""
    if name != ORBIT:
        return build_sae(replace(config, d_sae=latents), dim)
    same = torch.eye(dim, dtype=torch.float64)
    basis = IsotypicBasis(group, copies_of_irreps(group, dim), same, same)
    dictionary = OrbitDictionary(latents // group.order, basis)
    return compose_orbit(SPARSITY_RULES[config.sparsity](config.k), dictionary, hidden=None, seed=0)


def _seconds_per_step(
    sae: SAE, store: ActivationStore, *, objective: Objective, batch_size: int, precision: str
) -> tuple[float, float]:
    """Time steps of `fit` without dead latents, and with one, which is silenced beforehand."""
    with torch.no_grad():
        sae.encoder.get_parameter("b_enc")[0] = -1e9
    ends: list[float] = []
    fit(
        sae,
        store,
        objective=objective,
        epochs=2 * _EPOCHS + 1,
        batch_size=batch_size,
        samples=np.arange(store.n),
        dead_after=1 + _EPOCHS,
        precision=precision,
        progress=lambda *_: ends.append(time.perf_counter()),
    )
    epochs = np.diff(ends) / -(-store.n // batch_size)
    step = float(epochs[:_EPOCHS].min())
    return step, max(step, float(epochs[_EPOCHS:].min()))


def _search(sae: SAE, y: Float[Tensor, "batch dim"], *, half: bool) -> float:
    """Seconds per pre-activation to make and search them."""
    stack = stack_saes([sae])
    with torch.no_grad():
        took = _least(lambda _: sparse_codes(stack, y[None], half=half))
    return took / (len(y) * sae.d_sae)


def _least(work: Callable[[int], object], rounds: int = 2) -> float:
    """The least of some repetitions, of which the first also warms up."""
    seconds = []
    for number in range(rounds):
        start = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
