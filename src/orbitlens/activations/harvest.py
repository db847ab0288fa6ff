"""Harvesting: the activations of one layer over the orbits of all inputs.

Every input is moved by every element of the group, the network runs as far as the layer, and what
it puts out there is written shard by shard; memory does not grow with the number of inputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from orbitlens.actions.base import Action
from orbitlens.activations.address import address_of
from orbitlens.activations.capture import check_called_once, evaluating, layer_output
from orbitlens.activations.positions import check_choice, layout_of
from orbitlens.activations.precision import check_dtype
from orbitlens.activations.reader import open_root, open_store
from orbitlens.activations.settings import check_same, name_of, weights_digest
from orbitlens.activations.sharded import ShardWriter, in_shards
from orbitlens.activations.store import ActivationStore
from orbitlens.activations.stream import (
    Batches,
    Progress,
    check_inputs,
    counted,
    device_of,
    digest_of,
    made_ready,
    moved_batches,
    orbit_blocks,
)
from orbitlens.activations.unfinished import claimed, exists
from orbitlens.activations.workers import Psi, Task, harvest_in_workers
from orbitlens.activations.writer import check_labels, check_out, describe, written_store
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.models.base import Prepare, as_they_are
from orbitlens.models.layers import get_layer


def harvest(
    model: nn.Module,
    *,
    layer: str,
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
    out: Path | str | None = None,
    labels: Int[np.ndarray, " labels"] | None = None,
    class_names: tuple[str, ...] = (),
    positions: str = "auto",
    batch_size: int = 256,
    dtype: str = "float32",
    workers: int = 1,
    resume: bool = False,
    prepare: Prepare | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> ActivationStore:
    """Store psi(g x) for every input x and every group element g.

    The work is done shard by shard, and a shard is on disk as a whole or not at all. A harvest that
    was killed at any instant goes on with `resume`, to the very bits that it would have reached
    undisturbed. The number of workers changes no bit either, as long as each has as many threads.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        layer: Dotted name of the submodule whose output is psi: a tensor, alone or first in a
            tuple, of vectors [n, dim], tokens [n, positions, dim] or maps [n, dim, height, width].
        inputs: The inputs x, [n, ...].
        action: How the group moves them.
        out: Folder to write, or URL that fsspec can reach, such as "s3://bucket/acts.zarr"; it must
            not exist. None (the default) keeps the store in memory.
        labels: One class index per input.
        class_names: Their names.
        positions: "cls", the first token; "mean", pooled over tokens or places; "all", one row per
            token or place, aligned over the group; "auto" (the default), cls where there is a class
            token and mean for other tokens and maps.
        batch_size: Moved inputs per forward pass.
        dtype: How activations are stored: "float32" (the default), "float16" or "bfloat16".
        workers: Processes that run the network, 1 by default; they share the threads of torch.
            More than one need an `out` and a network that can be sent to a process.
        resume: Go on where an interrupted harvest of the same settings stopped, begin where there
            is none, and open the store where it is whole. An interruption, or an error, then leaves
            the shards that are done; without `resume` only a kill does.
        prepare: Makes moved inputs ready for the network; by default they are given as they are.
        name: Recorded name of the network; by default its class.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The store.

    Raises:
        OrbitLensError: If `out` exists, is being written by another process or cannot be written,
            if a harvest there has other settings (says which), if inputs or labels do not fit, if
            the layer does not exist, is not called exactly once or puts out something else, if the
            positions asked for do not exist or move in an unknown way, or if an activation is NaN,
            infinite or too large for `dtype`. Without `resume` nothing is left on disk then.

    Example:
        >>> import torch
        >>> from orbitlens.actions import images
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.models import MLPAutoencoder
        >>> model, pictures = MLPAutoencoder(size=8, dim=16), torch.rand(5, 1, 8, 8)
        >>> harvest(model, layer="encoder", inputs=pictures, action=images(cyclic(4)))
        ActivationStore(in memory, n=5, group=C4, positions=1, dim=16)
    """
    target = address_of(out)
    _check_workers(workers, target)
    check_dtype(dtype)
    if not resume:
        check_out(target)
    check_choice(positions)
    check_inputs(inputs, action, batch_size)
    check_labels(labels, class_names, len(inputs))
    device = device_of(model, inputs)
    prepare = as_they_are if prepare is None else prepare
    with evaluating(model):
        psi, shape = _look(model, layer, inputs, action, positions, prepare)
        attributes = describe(
            group=action.group,
            action=action.name,
            action_config=action.config,
            model=name or type(model).__name__,
            layer=layer,
            digest=digest_of(inputs, labels, class_names),
            class_names=class_names,
            moves=psi.layout.moves,
            dtype=dtype,
        )
        if target is not None:
            attributes["threads"] = max(1, torch.get_num_threads() // workers)
            attributes["settings"] = {
                "batch_size": batch_size,
                "positions": positions,
                "prepare": name_of(prepare),
                "weights digest": weights_digest(model),
            }
        if resume and target is not None and _is_whole(target):
            check_same(open_root(target).attrs.asdict(), attributes)
            return open_store(target)
        with claimed(target, resume=resume) as claim:
            writer = ShardWriter(
                claim,
                {layer: ""},
                {layer: attributes},
                {layer: shape},
                n=len(inputs),
                together=max(1, batch_size // action.group.order),
                labels=None if labels is None else labels.astype(np.int64),
            )

            def batches_of(shard: int) -> Iterator[Batches]:
                start, stop = writer.shards.span(shard)
                for batches in moved_batches(inputs[start:stop], action, batch_size):
                    yield tuple(made_ready(prepare, moved.to(device)) for moved in batches)

            _fill(writer, psi, batches_of, workers, progress)
            roots = writer.finish()
        return written_store(roots[layer], target)


def _look(
    model: nn.Module,
    layer: str,
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
    positions: str,
    prepare: Prepare,
) -> tuple[Psi, tuple[int, ...]]:
    """Show the network one input; return what to take of it, and the shape of an orbit."""
    submodule = get_layer(model, layer)
    # A copy: a network that begins in place must not write into the inputs of the user.
    trial = made_ready(prepare, inputs[:1].clone().to(device_of(model, inputs)))
    check_called_once(model, submodule, trial, layer)
    output = layer_output(model, submodule, trial, layer)
    layout = layout_of(
        output,
        positions=positions,
        layer=layer,
        action=action,
        model=model,
        square=trial.shape[-2:-1] == trial.shape[-1:],
    )
    return Psi(model, layer, layout), (action.group.order, *layout.take(output).shape[1:])


def _fill(
    writer: ShardWriter,
    psi: Psi,
    batches_of: Callable[[int], Iterator[Batches]],
    workers: int,
    progress: Progress | None,
) -> None:
    """Write the shards that are missing, here or in worker processes."""
    shards, todo, claim = writer.shards, writer.missing(), writer.claim
    attributes: dict[str, Any] = {**writer.roots[psi.layer].attrs.asdict()}
    order = writer.arrays[psi.layer].shape[1]
    done = shards.n - sum(stop - start for start, stop in map(shards.span, todo))
    if claim.address is None or claim.target is None or workers == 1:
        with _threads(attributes.get("threads")):
            blocks = chain.from_iterable(
                orbit_blocks(psi, batches_of(shard), order, shards.span(shard)[0]) for shard in todo
            )
            for shard, block in in_shards(counted(blocks, shards.n, progress, done), shards, todo):
                writer.write(shard, block)
        return

    def tick(samples: int) -> None:
        nonlocal done
        done += samples
        if progress is not None and samples:
            progress(done, shards.n)

    with _threads(attributes["threads"]):
        harvest_in_workers(
            Task(
                psi,
                claim.address,
                claim.target,
                dtype=attributes["dtype"],
                order=order,
                threads=attributes["threads"],
                device=device_of(psi.model, torch.empty(0)),
            ),
            batches_of,
            todo,
            workers=workers,
            written=lambda: setattr(claim, "keep", True),
            tick=tick,
        )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Run with as many threads as the harvest began with: other sums would round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_whole(target: Path | str) -> bool:
    """Whether a store is at its place; what is incomplete at a URL is there to be continued."""
    if isinstance(target, Path):
        return exists(target)
    return exists(target) and open_root(target).attrs.get("complete") is True


def _check_workers(workers: int, target: Path | str | None) -> None:
    if workers < 1:
        raise out_of_range("workers", "at least 1", workers)
    if workers > 1 and (target is None or str(target).startswith("memory://")):
        raise OrbitLensError(
            "`workers`",
            expected="1 for a store in memory",
            received=workers,
            remedy="give a folder as `out`, or leave `workers` out",
        )
