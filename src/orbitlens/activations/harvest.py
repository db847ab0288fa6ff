"""Harvesting: the activations of one layer over the orbits of all inputs.

Every input is moved by every element of the group, the network runs as far as the layer, and what
it puts out there is streamed to a store; memory does not grow with the number of inputs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions.base import Action
from orbitlens.activations.capture import check_called_once, evaluating, layer_output
from orbitlens.activations.positions import check_choice, layout_of
from orbitlens.activations.store import ActivationStore
from orbitlens.activations.writer import (
    check_finite,
    check_labels,
    check_out,
    describe,
    write_store,
)
from orbitlens.data.base import Inputs
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models.base import Prepare, as_they_are
from orbitlens.models.layers import get_layer

Progress = Callable[[int, int], None]


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
    _check_inputs(inputs, action, batch_size)
    check_labels(labels, class_names, len(inputs))
    submodule = get_layer(model, layer)
    device = _device(model, inputs)
    prepare = as_they_are if prepare is None else prepare
    with evaluating(model):
        trial = _made_ready(prepare, inputs[:1].to(device))
        check_called_once(model, submodule, trial, layer)
        layout = layout_of(
            layer_output(model, submodule, trial, layer),
            positions=positions,
            layer=layer,
            action=action,
            model=model,
            square=trial.shape[-2:-1] == trial.shape[-1:],
        )

        def forward(moved: Shaped[Tensor, "moved *axes"]) -> Float[Tensor, "moved *position dim"]:
            ready = _made_ready(prepare, moved.to(device))
            return layout.take(layer_output(model, submodule, ready, layer))

        return write_store(
            _blocks(forward, inputs, action, batch_size, progress),
            n=len(inputs),
            out=out,
            labels=None if labels is None else labels.astype(np.int64),
            attributes=describe(
                group=action.group,
                action=action.name,
                action_config=action.config,
                model=name or type(model).__name__,
                layer=layer,
                digest=_digest(inputs, labels, class_names),
                class_names=class_names,
                moves=layout.moves,
            ),
        )


def _blocks(
    forward: Callable[[Tensor], Tensor],
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
    batch_size: int,
    progress: Progress | None,
) -> Iterator[Float32[np.ndarray, "_ group *rest"]]:
    """Yield the activations of whole orbits, in the order of the inputs."""
    order, n = action.group.order, len(inputs)
    samples = max(1, batch_size // order)
    for start in range(0, n, samples):
        orbits = action.orbit(inputs[start : start + samples])
        moved = orbits.flatten(0, 1)
        outputs = torch.cat([forward(part) for part in moved.split(batch_size)])
        block = outputs.unflatten(0, (-1, order)).cpu().numpy()
        check_finite(block, start)
        yield block
        if progress is not None:
            progress(start + len(block), n)


def _check_inputs(inputs: Shaped[Tensor, "n *axes"], action: Action, batch_size: int) -> None:
    if inputs.ndim == 0 or len(inputs) == 0:
        raise OrbitLensError(
            "`inputs`", expected="at least one", received="none", remedy="give inputs to look at"
        )
    if batch_size < 1:
        raise OrbitLensError(
            "`batch_size`",
            expected="at least 1",
            received=batch_size,
            remedy="choose for example 256",
        )
    action.check(inputs)


def _made_ready(prepare: Prepare, inputs: Shaped[Tensor, "n *axes"]) -> Tensor:
    try:
        ready = prepare(inputs)
        if not isinstance(ready, Tensor):
            raise TypeError(f"it returned {type(ready).__name__}, not a tensor")
        return ready
    except Exception as error:
        raise OrbitLensError(
            f"`prepare` on inputs of shape {list(inputs.shape)}",
            expected="a function that makes them ready for the network",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="correct it, or give inputs that it accepts",
        ) from error


def _device(model: nn.Module, inputs: Shaped[Tensor, "n *axes"]) -> torch.device:
    parameter = next(model.parameters(), None)
    return inputs.device if parameter is None else parameter.device


def _digest(
    inputs: Shaped[Tensor, "n *axes"],
    labels: Int[np.ndarray, " labels"] | None,
    class_names: tuple[str, ...],
) -> str:
    """Return the fingerprint that the same inputs have as a data set."""
    if labels is None:
        return Inputs("inputs", inputs).digest
    named = class_names or tuple(map(str, range(int(labels.max()) + 1)))
    return Inputs("inputs", inputs, labels.astype(np.int64), named).digest
