"""Harvest one layer: its activations over the orbits of all inputs.

Every input is moved by every element of the group. The network runs up to the layer, and the
layer's output is written shard by shard; memory does not grow with the number of inputs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._fill_stores import fill_stores
from orbitlens.activations.harvest._find_layers import few_moved, find_axes
from orbitlens.activations.harvest._hooks import check_called_once, take_outputs
from orbitlens.activations.harvest._inputs import given_inputs
from orbitlens.activations.harvest._job import Job
from orbitlens.activations.harvest._positions import POSITIONS, Layout, chosen_layout
from orbitlens.activations.layout import Unclear, layouts_of
from orbitlens.activations.store._address import address_of
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.data import Indexed, Inputs
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.models import Prepare, get_layer, name_of_layer
from orbitlens.typing import Progress


def harvest(
    model: nn.Module,
    *,
    layer: str | nn.Module,
    inputs: Shaped[Tensor, "n *axes"] | Indexed | Inputs,
    action: Action,
    out: Path | str | None = None,
    labels: Int[np.ndarray, " labels"] | None = None,
    class_names: tuple[str, ...] = (),
    files: Sequence[str | Path] = (),
    positions: str = "auto",
    layout: str | None = None,
    batch_size: int = 256,
    dtype: str = "float32",
    workers: int = 1,
    resume: bool = False,
    prepare: Prepare | None = None,
    seed_forward: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> ActivationStore:
    """Store psi(g x) for every input x and every group element g.

    A shard is on disk as a whole or not at all. A harvest that was killed at any instant continues
    with `resume`, and ends with the same bits as an undisturbed one. The number of workers changes
    no bit either, if each has as many threads.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        layer: The submodule whose output is psi, or its dotted name. The output is a tensor, alone
            or first in a tuple: a vector for each input, tokens, or a map of one to three axes.
        inputs: The inputs x, [n, ...]; or anything with a length and such items, such as a list, a
            numpy.memmap, a data set of torch or `LazyInputs`. Memory holds one batch of these.
            `Inputs`, such as those of `image_folder`, bring labels, class names and files along.
        action: How the group moves the inputs.
        out: Folder to write, or URL that fsspec can reach, such as "s3://bucket/acts.zarr"; it must
            not exist. None (the default) keeps the store in memory.
        labels: One class index per input. None (the default) takes those of (input, label) pairs,
            if all are whole numbers from 0.
        class_names: The names of the classes.
        files: The file, or another name, of each input; default none. It is shown beside the input.
        positions: "cls", the first token; "mean", pooled over tokens or places; "all", one row per
            token or place, aligned over the group; "auto" (the default), cls if there is a class
            token and mean for other tokens and maps.
        layout: The axes of the output in letters: n for inputs, c for channels, l for tokens or
            places in a row, h and w (d, h, w) for those of a map; "n 1+l c" has a class token
            first. None (the default) finds them: by following the inputs through the network.
        batch_size: Moved inputs per forward pass, default 256.
        dtype: The type on disk: "float32" (the default), "float16" or "bfloat16".
        workers: Processes that run the network, default 1; they share the threads of torch. More
            than one need an `out` and a network that can be sent to a process.
        resume: Continue an interrupted harvest of the same settings, begin if there is none, and
            open the store if it is complete. An interruption or an error then leaves the finished
            shards; without `resume` (the default) only a kill does.
        prepare: Makes moved inputs ready for the network, each one for itself; by default they are
            given as they are.
        seed_forward: Seed for networks that draw random numbers: every input goes through the
            network by itself and meets the same ones. None (the default) refuses such networks.
        name: Recorded name of the network; by default its class.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The store.

    Raises:
        OrbitLensError: If `out` exists, is being written by another process or cannot be written;
            if a harvest there has other settings (says which); if inputs, labels or files do not
            fit; if the layer does not exist, is not called exactly once or has another kind of
            output; if its layout is not clear (lists the choices) or not the one given; if the
            positions do not exist or move in an unknown way; or if an activation is NaN, infinite
            or too large for `dtype`. Without `resume` nothing is left on disk then.

    Example:
        >>> import torch
        >>> from orbitlens.actions import images
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.models import MLPAutoencoder
        >>> model, pictures = MLPAutoencoder(size=8, dim=16), torch.rand(5, 1, 8, 8)
        >>> harvest(model, layer="encoder", inputs=pictures, action=images(cyclic(4)))
        ActivationStore(in memory, n=5, group=C4, positions=1, dim=16)
    """
    if positions not in POSITIONS:
        raise unknown_name("`positions`", positions, POSITIONS)
    layer = name_of_layer(model, layer)
    settings = {"positions": positions} | ({} if layout is None else {"layout given": layout})
    stores, _ = fill_stores(
        lambda job: {layer: _look(job, layer, positions, layout)},
        settings,
        model=model,
        **given_inputs(inputs, labels, class_names, files),
        action=action,
        target=address_of(out),
        batch_size=batch_size,
        dtype=dtype,
        workers=workers,
        resume=resume,
        prepare=prepare,
        seed_forward=seed_forward,
        name=name,
        progress=progress,
    )
    return stores[layer]


def _look(job: Job, layer: str, positions: str, layout: str | None) -> Layout:
    """Run the network on a few inputs and return the layout of the layer's activations."""
    submodule = get_layer(job.model, layer)
    # A copy: a network that begins in place must not write into the user's inputs.
    trial = job.ready(job.inputs[:1].clone())
    check_called_once(job.model, submodule, trial, layer)
    output = take_outputs(job.model, {layer: submodule}, trial, lambda _, output: output)[layer]
    shape = tuple(output.shape)
    if not layouts_of(shape):
        raise OrbitLensError(
            f"layer {layer!r}",
            expected="vectors [n, dim], tokens [n, positions, dim] or maps [n, dim, height, width]",
            received=f"shape {list(shape)}",
            remedy="choose another layer, or wrap the network so that it returns one of these",
        )
    axes = find_axes(
        job.model,
        [layer],
        few_moved(job.inputs, job.action),
        action=job.action,
        ready=job.ready,
        layout=layout,
    )[layer]
    if isinstance(axes, Unclear):
        raise axes.error()
    return chosen_layout(axes, shape, positions=positions, layer=layer, action=job.action)
