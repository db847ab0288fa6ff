"""Harvesting: the activations of one layer over the orbits of all inputs.

Every input is moved by every element of the group, the network runs as far as the layer, and what
it puts out there is written shard by shard; memory does not grow with the number of inputs.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._fill_stores import harvested
from orbitlens.activations.harvest._inputs import Progress
from orbitlens.activations.harvest._job import Work
from orbitlens.activations.harvest._positions import check_choice, layout_of
from orbitlens.activations.harvest._reduction import Taking
from orbitlens.activations.harvest.hooks import check_called_once, evaluating, layer_output
from orbitlens.activations.store._address import address_of
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.data.lazy import Indexed, as_rows
from orbitlens.models import Prepare, as_they_are, get_layer


def harvest(
    model: nn.Module,
    *,
    layer: str,
    inputs: Shaped[Tensor, "n *axes"] | Indexed,
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
        inputs: The inputs x, [n, ...]; or what has a length and such items, as a list, a
            numpy.memmap, a data set of torch or `LazyInputs`, of which a batch is held at a time.
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
    check_choice(positions)
    work = Work(
        model=model,
        inputs=as_rows(inputs),
        action=action,
        target=address_of(out),
        labels=labels,
        class_names=class_names,
        batch_size=batch_size,
        dtype=dtype,
        workers=workers,
        resume=resume,
        prepare=as_they_are if prepare is None else prepare,
        name=name or type(model).__name__,
        progress=progress,
    )
    with evaluating(model):
        takings = {layer: _look(work, layer, positions)}
        # The case of one layer, all of whose channels are kept, of what `harvest_layers` does.
        stores, _ = harvested(work, takings, {layer: ""}, {"positions": positions})
    return stores[layer]


def _look(work: Work, layer: str, positions: str) -> Taking:
    """Show the network one input; return what to take of the layer's output."""
    submodule = get_layer(work.model, layer)
    # A copy: a network that begins in place must not write into the inputs of the user.
    trial = work.ready(work.inputs[:1].clone())
    check_called_once(work.model, submodule, trial, layer)
    output = layer_output(work.model, submodule, trial, layer)
    layout = layout_of(
        output,
        positions=positions,
        layer=layer,
        action=work.action,
        model=work.model,
        square=trial.shape[-2:-1] == trial.shape[-1:],
    )
    return Taking.of(layout, output)
