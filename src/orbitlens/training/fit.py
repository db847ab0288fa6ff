"""`fit` trains one SAE or many.

Each step draws a batch of orbits and one group element per orbit, computes the tensors that the
objective names, and takes one step of Adam. The same seed gives the same bits. Many SAEs of equal
shapes train as a stack, each with its own seed, objective and history, and share every operation.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Unpack, overload

import numpy as np
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.checks import as_seed, usual_torch
from orbitlens.errors import OrbitLensError, warn
from orbitlens.kernels import steady
from orbitlens.sae import SAE
from orbitlens.training._alone import alone_with
from orbitlens.training._checkpoint import (
    Checkpoint,
    fingerprint,
    objective_name,
    sae_parts,
    store_identity,
)
from orbitlens.training._checks import (
    as_objective,
    as_saes,
    check_members,
    checked_settings,
    local_file,
    one_each,
    training_samples,
)
from orbitlens.training._data import TrainingData
from orbitlens.training._encode import searches_in_bfloat16
from orbitlens.training._held import HeldData
from orbitlens.training._lent import Lent
from orbitlens.training._loop import train
from orbitlens.training._member import History, Member, begin
from orbitlens.training._objective_values import objective_values
from orbitlens.training._settings import FitSettings
from orbitlens.training._source import Source
from orbitlens.training._stack import stack_key, unstack_
from orbitlens.training._steered import warn_of_drift, warn_of_few_firings
from orbitlens.training._steps import StackTraining
from orbitlens.training._streamed import StreamedData
from orbitlens.training._views import Objective, views_of
from orbitlens.training.curves import blew_up
from orbitlens.typing import Int

_IDENTITY = ("batch_size", "epochs", "lr", "lr_decay", "dead_after", "revival_weight")
_CALIBRATED = 2**15
"""Rows from which a sparsity rule learns its threshold."""


@dataclass(frozen=True, repr=False)
class FitResult:
    """A trained SAE and its history.

    Args:
        sae: The SAE, in evaluation mode, for unscaled activations (the scale is folded).
        history: One entry per epoch.
        status: "completed"; or "diverged" if the loss stopped being finite, which ends training, or
            if it ended far above its start or the reconstructions far worse than the mean
            activation. Such an SAE is of no use; train with a smaller `lr`.
        scale: The factor on the activations during training.
    """

    sae: SAE
    history: History
    status: str
    scale: float

    def __repr__(self) -> str:
        losses, explained = self.history.loss, self.history.explained_variance
        last = f", loss {losses[-1]:.4g}, explained variance {explained[-1]:.4g}" if losses else ""
        return f"FitResult({self.status}, epochs {len(losses)}{last})"


@overload
def fit(
    sae: SAE,
    store: ActivationStore,
    *,
    objective: Objective | str = ...,
    seed: int = ...,
    **settings: Unpack[FitSettings],
) -> FitResult: ...


@overload
def fit(
    sae: Sequence[SAE],
    store: ActivationStore | Sequence[ActivationStore],
    *,
    objective: Objective | str | Sequence[Objective | str] = ...,
    seed: int | Sequence[int] = ...,
    **settings: Unpack[FitSettings],
) -> list[FitResult]: ...


@steady()
def fit(
    sae: SAE | Sequence[SAE],
    store: ActivationStore | Sequence[ActivationStore],
    *,
    objective: Objective | str | Sequence[Objective | str] = objectives.reconstruction,
    seed: int | Sequence[int] = 0,
    **settings: Unpack[FitSettings],
) -> FitResult | list[FitResult]:
    """Train an SAE, or a list of SAEs at once, on augmented orbits.

    Activations are scaled to a mean square of one per dimension while training. The scale is folded
    into the weights afterwards, so the trained SAE takes unscaled activations. An untrained bias
    starts at the mean activation; a trained SAE continues from its weights.

    Activations stay in memory if they fit into `memory_gib`. Otherwise they are read in shuffled
    buffers of that size; SAEs in a list then share the order of the first seed. A step computes the
    gradient of the selected codes alone and never stores the matrix of all pre-activations. With
    bias adaptation it counts what fires, and the rule changes the biases, see
    `sae.BiasAdaptation`; dead latents come back by that, and `revival_weight` does not apply.

    In a list, members with equal parts, shapes and k, whose objectives name the same views, form
    one stack. Each member gets the result that it would get alone with its seed, to rounding; small
    SAEs train several times faster. A store, objective or seed that is not a list serves all.

    A training that ends early, by Ctrl-C, SIGTERM or any error, leaves each SAE for unscaled
    activations, with the weights that it has by then and the modes that it had; between two epochs
    these are the weights of that many epochs. Before its first step an SAE stays as it was, to the
    bit. Frozen weights (`requires_grad` False) keep their values, but for a bias at zero that bias
    adaptation wants at the mean, see `centre`. Gradients, default type, device and autocast of
    torch may be set to anything; training uses float32, and puts them back.

    Args:
        sae: The SAE, or a list; trained in place, on its device, in float32.
        store: Activations of orbits, element 0 the canonical sample; or one store for each SAE,
            all with equally many training samples.
        objective: A function of the views that it names, or the name of one in `objectives`,
            default `objectives.reconstruction`; or one for each SAE. Members that share an
            objective evaluate it under `torch.vmap`, so it must not branch on values.
        seed: Seed of the order of the orbits and of the elements drawn, default 0; or one for each
            SAE.
        epochs: Passes over the training orbits, default 100.
        batch_size: Orbits per step, default 256.
        lr: Learning rate of Adam, default 5e-4.
        lr_decay: Share of the epochs, at the end, over which the learning rate falls linearly to
            zero, epoch by epoch; default 0, a constant rate.
        samples: Samples to train on, as indices, shape [n], or a boolean mask of all samples;
            default None, the training part of `store.split()`. A sample that is given twice counts
            twice.
        revival_weight: Weight of `objectives.dead_latent_revival`, default 1/32; 0 turns it off. As
            many dead latents as the SAE keeps, k, explain the residual of a sample; if the target
            is an orbit, that of its canonical sample.
        dead_after: Epochs without firing after which a latent counts as dead, default 1. In an
            orbit SAE an atom is dead with all its latents once none of its orientations fires.
        precision: Precision of the search for the largest latents: "float32", "bfloat16", or "auto"
            (the default), which is bfloat16 for large SAEs on hardware with matrix units for it.
            Codes, gradients, weights and thresholds are computed in float32.
        memory_gib: Memory for activations, in GiB, default 4.
        checkpoint: A local file, default None for none. It is written at intervals, on SIGTERM and
            on Ctrl-C. If it exists, training continues from it, to the same bits. It stays; remove
            it once the SAE is saved.
        checkpoint_seconds: Seconds between two checkpoints, default 600.
        progress: A function called after each epoch with (epoch, epochs, loss), the mean loss of
            the SAEs; default None.

    Returns:
        The SAE, its history and its status; for a list, one result for each SAE, in its order.

    Raises:
        OrbitLensError: If a setting is unknown, widths differ, a number is out of range, an
            objective names an unknown view or one that an SAE lacks, lists differ in length, an
            orbit SAE was built on the transport of another layer, the memory is too small to read a
            part of the store, the checkpoint belongs to another training (also of an objective of
            the same name with other values), or SAEs are not in float32, frozen as a whole, share
            weights, or are in training already.

    Warns:
        OrbitLensWarning: If the activations are constant, so that there is nothing to learn, or if
            the training in the checkpoint began with other weights; of bias adaptation also if the
            lowest target is hard to tell from none, if the training is too short to change a bias,
            or if loss, l0 or the number of dead latents kept rising at the end.

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
    chosen = checked_settings(settings)
    file = None if chosen["checkpoint"] is None else local_file(chosen["checkpoint"])
    saes = as_saes(sae)
    stores = one_each("store", store, len(saes))
    named: list[object] = one_each("objective", objective, len(saes))
    minimised = [as_objective(each) for each in named]
    seeds = [as_seed(each) for each in one_each("seed", seed, len(saes))]
    check_members(saes, stores, minimised)
    half = searches_in_bfloat16(chosen["precision"], saes[0])
    samples = {id(each): training_samples(chosen["samples"], each) for each in stores}
    identity = {
        **{name: value for name, value in chosen.items() if name in _IDENTITY},
        "seed": seeds,
        "bfloat16": half,
        "objective": [objective_name(each) for each in minimised],
        "sae": [sae_parts(each) for each in saes],
        "store": [store_identity(each) for each in stores],
        "samples": fingerprint(None if chosen["samples"] is None else samples[id(stores[0])]),
    }
    with usual_torch(), alone_with(saes):
        data, sources = _load(stores, samples, saes, chosen, seeds[0])
        identity["batches"] = batches = -(-sources[0].n // chosen["batch_size"])
        identity["memory_gib"] = chosen["memory_gib"] if data.depends_on_memory else "all"
        members = [
            Member(*each, torch.Generator().manual_seed(each[-1]), Lent(each[0]))
            for each in zip(saes, sources, minimised, map(views_of, minimised), seeds, strict=True)
        ]
        for member in members:
            warn_of_few_firings(member.sae, member.source.n * chosen["epochs"])
        stacks: list[StackTraining] = []
        try:
            for member in members:
                begin(member)
            for group in _group(members):
                stacks.append(  # noqa: PERF401  # each is known from its start, should the next fail
                    StackTraining(group, data, batch_size=chosen["batch_size"], half=half)
                )
            checkpoint = None
            if file is not None:
                start = {f"{i}.{n}": own for i, each in enumerate(members) for n, own in each.lent}
                values = [objective_values(m.objective, m.sae, m.source.order) for m in members]
                checkpoint = Checkpoint(file, identity, start, chosen["checkpoint_seconds"], values)
            train(stacks, chosen, batches, checkpoint)
            _give_back(stacks, data)
        except BaseException:
            _leave(members, stacks, data)
            raise
    results = [_result(member) for member in members]
    for result in results:
        warn_of_drift(result.sae, result.history)
    return results[0] if isinstance(sae, SAE) else results


def _load(
    stores: Sequence[ActivationStore],
    samples: Mapping[int, Int[np.ndarray, " n"]],
    saes: Sequence[SAE],
    settings: FitSettings,
    seed: int,
) -> tuple[TrainingData, list[Source]]:
    """Hold all stores in memory if they fit, or stream them; return the source of each SAE."""
    distinct = list({id(store): store for store in stores}.values())
    wanted = [samples[id(store)] for store in distinct]
    pairs = list(zip(distinct, wanted, strict=True))
    counts = {len(own) * store.positions for store, own in pairs}
    if len(counts) != 1:
        raise OrbitLensError(
            "`store`",
            expected="stores with equally many training samples",
            received=sorted(counts),
            remedy="train SAEs of stores of other sizes in another call",
        )
    (n,) = counts
    copies = 2 if any(sae.dictionary.has_coordinates for sae in saes) else 1
    needed = sum(4 * copies * n * store.group.order * store.dim for store in distinct)
    memory, device = int(settings["memory_gib"] * 2**30), saes[0].b_dec.device
    data: TrainingData
    if needed <= memory:
        data = HeldData(distinct, wanted, device)
    else:
        batch_size = settings["batch_size"]
        data = StreamedData(
            distinct, wanted, device, batch_size=batch_size, memory=memory, seed=seed
        )
    places = {id(store): source for store, source in zip(distinct, data.sources, strict=True)}
    for store in distinct:
        if not places[id(store)].varies:
            warn(
                f"training on layer {store.layer!r}",
                found="its activations are constant, so there is nothing to learn",
                remedy="choose another layer",
            )
    return data, [places[id(store)] for store in stores]


def _group(members: Sequence[Member]) -> list[list[Member]]:
    """Group members that can share every operation, those of one objective side by side."""
    groups: dict[object, list[Member]] = {}
    rank = {id(member.objective): place for place, member in reversed(list(enumerate(members)))}
    for member in sorted(members, key=lambda member: rank[id(member.objective)]):
        order = member.source.order if "orbit" in member.names else 0
        key = (stack_key(member.sae), member.names, order)
        groups.setdefault(key, []).append(member)
    return list(groups.values())


def _give_back(stacks: Sequence[StackTraining], data: TrainingData) -> None:
    """Copy the weights of stacks to their members, and finish these, each whatever happens."""
    with ExitStack() as ends:
        for stack in stacks:
            waiting = [member for member in stack.members if not member.given_back]
            if len(waiting) == len(stack.members):
                unstack_(stack.sae, [member.sae for member in stack.members])
            for member in waiting:
                ends.callback(_finish, member, data)


def _leave(members: Sequence[Member], stacks: Sequence[StackTraining], data: TrainingData) -> None:
    """Leave every SAE as trained so far, or as it was, after an end that nobody planned."""
    with ExitStack() as ends:
        for member in members:
            ends.callback(member.lent.put_back_modes)
        begun = [stack for stack in stacks if stack.begun]
        for stack in begun:
            if not stack.projected:  # stopped in the middle of a step
                stack.project()
        ends.callback(_give_back, begun, data)
        trained = [id(member) for stack in begun for member in stack.members]
        for member in members:
            if id(member) not in trained:
                ends.callback(member.lent.put_back)


def _finish(member: Member, data: TrainingData) -> None:
    """Settle the dictionary, calibrate the sparsity rule and fold the scale."""
    sae, source = member.sae, member.source
    for weights in sae.parameters():
        weights.data = weights.data.contiguous()
        weights.grad = None
    try:
        sae.dictionary.settle_()
        if sae.sparsity.learns:
            rows = data.every(source, -(-source.n * source.order // _CALIBRATED))
            with torch.no_grad():
                blocks = (sae.train()(part).pre for part in rows.split(256))
                sae.sparsity.calibrate_(blocks, len(rows))
    finally:
        sae.eval()
        sae.fold_scale_(source.scale)
        member.lent.put_back_frozen()
        member.given_back = True


def _result(member: Member) -> FitResult:
    history = member.history
    lost = member.diverged or blew_up(history.loss, history.explained_variance)
    status = "diverged" if lost else "completed"
    return FitResult(sae=member.sae, history=history, status=status, scale=member.source.scale)
