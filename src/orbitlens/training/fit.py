"""The one training loop, of one SAE or of many.

Each step draws a batch of orbits and one group element per orbit, computes the tensors that the
objective names, and takes one step of Adam. The same seed gives the same bits. Many SAEs of equal
shapes train as a stack, each with its own seed, objective and history, and share every operation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.activations.store._address import address_of
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.sae import SAE
from orbitlens.training import (
    Checkpoint,
    HeldData,
    History,
    Member,
    Schedule,
    StackTraining,
    StreamedData,
    TrainingData,
    described,
    fingerprint,
    identity_of,
    parts_of,
    searches_in_bfloat16,
    train,
    unit_scale,
)
from orbitlens.training._stack import stack_key, unstack_
from orbitlens.training.views import VIEWS, Objective, views_of
from orbitlens.typing import Int

__all__ = ["VIEWS", "FitResult", "History", "Objective", "fit", "unit_scale"]

_CALIBRATED = 2**15


@dataclass(frozen=True)
class FitResult:
    """A trained SAE and how it got there.

    Args:
        sae: The SAE, in evaluation mode, on activations as they are (the scale is folded).
        history: One entry per epoch.
        status: "completed", or "diverged" if the loss stopped being finite; training then ended.
        scale: What the activations were multiplied with during training.
    """

    sae: SAE
    history: History
    status: str
    scale: float


@overload
def fit(
    sae: SAE,
    store: ActivationStore,
    *,
    objective: Objective = ...,
    epochs: int = ...,
    batch_size: int = ...,
    lr: float = ...,
    lr_decay: float = ...,
    seed: int = ...,
    samples: Int[np.ndarray, " n"] | None = ...,
    revival_weight: float = ...,
    dead_after: int = ...,
    precision: str = ...,
    memory_gib: float = ...,
    checkpoint: Path | str | None = ...,
    checkpoint_seconds: float = ...,
    progress: Callable[[int, int, float], None] | None = ...,
) -> FitResult: ...


@overload
def fit(
    sae: Sequence[SAE],
    store: ActivationStore | Sequence[ActivationStore],
    *,
    objective: Objective | Sequence[Objective] = ...,
    epochs: int = ...,
    batch_size: int = ...,
    lr: float = ...,
    lr_decay: float = ...,
    seed: int | Sequence[int] = ...,
    samples: Int[np.ndarray, " n"] | None = ...,
    revival_weight: float = ...,
    dead_after: int = ...,
    precision: str = ...,
    memory_gib: float = ...,
    checkpoint: Path | str | None = ...,
    checkpoint_seconds: float = ...,
    progress: Callable[[int, int, float], None] | None = ...,
) -> list[FitResult]: ...


def fit(
    sae: SAE | Sequence[SAE],
    store: ActivationStore | Sequence[ActivationStore],
    *,
    objective: Objective | Sequence[Objective] = objectives.reconstruction,
    epochs: int = 100,
    batch_size: int = 256,
    lr: float = 5e-4,
    lr_decay: float = 0.0,
    seed: int | Sequence[int] = 0,
    samples: Int[np.ndarray, " n"] | None = None,
    revival_weight: float = 1 / 32,
    dead_after: int = 1,
    precision: str = "auto",
    memory_gib: float = 4.0,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 600.0,
    progress: Callable[[int, int, float], None] | None = None,
) -> FitResult | list[FitResult]:
    """Train an SAE, or a list of SAEs at once, on augmented orbits.

    Activations are scaled to a mean square of one per dimension while training, and the scale is
    folded into the weights afterwards, so the SAE that comes back takes activations as they are.
    An untrained bias starts at the mean activation; an SAE that was trained before goes on from
    where it was.

    Activations are kept in memory if they fit into `memory_gib`. Otherwise they are read as they
    are needed, in shuffled buffers of that size; SAEs in a list then share the order of the first
    seed. A step computes the gradient of the selected codes alone; the matrix of all
    pre-activations is never stored.

    Given a list, the members with equal parts, shapes and k, whose objectives name the same
    views, form one stack. Each gets what it would get alone with its seed, to rounding; small
    SAEs get it several times faster. A store, objective or seed that is not a list is for all.

    Args:
        sae: The SAE, or a list; trained in place, on the device that it is on.
        store: Activations of orbits, element 0 the canonical sample; or one store for each SAE,
            all with equally many training samples.
        objective: A function of the views it names, see `orbitlens.objectives`; or one for each.
            Members that share an objective evaluate it under `torch.vmap`, so it must not branch
            on values.
        epochs: Passes over the training orbits, default 100.
        batch_size: Orbits per step, default 256.
        lr: Learning rate of Adam, default 5e-4.
        lr_decay: Share of the epochs, at the end, over which the learning rate falls linearly to
            zero, epoch by epoch; default 0, a constant rate.
        seed: Seed of the order of the orbits and of the elements drawn, default 0; or one for each.
        samples: Samples to train on, shape [n]; default the training part of `store.split()`.
        revival_weight: Weight of `objectives.dead_latent_revival`, default 1/32; 0 for none. As
            many dead latents as the SAE keeps, k, explain the residual of a sample; of an orbit,
            that of its canonical sample.
        dead_after: Epochs without firing after which a latent counts as dead, default 1; of an
            orbit SAE, after which an atom that fired in no orientation does, with all its latents.
        precision: In what the largest latents are searched: "float32", "bfloat16" or "auto" (the
            default), which takes bfloat16 for large SAEs on hardware with matrix units for it. What
            is found is computed in float32, and so are gradients, weights and thresholds.
        memory_gib: Memory for activations, in GiB, default 4.
        checkpoint: A local file to write to at intervals, on SIGTERM and on Ctrl-C, and to go on
            from, to the bit, if it exists; None (the default) for none. It stays; remove it once
            the SAE is saved.
        checkpoint_seconds: Interval between two writings, default 600.
        progress: Called after each epoch with (epoch, epochs, loss), the mean over the SAEs.

    Returns:
        The SAE, its history and its status; for a list, one result for each SAE, in its order.

    Raises:
        OrbitLensError: If the widths differ, a number is out of range, an objective names a view
            that does not exist or that an SAE does not have, lists differ in length, an orbit
            SAE was built on the transport of another layer, the memory is too small to read even a
            part of the store, or the checkpoint is of another training.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=400, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> sae = ol.sae.topk_sae(d_in=16, d_sae=16, k=3, hidden=64)
        >>> result = fit(sae, store, objective=ol.objectives.canonical, epochs=5)
        >>> result.status, len(result.history.loss)
        ('completed', 5)
        >>> saes = [ol.sae.topk_sae(d_in=16, d_sae=16, k=3, seed=seed) for seed in range(3)]
        >>> [result.status for result in fit(saes, store, seed=range(3), epochs=1)]
        ['completed', 'completed', 'completed']
    """
    _check_numbers(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        dead_after=dead_after,
        memory_gib=memory_gib,
        checkpoint_seconds=checkpoint_seconds,
    )
    _check_from_zero(revival_weight, lr_decay)
    place = None if checkpoint is None else _local(checkpoint)
    saes = [sae] if isinstance(sae, SAE) else list(sae)
    stores = _one_each("store", store, len(saes))
    chosen = _one_each("objective", objective, len(saes))
    seeds = _one_each("seed", seed, len(saes))
    _check_members(saes, stores, chosen)
    data = _data(stores, samples, saes, batch_size, int(memory_gib * 2**30), seeds[0])
    members = _members(saes, data, chosen, seeds)
    half = searches_in_bfloat16(precision, members[0].sae)
    stacks = [StackTraining(group, batch_size=batch_size, half=half) for group in _grouped(members)]
    schedule = Schedule(
        epochs, -(-data[0].n // batch_size), dead_after, revival_weight, lr, lr_decay
    )
    file = None
    if place is not None:
        settings = {
            "batch_size": batch_size,
            **asdict(schedule),
            "seed": [int(each) for each in seeds],
            "bfloat16": half,
            "memory_gib": memory_gib if isinstance(data[0], StreamedData) else "all",
            "objective": [described(each) for each in chosen],
            "sae": [parts_of(each) for each in saes],
            "store": [identity_of(each) for each in stores],
            "samples": fingerprint(samples),
        }
        file = Checkpoint(place, settings, checkpoint_seconds)
    train(stacks, schedule, file, progress)
    for stack in stacks:
        unstack_(stack.sae, [member.sae for member in stack.members])
    results = [_finished(member) for member in members]
    return results[0] if isinstance(sae, SAE) else results


def _check_from_zero(revival_weight: float, lr_decay: float) -> None:
    if not 0 <= revival_weight < math.inf:
        raise out_of_range("revival_weight", "0 or more", revival_weight)
    if not 0 <= lr_decay <= 1:
        raise out_of_range("lr_decay", "a share from 0 to 1", lr_decay)


def _check_numbers(**numbers: int | float) -> None:
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise out_of_range(name, "above 0", value)


def _local(checkpoint: Path | str) -> Path:
    place = address_of(checkpoint)
    if isinstance(place, str):
        raise OrbitLensError(
            "`checkpoint`",
            expected="a local file",
            received=place,
            remedy="give a path, and copy the file from there",
        )
    return place


_T = TypeVar("_T")


def _one_each(name: str, value: _T | Sequence[_T], count: int) -> list[_T]:
    if not isinstance(value, Sequence | np.ndarray):
        return [value] * count
    if len(value) != count or count == 0:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"one for all, or one for each of the {count} SAEs",
            received=len(value),
            remedy="give lists of equal length, at least one SAE",
        )
    return list(value)


def _check_members(
    saes: Sequence[SAE], stores: Sequence[ActivationStore], chosen: Sequence[Objective]
) -> None:
    """Check that SAEs, stores and objectives fit together, before anything is changed."""
    if not saes or len({id(sae) for sae in saes}) != len(saes):
        raise OrbitLensError(
            "`sae`",
            expected="at least one SAE, each of them once",
            received=f"{len(saes)}, {len({id(sae) for sae in saes})} of them different",
            remedy="build one SAE for each member",
        )
    for sae, store, objective in zip(saes, stores, chosen, strict=True):
        _check_pair(sae, store, views_of(objective))


def _data(
    stores: Sequence[ActivationStore],
    samples: Int[np.ndarray, " n"] | None,
    saes: Sequence[SAE],
    batch_size: int,
    memory: int,
    seed: int,
) -> list[TrainingData]:
    """Read each store once if all fit into memory, or prepare to read them as they are needed."""
    distinct = {id(store): store for store in stores}
    wanted = {
        key: store.split()[0] if samples is None else samples for key, store in distinct.items()
    }
    counts = {len(wanted[key]) * store.positions for key, store in distinct.items()}
    if len(counts) != 1:
        raise OrbitLensError(
            "`store`",
            expected="stores with equally many training samples",
            received=sorted(counts),
            remedy="train SAEs of stores of other sizes apart",
        )
    (n,) = counts
    copies = 2 if any(sae.dictionary.has_coordinates for sae in saes) else 1
    needed = sum(4 * copies * n * each.group.order * each.dim for each in distinct.values())
    device = saes[0].b_dec.device
    if needed <= memory:
        read = {key: HeldData(store, wanted[key], device) for key, store in distinct.items()}
        return [read[id(store)] for store in stores]
    share = memory // len(distinct)
    streamed = {
        key: StreamedData(
            store, wanted[key], device, batch_size=batch_size, memory=share, seed=seed
        )
        for key, store in distinct.items()
    }
    return [streamed[id(store)] for store in stores]


def _members(
    saes: Sequence[SAE],
    data: Sequence[TrainingData],
    chosen: Sequence[Objective],
    seeds: Sequence[int],
) -> list[Member]:
    """Prepare the SAEs: activations are scaled, and a new bias starts at their mean."""
    members = []
    for sae, own, objective, seed in zip(saes, data, chosen, seeds, strict=True):
        sae.fold_scale_(1.0 / own.scale)
        if not sae.b_dec.any():
            sae.dictionary.center_(own.orbit_mean)
        generator = torch.Generator().manual_seed(seed)
        members.append(Member(sae, own, objective, views_of(objective), seed, generator))
    return members


def _check_pair(sae: SAE, store: ActivationStore, names: Sequence[str]) -> None:
    if sae.d_in != store.dim:
        raise OrbitLensError(
            "`sae`",
            expected=f"d_in = {store.dim}, the width of the store",
            received=sae.d_in,
            remedy=f"build the SAE with d_in={store.dim}",
        )
    sae.dictionary.check_views(names)
    _check_layer(sae, store)
    blocks = sae.dictionary.orbit_order
    if blocks and blocks != store.group.order:
        raise OrbitLensError(
            "`store`",
            expected=f"orbits of {blocks} elements, as the crosscoder",
            received=store.group.order,
            remedy="build the crosscoder with `group_order=store.group.order`",
        )


def _check_layer(sae: SAE, store: ActivationStore) -> None:
    """Check that an orbit SAE was built for this layer; its group need not be that of the store."""
    source = f"{store.model}:{store.layer}"
    tied = sae.dictionary.source
    if tied and tied != source:
        raise OrbitLensError(
            "`sae`",
            expected=f"an orbit SAE built on the transport of {source}, as the store",
            received=f"one on the transport of another layer, {tied}",
            remedy="fit an exact transport on activations of this layer and build the SAE on it",
        )


def _grouped(members: Sequence[Member]) -> list[list[Member]]:
    """Members that can share every operation, those of one objective side by side."""
    groups: dict[object, list[Member]] = {}
    rank = {id(member.objective): place for place, member in reversed(list(enumerate(members)))}
    for member in sorted(members, key=lambda member: rank[id(member.objective)]):
        order = member.data.order if "orbit" in member.names else 0
        key = (stack_key(member.sae), member.names, order)
        groups.setdefault(key, []).append(member)
    return list(groups.values())


def _finished(member: Member) -> FitResult:
    """Settle the dictionary, calibrate the sparsity rule and fold the scale."""
    sae, data = member.sae, member.data
    for weights in sae.parameters():
        weights.data = weights.data.contiguous()
        weights.grad = None
    sae.dictionary.settle_()
    if sae.sparsity.learns:
        rows = data.every(-(-data.n * data.order // _CALIBRATED))
        with torch.no_grad():
            blocks = (sae.train()(part).pre for part in rows.split(256))
            sae.sparsity.calibrate_(blocks, len(rows))
    sae.eval()
    sae.fold_scale_(data.scale)
    status = "diverged" if member.diverged else "completed"
    return FitResult(sae=sae, history=member.history, status=status, scale=data.scale)
