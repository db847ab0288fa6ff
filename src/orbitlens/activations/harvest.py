"""Harvesting: the activations of one layer over the orbits of all inputs.

Every input is moved by every element of the group, the network runs as far as the layer, and what
it puts out there is streamed to a store; memory does not grow with the number of inputs.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions.base import Action
from orbitlens.activations.capture import check_called_once, evaluating, layer_output
from orbitlens.activations.positions import check_choice, layout_of
from orbitlens.activations.store import ActivationStore
from orbitlens.activations.stream import (
    Progress,
    check_inputs,
    device_of,
    digest_of,
    made_ready,
    orbit_blocks,
)
from orbitlens.activations.writer import check_labels, check_out, describe, write_store
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
    prepare: Prepare | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> ActivationStore:
    """Store psi(g x) for every input x and every group element g.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        layer: Dotted name of the submodule whose output is psi: a tensor, alone or first in a
            tuple, of vectors [n, dim], tokens [n, positions, dim] or maps [n, dim, height, width].
        inputs: The inputs x, [n, ...].
        action: How the group moves them.
        out: Folder to write, which must not exist; None (the default) keeps the store in memory.
        labels: One class index per input.
        class_names: Their names.
        positions: "cls", the first token; "mean", pooled over tokens or places; "all", one row per
            token or place, aligned over the group; "auto" (the default), cls where there is a class
            token and mean for other tokens and maps.
        batch_size: Moved inputs per forward pass.
        prepare: Makes moved inputs ready for the network; by default they are given as they are.
        name: Recorded name of the network; by default its class.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The store.

    Raises:
        OrbitLensError: If `out` exists, if inputs or labels do not fit, if the layer does not
            exist, is not called exactly once or puts out something else, if the positions asked for
            do not exist or move in an unknown way, or if an activation is NaN or infinite. Nothing
            is left on disk then.

    Example:
        >>> import torch
        >>> from orbitlens.actions import images
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.models import MLPAutoencoder
        >>> model, pictures = MLPAutoencoder(size=8, dim=16), torch.rand(5, 1, 8, 8)
        >>> harvest(model, layer="encoder", inputs=pictures, action=images(cyclic(4)))
        ActivationStore(in memory, n=5, group=C4, positions=1, dim=16)
    """
    out = None if out is None else Path(out)
    check_out(out)
    check_choice(positions)
    check_inputs(inputs, action, batch_size)
    check_labels(labels, class_names, len(inputs))
    submodule = get_layer(model, layer)
    device = device_of(model, inputs)
    prepare = as_they_are if prepare is None else prepare
    with evaluating(model):
        # A copy: a network that begins in place must not write into the inputs of the user.
        trial = made_ready(prepare, inputs[:1].clone().to(device))
        check_called_once(model, submodule, trial, layer)
        layout = layout_of(
            layer_output(model, submodule, trial, layer),
            positions=positions,
            layer=layer,
            action=action,
            model=model,
            square=trial.shape[-2:-1] == trial.shape[-1:],
        )

        def forward(moved: Tensor) -> dict[str, Float[Tensor, "moved *position dim"]]:
            ready = made_ready(prepare, moved.to(device))
            return {layer: layout.take(layer_output(model, submodule, ready, layer))}

        blocks = orbit_blocks(forward, inputs, action, batch_size, progress)
        return write_store(
            (block[layer] for block in blocks),
            n=len(inputs),
            out=out,
            labels=None if labels is None else labels.astype(np.int64),
            attributes=describe(
                group=action.group,
                action=action.name,
                action_config=action.config,
                model=name or type(model).__name__,
                layer=layer,
                digest=digest_of(inputs, labels, class_names),
                class_names=class_names,
                moves=layout.moves,
            ),
        )
