"""Read the outputs of layers; the network stops after the last of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
    """Keep a network in evaluation mode, without gradients; restore every submodule's mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # Not inference mode: its tensors do not count writes in place.
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def layer_outputs(
    model: nn.Module, layers: Iterable[str], inputs: Shaped[Tensor, "batch *axes"]
) -> dict[str, Float[Tensor, "batch *_"]]:
    """Return the outputs of several layers for a batch, in one forward pass.

    The network runs in evaluation mode, without gradients, up to the last of the layers; its mode
    is restored. If a layer is called more than once, the first call counts.

    Args:
        model: Any network.
        layers: Dotted names of its submodules, at least one.
        inputs: A batch, ready for the network and on its device.

    Returns:
        A copy of each layer's whole output, in the order in which the network calls the layers.

    Raises:
        OrbitLensError: If there is no such layer, if the network fails before the last layer, or if
            an output is not one tensor with a row per input.

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
    """Run a network up to the last of some layers and take a part of each one's output.

    `take` gets a layer's name and its output as soon as the layer has run. The part must be a copy
    if a later layer may write into the output in place. The network is in evaluation mode. The
    parts come in the order of the calls.
    """
    taken: dict[str, Tensor] = {}
    failures: list[OrbitLensError] = []

    def visit(name: str, output: Any) -> None:
        if name in taken:
            return
        try:
            taken[name] = take(name, _row_per_input(output, name, len(inputs)))
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


def check_called_once(
    model: nn.Module, layer: nn.Module, inputs: Shaped[Tensor, "batch *axes"], name: str
) -> None:
    """Run the whole network once and check that it calls the layer exactly once.

    An error after the layer does not matter. The network is in evaluation mode.
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
    """Run the network and pass every output of every layer to `visit`; return its error, if any."""
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(
                layer.register_forward_hook(lambda _, __, out, name=name: visit(name, out)).remove
            )
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
    """Return the error for a layer that was not called; `error` is that of the network, if any."""
    if error is not None:
        return network_failed(inputs, error, f"to run as far as layer {name!r}")
    return OrbitLensError(
        f"layer {name!r}",
        expected="to be called in a forward pass",
        received="no call",
        remedy="choose a layer that the network calls as a module",
    )


def network_failed(
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
    """Return the only floating tensor of a layer's output; None if there is no such tensor.

    A tuple or dictionary must begin with its only tensor.
    """
    parts = _parts(output)
    if parts is not None:
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if len(tensors) == 1 and parts[0] is tensors[0]:
            output = tensors[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def kind_of(output: Any) -> str:
    """Return the type of a layer's output in words."""
    kind = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
    parts = _parts(output)
    if parts is not None:
        kind += f" of ({', '.join(type(part).__name__ for part in parts)})"
    return kind


def _parts(output: Any) -> list[Any] | None:
    if isinstance(output, Mapping):
        return list(output.values())
    return list(output) if isinstance(output, (tuple, list)) else None


def _row_per_input(output: Any, name: str, rows: int) -> Float[Tensor, "batch *rest"]:
    """Return the only tensor of an output, if it has a row for each input."""
    tensor = only_tensor(output)
    if tensor is None:
        raise OrbitLensError(
            f"layer {name!r} whose output is not a tensor",
            expected="one floating point tensor, alone or the only one of a tuple and its first "
            "entry",
            received=kind_of(output),
            remedy="choose one of its submodules, or a layer after it",
        )
    if tensor.ndim == 0 or len(tensor) != rows:
        raise OrbitLensError(
            f"layer {name!r}",
            expected=f"an output with one row for each of {rows} inputs",
            received=f"shape {list(tensor.shape)}",
            remedy="choose a layer that keeps the batch as its first axis",
        )
    return tensor
