"""How large things are, from shapes alone: a store on disk, activations in memory, an SAE.

The shards are those of `plan_shards`, the budget of readers that of `OrbitBatches`.
"""

import math
from dataclasses import dataclass

from orbitlens.activations.store import Needs, check_dtype, chunk_samples, plan_shards
from orbitlens.groups import Group
from orbitlens.pipeline import ORBIT
from orbitlens.pipeline.config import RunConfig
from orbitlens.reps import multiplicities, regular

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
NAMES = ("vanilla", ORBIT)
"""What is planned: an equivariant SAE costs what a vanilla one does."""

_CHECKSUM, _INDEX, _ATTRIBUTES = 4, 16, 4096
_HELD_OUT = 0.2
_BLOCK = 2**23
_PIECE = 4096


@dataclass(frozen=True)
class StoreSize:
    """What a store takes on disk.

    Args:
        raw: Bytes of its numbers.
        on_disk: Bytes as written, with padding, checksums and index; activations are not
            compressed, as floating numbers barely do.
        shards: Number of files.
        shard_samples: Samples in each.
        bytes_per_number: Of the type on disk.
    """

    raw: int
    on_disk: int
    shards: int
    shard_samples: int
    bytes_per_number: int


def store_size(
    n: int, order: int, positions: int, dim: int, dtype: str = "float32", together: int = 1
) -> StoreSize:
    """Return what a store takes on disk.

    Args:
        n: Number of samples.
        order: |G|.
        positions: Activations per moved input.
        dim: Width of an activation.
        dtype: "float32", "float16" or "bfloat16".
        together: Samples per forward pass, see `plan_shards`.

    Raises:
        OrbitLensError: If the type is unknown or an axis is empty.

    Example:
        >>> size = store_size(10**6, 8, 1, 768)
        >>> size.shards, round(size.on_disk / size.raw, 3)
        (736, 1.0)
    """
    check_dtype(dtype)
    shape = (order, positions, dim)
    shards = plan_shards(n, [shape], together)
    chunk = min(shards.samples, chunk_samples(shape))
    start, stop = shards.span(shards.count - 1)
    per_shard = -(-shards.samples // chunk)
    chunks = (shards.count - 1) * per_shard + -(-(stop - start) // chunk)
    width = BYTES[dtype]
    raw = n * math.prod(shape) * width
    padded = chunks * (chunk * math.prod(shape) * width + _CHECKSUM)
    index = shards.count * (per_shard * _INDEX + _CHECKSUM)
    return StoreSize(raw, padded + index + _ATTRIBUTES, shards.count, shards.samples, width)


def training_samples(n: int) -> int:
    """Return how many of n samples are trained on, see `split_samples`.

    Example:
        >>> training_samples(10)
        8
    """
    return n - max(1, round(_HELD_OUT * n))


def piece_bytes(n: int, order: int, positions: int, dim: int) -> int:
    """Return the bytes of what is read at a time by `ActivationStore.chunks`.

    Example:
        >>> piece_bytes(10**6, 8, 1, 768) // 2**20
        96
    """
    return 4 * min(n, max(1, _PIECE // positions)) * order * positions * dim


@dataclass(frozen=True)
class Reading:
    """Where the activations of a training are.

    Args:
        held: Whether all are kept in memory, or read as they are needed.
        memory: Bytes that they take there.
        needed: Bytes to keep all.
        parts: Into how many buffers an epoch falls.
    """

    held: bool
    memory: int
    needed: int
    parts: int


def reading(
    n: int, order: int, positions: int, dim: int, *, batch_size: int, memory: int, copies: int = 1
) -> Reading:
    """Say whether the activations of a store fit into a memory budget, as `fit` does.

    Args:
        n: Number of samples of the store, a part of which is trained on.
        order: |G|.
        positions: Activations per moved input.
        dim: Width of an activation.
        batch_size: Orbits per step.
        memory: The budget in bytes.
        copies: 2 for orbit SAEs, which keep activations in their own coordinates as well.

    Raises:
        OrbitLensError: If the budget is too small to read even a part of the store.

    Example:
        >>> reading(10**6, 8, 1, 768, batch_size=1024, memory=2**32).held
        False
    """
    count = training_samples(n)
    sample = 4 * positions * order * dim
    needed = copies * count * sample
    if needed <= memory:
        return Reading(True, needed + 24 * count * positions, needed, 1)
    shards = plan_shards(n, [(order, positions, dim)], 1)
    needs = Needs.of(
        count=count,
        sample=sample,
        positions=positions,
        chunk=min(shards.samples, chunk_samples((order, positions, dim))),
        shard=shards.samples,
        batch_size=batch_size,
    )
    run, used = needs.run, needs.fixed - needs.by_zarr  # the shards of a run lie on a disk
    # Samples held out are drawn at random: the fullest of many runs lies three deviations above.
    fullest = (1 - _HELD_OUT) * run + 3 * math.sqrt(_HELD_OUT * (1 - _HELD_OUT) * run)
    longest = max(1, min(count, run, round(fullest)))
    if needs.all(count) <= memory:
        return Reading(False, used + count * needs.each, needed, 1)
    held = needs.runs_held(memory, longest)
    if held < 1:
        raise needs.too_little(memory, needs.least(count, longest), longest * sample)
    parts = math.ceil(math.ceil(n / run) / held)
    return Reading(False, used + 2 * -(-count // parts) * needs.each, needed, parts)


@dataclass(frozen=True)
class SAESize:
    """The shapes of one SAE.

    Args:
        latents: Number of latents, of an orbit SAE those of all orientations.
        parameters: Numbers that are learned.
        width: Numbers of the vector that each latent is compared with.
        tied: Whether it is an orbit SAE.
        encodings: How often a step encodes a batch.
    """

    latents: int
    parameters: int
    width: int
    tied: bool
    encodings: int


def sae_size(config: RunConfig, name: str, dim: int, group: Group) -> SAESize:
    """Return the shapes of an SAE as `orbitlens train` builds it.

    Args:
        config: The settings: d_sae, n_atoms, hidden, orbit_weight.
        name: One of `NAMES`.
        dim: Width of the activations.
        group: The group of an orbit SAE.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> config = RunConfig(d_sae=512, hidden=0)
        >>> [sae_size(config, name, 64, cyclic(4)).parameters for name in ("vanilla", "orbit")]
        [66112, 66064]
    """
    if name == ORBIT:
        atoms, encodings = config.atoms, 1 + (config.orbit_weight > 0)
        fixed = copies_of_irreps(group, dim)[0]
        parameters = 2 * atoms * dim + atoms + fixed
        return SAESize(group.order * atoms, parameters, dim, True, encodings)
    latents, hidden = config.d_sae, config.hidden
    first, width = (hidden * (dim + 1), hidden) if hidden else (0, dim)
    parameters = first + (width + 1) * latents + latents * dim + dim
    return SAESize(latents, parameters, width, False, 1)


def copies_of_irreps(group: Group, dim: int) -> tuple[int, ...]:
    """Return multiplicities of copies of the regular representation; what is over stays still.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> copies_of_irreps(cyclic(4), 10)
        (4, 2, 2)
    """
    whole, over = divmod(dim, group.order)
    first, *others = (whole * m for m in multiplicities(regular(group)))
    return first + over, *others


def training_memory(size: SAESize, *, batch_size: int, k: int, dim: int) -> dict[str, int]:
    """Return the bytes of one training apart from activations.

    Args:
        size: The SAE.
        batch_size: Orbits per step.
        k: Latents active per activation.
        dim: Width of the activations.

    Returns:
        "parameters", twice, as `fit` trains a copy; "gradients"; "moments" of Adam; "block" of
        pre-activations; "entries" of the codes and their gradients, "batch" of activations and
        reconstructions; "orientations" of tied weights.

    Example:
        >>> size = SAESize(16384, 2 * 16384 * 768, 768, False, 1)
        >>> training_memory(size, batch_size=4096, k=32, dim=768)["moments"] == 8 * size.parameters
        True
    """
    pairs = batch_size * size.latents
    oriented = 4 * 4 * size.latents * dim if size.tied else 0
    # Blocks of an orbit SAE are made anew each time: the last, the next and that of dead latents.
    per_pair = 12 if size.tied else 6
    return {
        "parameters": 8 * size.parameters,
        "gradients": 4 * size.parameters,
        "moments": 8 * size.parameters,
        "block": per_pair * min(pairs, max(_BLOCK, 64 * size.latents)),
        "entries": 88 * batch_size * k * size.encodings,
        "batch": 4 * 8 * batch_size * dim * size.encodings,
        "orientations": oriented,
    }
