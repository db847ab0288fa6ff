"""Read the outputs of layers; the network stops after the last of them."""

import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.activations.harvest._outputs import row_per_input
from orbitlens.checks import as_seed
from orbitlens.data import Indexed, as_rows
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models import evaluating, get_layer

Visit = Callable[[str, Any], None]
_BATCH_NORM = "more than 1 value per channel when training"
Take = Callable[[str, Tensor], Tensor]


class _LayerReachedError(BaseException):
    """Ends a forward pass; no `except Exception` in a network can swallow it."""


def layer_outputs(
    model: nn.Module,
    layers: Iterable[str],
    inputs: Shaped[Tensor, "batch *axes"] | Indexed,
    *,
    seed_forward: int | None = None,
) -> dict[str, Float[Tensor, "batch *_"]]:
    """Return the outputs of several layers for a batch, in one forward pass.

    The network runs in evaluation mode, without gradients, up to the last of the layers; its mode
    is restored. If a layer is called more than once, the first call counts.

    Args:
        model: Any network.
        layers: Dotted names of its submodules, at least one.
        inputs: A batch, ready for the network and on its device.
        seed_forward: Seed for networks that draw random numbers, as in `harvest`.

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
    inputs = as_rows(inputs)[:]
    with evaluating(model):
        return seeded(
            lambda batch: take_outputs(model, modules, batch, lambda _, output: output.clone()),
            inputs,
            seed_forward,
        )


def seeded(
    run: Callable[[Tensor], dict[str, Tensor]],
    inputs: Shaped[Tensor, "batch *axes"],
    seed: int | None,
) -> dict[str, Tensor]:
    """Return what `run` gives for a batch; with a seed, for each input by itself.

    The random numbers of torch, NumPy and Python are seeded before each input. All inputs, and all
    elements of an orbit, then meet the same ones, whatever batch they are in: the network is a
    function. Generators of its own are not seeded.
    """
    if seed is None:
        return run(inputs)
    seed, parts = as_seed(seed, "seed_forward"), []
    for one in inputs.split(1):
        _seed_torch(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the one that a network may draw from
        random.seed(seed)
        parts.append(run(one))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _seed_torch(seed: int) -> None:
    """Seed every generator of torch that the machine has."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        # Far faster: torch.manual_seed notes the whole call stack, for a GPU that may come yet.
        torch.default_generator.manual_seed(seed)


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
            rows = row_per_input(output, name, len(inputs), model)
            taken[name] = take(name, rows)
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
            hooks.enter_context(
                layer.register_forward_hook(lambda _, __, out, name=name: visit(name, out))
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
    if isinstance(error, OrbitLensError):
        return error
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
    remedy = (
        "make the inputs ready with `prepare` (a function that python: names returns the network "
        "and its `prepare`), or choose inputs that the network accepts"
    )
    if _BATCH_NORM in str(error):
        remedy = "let its batch normalisation use running statistics, not those of a batch"
    failure = OrbitLensError(
        f"the network on inputs of shape {list(inputs.shape)}",
        expected=expected,
        received=f"{type(error).__name__}: {one_line(error)}",
        remedy=remedy,
    )
    failure.__cause__ = error
    return failure


def no_layers() -> OrbitLensError:
    """Return the error for an empty list of layers."""
    return OrbitLensError(
        "`layers`", expected="at least one", received="none", remedy="name the layers to look at"
    )
