"""Inputs on their way to a network: checked, moved by the group, made ready, in batches."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.store._write_store import check_finite
from orbitlens.data.base import Inputs
from orbitlens.data.lazy import Rows
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models.base import Prepare

Progress = Callable[[int, int], None]
Batches = tuple[Shaped[Tensor, "moved *axes"], ...]
Blocks = Iterator[dict[str, Float32[np.ndarray, "_ group *rest"]]]


def orbit_blocks(
    forward: Callable[[Tensor], dict[str, Float[Tensor, "moved *rest"]]],
    batches: Iterable[Batches],
    order: int,
    start: int = 0,
) -> Blocks:
    """Yield the activations of whole orbits, layer by layer, in the order of the inputs.

    Args:
        forward: From moved inputs to the activations of each layer, one row per moved input.
        batches: Whole orbits of consecutive inputs, in one or several batches.
        order: |G|.
        start: Index of the first input.

    Yields:
        The activations of consecutive inputs, each layer's [batch, |G|, ...].

    Raises:
        OrbitLensError: If an activation is NaN or infinite; names the layer.
    """
    for together in batches:
        outputs = [forward(moved) for moved in together]
        block = {}
        for name in outputs[0]:
            rows = torch.cat([output[name] for output in outputs])
            block[name] = rows.unflatten(0, (-1, order)).cpu().numpy()
            check_finite(block[name], start, f"activations of layer {name!r}")
        start += sum(map(len, together)) // order
        yield block


def counted(blocks: Blocks, n: int, progress: Progress | None, done: int = 0) -> Blocks:
    """Yield the same blocks, and report the inputs done once each has been dealt with."""
    for block in blocks:
        yield block
        done += len(next(iter(block.values())))
        if progress is not None:
            progress(done, n)


def moved_batches(
    inputs: Rows, action: Action, batch_size: int, start: int = 0, stop: int | None = None
) -> Iterator[Batches]:
    """Yield whole orbits of consecutive inputs, cut into batches of `batch_size` at most."""
    samples = max(1, batch_size // action.group.order)
    stop = len(inputs) if stop is None else stop
    for first in range(start, stop, samples):
        part = inputs[first : min(first + samples, stop)]
        yield action.orbit(part).flatten(0, 1).split(batch_size)


def check_inputs(inputs: Rows, action: Action, batch_size: int) -> None:
    """Check that there are inputs, that the action can move them, and the batch size.

    Raises:
        OrbitLensError: If there are none, if they cannot be moved, or if `batch_size` is below 1.
    """
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
    action.check(inputs if isinstance(inputs, Tensor) else inputs[:1])


def made_ready(prepare: Prepare, inputs: Shaped[Tensor, "n *axes"]) -> Tensor:
    """Return the inputs as the network takes them.

    Raises:
        OrbitLensError: If `prepare` fails, or returns no tensor.
    """
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


def device_of(model: nn.Module, inputs: Rows) -> torch.device:
    """Return where the network is; where the inputs are if it has no parameters."""
    parameter = next(model.parameters(), None)
    return inputs.device if parameter is None else parameter.device


def digest_of(
    inputs: Rows,
    labels: Int[np.ndarray, " labels"] | None,
    class_names: tuple[str, ...],
) -> str:
    """Return the fingerprint that the same inputs have as a data set."""
    if labels is None:
        return Inputs("inputs", inputs).digest
    named = class_names or tuple(map(str, range(int(labels.max()) + 1)))
    return Inputs("inputs", inputs, labels.astype(np.int64), named).digest
