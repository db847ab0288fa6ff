"""What a run will need: disk, memory and time, before any of it is spent.

Sizes follow from shapes alone. Times come from a short measurement on this machine
(`orbitlens.pipeline.calibrate`), brought to full size by what each part of the work grows with:

    harvest    N |G| forward passes, and N |G| positions dim numbers to write
    transport  samples dim^2, and dim^3 for the closed form
    a step     batch x latents to search; all else grows with the batch and with the latents

Everything here is a pure function.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orbitlens.groups import Group
from orbitlens.pipeline.config import RunConfig
from orbitlens.plan.sizes import (
    NAMES,
    Reading,
    SAESize,
    StoreSize,
    piece_bytes,
    reading,
    sae_size,
    store_size,
    training_memory,
    training_samples,
)


@dataclass(frozen=True)
class StepRate:
    """What steps took, of a training that is `shrink` times smaller in batch and in latents.

    Args:
        shrink: By how much, from 1, at which nothing is left to model.
        step: Seconds of one of its steps.
        dead_step: The same while some latents are dead, among which the revival searches.
        search: Seconds per pre-activation to make and search them, in the small training.
        full_search: The same at the full number of latents.
        batch: Its batch.
        latents: Its latents.
    """

    shrink: float
    step: float
    dead_step: float
    search: float
    full_search: float
    batch: int
    latents: int


def step_seconds(rate: StepRate, size: SAESize, batch_size: int, *, dead: bool = False) -> float:
    """Return the seconds of a step.

        t = e s B L + shrink (t' - e s' B' L')

    with e encodings, s seconds per pre-activation, and primes for the small training: all but the
    search grows with the batch and with the latents, both of which were made smaller alike.

    Example:
        >>> size = SAESize(100, 0, 1, False, 1)
        >>> rate = StepRate(2.0, 3.0, 3.0, 0.001, 0.001, batch=20, latents=50)
        >>> step_seconds(rate, size, 40)  # 4 of search, and twice the other 2
        8.0
    """
    measured = rate.dead_step if dead else rate.step
    if rate.shrink == 1:
        return measured
    small = min(measured, size.encodings * rate.search * rate.batch * rate.latents)
    large = size.encodings * rate.full_search * batch_size * size.latents
    return large + rate.shrink * (measured - small)


@dataclass(frozen=True)
class TransportRate:
    """Seconds to fit and measure a transport: per training sample, and once.

    Args:
        per_sample: For each sample of the store.
        once: Of the closed form.
    """

    per_sample: float
    once: float


@dataclass(frozen=True)
class Passes:
    """What a network took for some orbits.

    Args:
        per_sample: Seconds to move an input by the group, run the network and check its output.
        loading: Seconds to load an input.
        input_bytes: Of an input in memory, where all are kept.
        memory: Bytes that weights, libraries and a batch took.
    """

    per_sample: float
    loading: float
    input_bytes: int
    memory: int


@dataclass(frozen=True)
class Speeds:
    """What was measured.

    Args:
        write: Seconds per byte in float32 to check, round and write activations.
        read: Seconds per byte in float32 to read them again.
        look: Seconds per byte in float32 to take means and scale.
        hold: Seconds per byte in float32 to read, look at and scale what is kept in memory.
        pieces: Bytes that reading into memory takes besides, as a multiple of the piece read at a
            time.
        library: Bytes of a process that has only loaded the library.
        start: Seconds that the first step of a process takes more than the others.
        trainer: Bytes of a process that has trained a tiny SAE.
        transports: For each method.
        steps: For each of `NAMES`.
        passes: Of the network, if one was named.
    """

    write: float
    read: float
    look: float
    hold: float
    pieces: float
    library: int
    start: float
    trainer: int
    transports: Mapping[str, TransportRate]
    steps: Mapping[str, StepRate]
    passes: Passes | None = None


@dataclass(frozen=True)
class Workload:
    """What is planned.

    Args:
        config: The settings of a run.
        n: Inputs.
        group: What moves them.
        positions: Activations per moved input.
        dim: Width of an activation.
        memory_gib: Memory for activations while training.
        workers: Processes that run the network.
        harvest_batch: Moved inputs per forward pass.
    """

    config: RunConfig
    n: int
    group: Group
    positions: int
    dim: int
    workers: int = 1
    harvest_batch: int = 256


def plan(work: Workload, speeds: Speeds) -> dict[str, Any]:
    """Return disk, memory and time of a harvest, a transport and each kind of training.

    Args:
        work: What is planned.
        speeds: What was measured.

    Returns:
        A JSON-ready record with the parts "store", "harvest", "transport" and "training".

    Raises:
        OrbitLensError: If the memory for activations is too small to read a part of the store.
    """
    config, order = work.config, work.group.order
    size = store_size(
        work.n,
        order,
        work.positions,
        work.dim,
        config.dtype,
        max(1, work.harvest_batch // order),
    )
    return {
        "inputs": work.n,
        "group": work.group.name,
        "order": order,
        "positions": work.positions,
        "dim": work.dim,
        "dtype": config.dtype,
        "store": asdict(size),
        "harvest": _harvest(work, speeds, size),
        "transport": _transport(work, speeds),
        "training": {name: _training(work, speeds, name) for name in speeds.steps},
    }


def check_memory(work: Workload) -> None:
    """Check that the memory for activations lets every SAE be trained.

    Raises:
        OrbitLensError: If it is too small to read a part of the store.
    """
    for name in NAMES:
        _reading(work, sae_size(work.config, name, work.dim, work.group))


def _reading(work: Workload, size: SAESize) -> Reading:
    return reading(
        work.n,
        work.group.order,
        work.positions,
        work.dim,
        batch_size=work.config.batch_size,
        memory=int(work.config.memory_gib * 2**30),
        copies=2 if size.tied else 1,
    )


def _numbers_as_float32(work: Workload) -> int:
    return 4 * work.n * work.group.order * work.positions * work.dim


def _harvest(work: Workload, speeds: Speeds, size: StoreSize) -> dict[str, Any]:
    """Workers write side by side too, but share one disk: writing is counted once."""
    writing = speeds.write * _numbers_as_float32(work)
    orbit = 4 * work.group.order * work.positions * work.dim
    shard = size.shard_samples * orbit
    batch = max(1, work.harvest_batch // work.group.order) * orbit
    # In float32, as rounded, and as the bytes of its file.
    each = shard * (4 + 2 * size.bytes_per_number) // 4 + 3 * batch
    passes = speeds.passes
    if passes is None:
        return {
            "seconds": None,
            "loading_seconds": None,
            "forward_seconds": None,
            "writing_seconds": writing,
            "memory_bytes": None,
            "input_bytes": None,
        }
    forward = passes.per_sample * work.n / work.workers
    loading = passes.loading * work.n
    inputs = passes.input_bytes * work.n
    processes = work.workers * (speeds.library + passes.memory + each)
    parent = speeds.library + passes.memory if work.workers > 1 else 0
    return {
        "seconds": loading + forward + writing,
        "loading_seconds": loading,
        "forward_seconds": forward,
        "writing_seconds": writing,
        # Inputs exist twice while they are put together.
        "memory_bytes": inputs + max(inputs, processes + parent),
        "input_bytes": inputs,
    }


def _transport(work: Workload, speeds: Speeds) -> dict[str, Any]:
    bytes_read = _numbers_as_float32(work)
    moments = 8 * work.group.order * work.dim**2
    piece = speeds.pieces * piece_bytes(work.n, work.group.order, work.positions, work.dim)
    return {
        # A matrix for each element: products, what they are summed into, rho twice, temporaries.
        "memory_bytes": speeds.library + 5 * moments + int(piece),
        "seconds": {
            method: rate.per_sample * work.n + rate.once + speeds.read * bytes_read
            for method, rate in speeds.transports.items()
        },
    }


def _training(work: Workload, speeds: Speeds, name: str) -> dict[str, Any]:
    config, order = work.config, work.group.order
    size = sae_size(config, name, work.dim, work.group)
    data = _reading(work, size)
    count = training_samples(work.n)
    piece = piece_bytes(count, order, work.positions, work.dim) if data.held else 0
    memory = {
        "library": speeds.trainer,
        "activations": data.memory,
        "pieces": int(speeds.pieces * piece),
        **training_memory(size, batch_size=config.batch_size, k=config.k, dim=work.dim),
    }
    orbits = count * work.positions
    steps = -(-orbits // config.batch_size)
    content = 4 * orbits * order * work.dim
    step, dead = (
        step_seconds(speeds.steps[name], size, config.batch_size, dead=dead)
        for dead in (False, True)
    )
    setting_up = speeds.hold if data.held else speeds.read + speeds.look
    once = speeds.start + setting_up * content
    every = 0.0 if data.held else speeds.read * content
    return {
        "latents": size.latents,
        "parameters": size.parameters,
        "steps_per_epoch": steps,
        "steps": config.epochs * steps,
        "seconds_per_step": step,
        "seconds_per_step_with_dead_latents": dead,
        "reading_seconds_per_epoch": every,
        "set_up_seconds": once,
        "seconds": once + config.epochs * (steps * step + every),
        "seconds_with_dead_latents": once + config.epochs * (steps * dead + every),
        "memory_bytes": sum(memory.values()),
        "memory": memory,
        "held": data.held,
        "bytes_to_hold": data.needed,
        "parts_per_epoch": data.parts,
    }
