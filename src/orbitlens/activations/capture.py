"""Reading the output of one layer, and running the network no further than that layer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, one_line


class _LayerReachedError(BaseException):
    """Ends a forward pass; no `except Exception` in a network can swallow it."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Keep a network in evaluation mode and without gradients; restore every submodule's mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def layer_output(
    model: nn.Module, layer: nn.Module, inputs: Shaped[Tensor, "batch *axes"], name: str
) -> Float[Tensor, "batch *rest"]:
    """Return what a layer puts out for these inputs; nothing after it is computed.

    Args:
        model: The network, in evaluation mode.
        layer: One of its submodules.
        inputs: A batch, ready for the network.
        name: The layer's name, for messages.

    Raises:
        OrbitLensError: If the network fails before the layer, or if the layer's output is not one
            tensor with a row per input.
    """
    outputs: list[Any] = []

    def stop(_: nn.Module, __: object, output: Any) -> None:
        outputs.append(output)
        raise _LayerReachedError

    with _hook(layer, stop):
        error = _run(model, inputs)
    if not outputs:
        raise _not_reached(name, inputs, error)
    output = _only_tensor(outputs[0], name)
    if output.ndim == 0 or len(output) != len(inputs):
        raise OrbitLensError(
            f"layer {name!r}",
            expected=f"an output with one row for each of {len(inputs)} inputs",
            received=f"shape {list(output.shape)}",
            remedy="choose a layer that keeps the batch as its first axis",
        )
    return output.float()


def check_called_once(
    model: nn.Module, layer: nn.Module, inputs: Shaped[Tensor, "batch *axes"], name: str
) -> None:
    """Run the whole network once and check that it calls the layer exactly once.

    Whatever happens after the layer does not matter, not even an error.

    Raises:
        OrbitLensError: If the layer is called twice or more, or not at all.
    """
    calls: list[None] = []

    with _hook(layer, lambda *_: calls.append(None)):
        error = _run(model, inputs)
    if not calls:
        raise _not_reached(name, inputs, error)
    if len(calls) > 1:
        raise OrbitLensError(
            f"layer {name!r}",
            expected="to be called once in a forward pass",
            received=f"{len(calls)} calls",
            remedy="choose a layer that is used in one place, such as the block around it",
        )


@contextmanager
def _hook(layer: nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _run(model: nn.Module, inputs: Shaped[Tensor, "batch *axes"]) -> Exception | None:
    """Run the network until it ends, is stopped, or fails; return its error."""
    try:
        model(inputs)
    except _LayerReachedError:
        return None
    except Exception as error:
        return error
    return None


def _not_reached(
    name: str, inputs: Shaped[Tensor, "batch *axes"], error: Exception | None
) -> OrbitLensError:
    if error is None:
        return OrbitLensError(
            f"layer {name!r}",
            expected="to be called in a forward pass",
            received="no call",
            remedy="choose a layer that the network calls as a module",
        )
    failure = OrbitLensError(
        f"the network on inputs of shape {list(inputs.shape)}",
        expected=f"to run as far as layer {name!r}",
        received=f"{type(error).__name__}: {one_line(error)}",
        remedy="make the inputs ready with `prepare`, or choose inputs that the network accepts",
    )
    failure.__cause__ = error
    return failure


def _only_tensor(output: Any, name: str) -> Float[Tensor, "..."]:
    parts = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(parts, (tuple, list)):
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if len(tensors) == 1 and parts[0] is tensors[0]:
            output = tensors[0]
    if isinstance(output, Tensor) and output.is_floating_point():
        return output
    kind = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
    if isinstance(parts, (tuple, list)):
        kind += f" of ({', '.join(type(part).__name__ for part in parts)})"
    raise OrbitLensError(
        f"layer {name!r} whose output is not a tensor",
        expected="one floating point tensor, alone or first in a tuple",
        received=kind,
        remedy="choose one of its submodules, or a layer after it",
    )
