"""Reading the output of layers, and running the network no further than the last of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models import get_layer

Visit = Callable[[str, Any], None]
Take = Callable[[str, Tensor], Tensor]


class _LayerReachedError(BaseException):
    """Ends a forward pass; no `except Exception` in a network can swallow it."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Keep a network in evaluation mode and without gradients; restore every submodule's mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # Inference mode would do, but its tensors do not count the writes made in place.
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def layer_outputs(
    model: nn.Module, layers: Iterable[str], inputs: Shaped[Tensor, "batch *axes"]
) -> dict[str, Float[Tensor, "batch *_"]]:
    """Return what several layers put out for these inputs, in one forward pass.

    The network runs in evaluation mode, without gradients, as far as the last of the layers; its
    mode is restored. Of a layer that is called more than once, the first call counts.

    Args:
        model: Any network.
        layers: Dotted names of its submodules, at least one.
        inputs: A batch, ready for the network and where it is.

    Returns:
        A copy of each layer's whole output, in the order in which the network calls them.

    Raises:
        OrbitLensError: If there is no such layer, if the network fails before the last of them, or
            if the output of one is not one tensor with a row per input.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
        >>> outputs = layer_outputs(model, ["2", "0"], torch.rand(5, 4))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'0': (5, 3), '2': (5, 2)}
    """
    modules = {name: get_layer(model, name) for name in layers}
    if not modules:
        raise no_layers()
    with evaluating(model):
        return take_outputs(model, modules, inputs, lambda _, output: output.clone())


def take_outputs(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    inputs: Shaped[Tensor, "batch *axes"],
    take: Take,
) -> dict[str, Tensor]:
    """Return what is taken out of each layer's output; nothing after the last one is computed.

    Args:
        model: The network, in evaluation mode.
        layers: Some of its submodules by name, at least one.
        inputs: A batch, ready for the network.
        take: Called with a name and an output as soon as the layer has put it out. What it returns
            must be a copy where a later layer may write into the output in place.

    Raises:
        OrbitLensError: If the network fails before the last layer, or if the output of one is not
            one tensor with a row per input.
    """
    taken: dict[str, Tensor] = {}
    failures: list[OrbitLensError] = []

    def visit(name: str, output: Any) -> None:
        if name in taken:
            return
        try:
            taken[name] = take(name, _row_per_input(_only_tensor(output, name), name, len(inputs)))
        except OrbitLensError as failure:
            failures.append(failure)
        if failures or len(taken) == len(layers):
            raise _LayerReachedError

    error = visit_calls(model, layers, inputs, visit)
    if failures:
        raise failures[0]
    missing = [name for name in layers if name not in taken]
    if missing:
        raise not_reached(missing[0], inputs, error)
    return taken


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
    return take_outputs(model, {name: layer}, inputs, lambda _, output: output.float())[name]


def check_called_once(
    model: nn.Module, layer: nn.Module, inputs: Shaped[Tensor, "batch *axes"], name: str
) -> None:
    """Run the whole network once and check that it calls the layer exactly once.

    Whatever happens after the layer does not matter, not even an error.

    Raises:
        OrbitLensError: If the layer is called twice or more, or not at all.
    """
    calls: list[str] = []
    error = visit_calls(model, {name: layer}, inputs, lambda name, _: calls.append(name))
    if not calls:
        raise not_reached(name, inputs, error)
    if len(calls) > 1:
        raise OrbitLensError(
            f"layer {name!r}",
            expected="to be called once in a forward pass",
            received=f"{len(calls)} calls",
            remedy="choose a layer that is used in one place, such as the block around it",
        )


def visit_calls(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    inputs: Shaped[Tensor, "batch *axes"],
    visit: Visit,
) -> Exception | None:
    """Run the network and show every call of every layer, with its output, to `visit`.

    Returns:
        The error in which the network ended, None if there was none.
    """
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(_hook(layer, partial(_show, visit, name)))
        try:
            model(inputs)
        except _LayerReachedError:
            return None
        except Exception as error:
            return error
        return None


def not_reached(
    name: str, inputs: Shaped[Tensor, "batch *axes"], error: Exception | None
) -> OrbitLensError:
    """Return the error for a layer that was not called, because the network failed or never does.

    Args:
        name: The layer's name.
        inputs: What the network was given.
        error: The error in which the network ended, if any.
    """
    if error is not None:
        return failed(inputs, error, f"to run as far as layer {name!r}")
    return OrbitLensError(
        f"layer {name!r}",
        expected="to be called in a forward pass",
        received="no call",
        remedy="choose a layer that the network calls as a module",
    )


def failed(
    inputs: Shaped[Tensor, "batch *axes"], error: Exception, expected: str
) -> OrbitLensError:
    """Return the error for a network that failed on these inputs."""
    failure = OrbitLensError(
        f"the network on inputs of shape {list(inputs.shape)}",
        expected=expected,
        received=f"{type(error).__name__}: {one_line(error)}",
        remedy="make the inputs ready with `prepare`, or choose inputs that the network accepts",
    )
    failure.__cause__ = error
    return failure


def no_layers() -> OrbitLensError:
    """Return the error for an empty list of layers."""
    return OrbitLensError(
        "`layers`", expected="at least one", received="none", remedy="name the layers to look at"
    )


def only_tensor(output: Any) -> Float[Tensor, "..."] | None:
    """Return the only floating tensor of an output, alone or first in a tuple; else None."""
    parts = _parts(output)
    if parts is not None:
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if len(tensors) == 1 and parts[0] is tensors[0]:
            output = tensors[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def kind_of(output: Any) -> str:
    """Say what an output is, as "tuple of (Tensor, Tensor)" or "torch.int64"."""
    kind = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
    parts = _parts(output)
    if parts is not None:
        kind += f" of ({', '.join(type(part).__name__ for part in parts)})"
    return kind


def _parts(output: Any) -> list[Any] | None:
    if isinstance(output, Mapping):
        return list(output.values())
    return list(output) if isinstance(output, (tuple, list)) else None


def _only_tensor(output: Any, name: str) -> Float[Tensor, "..."]:
    tensor = only_tensor(output)
    if tensor is not None:
        return tensor
    raise OrbitLensError(
        f"layer {name!r} whose output is not a tensor",
        expected="one floating point tensor, alone or the only one of a tuple and its first entry",
        received=kind_of(output),
        remedy="choose one of its submodules, or a layer after it",
    )


def _row_per_input(
    output: Float[Tensor, "..."], name: str, rows: int
) -> Float[Tensor, "batch *rest"]:
    if output.ndim and len(output) == rows:
        return output
    raise OrbitLensError(
        f"layer {name!r}",
        expected=f"an output with one row for each of {rows} inputs",
        received=f"shape {list(output.shape)}",
        remedy="choose a layer that keeps the batch as its first axis",
    )


@contextmanager
def _hook(layer: nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _show(visit: Visit, name: str, _: nn.Module, __: object, output: Any) -> None:
    visit(name, output)
