"""Which layers of a network can be looked at: one forward pass that watches all of them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.activations.harvest._positions import kind_by_shape
from orbitlens.activations.harvest.hooks import (
    failed,
    kind_of,
    no_layers,
    not_reached,
    only_tensor,
    visit_calls,
)
from orbitlens.errors import OrbitLensError
from orbitlens.models import get_layer, layer_names


@final
@dataclass(frozen=True, eq=False)
class Survey:
    """What one forward pass has shown of some layers.

    Args:
        layers: The layers that can be looked at, in the order in which the network calls them.
        outputs: What each of them put out; a later layer may have written into it, so that only
            its shape counts.
        skipped: What is wrong with each of the others.
    """

    layers: dict[str, nn.Module]
    outputs: dict[str, Tensor]
    skipped: dict[str, str]


def survey(
    model: nn.Module, layers: tuple[str, ...] | None, inputs: Shaped[Tensor, "batch *axes"]
) -> Survey:
    """Run the network once and see which layers put out one tensor with a row per input.

    Args:
        model: The network, in evaluation mode and without gradients.
        layers: The layers wanted; None for all that can be used, where layers that put out the very
            tensor of one before, as containers do, are left out.
        inputs: A few inputs, ready for the network; more than one, lest anything pass for rows.

    Raises:
        OrbitLensError: If a layer that is wanted does not exist or cannot be used, or if none can;
            without `layers` also if the network fails.
    """
    names = layer_names(model) if layers is None else _checked(layers)
    modules = {name: get_layer(model, name) for name in names}
    calls: Counter[str] = Counter()
    first: dict[str, Any] = {}
    traces: dict[str, object] = {}

    def visit(name: str, output: Any) -> None:
        calls[name] += 1
        if calls[name] == 1:
            first[name], traces[name] = output, _trace(output)

    error = visit_calls(model, modules, inputs, visit)
    problems = {name: _problem(calls[name], first.get(name), inputs.shape) for name in names}
    skipped = {name: problem for name, problem in problems.items() if problem is not None}
    if layers is not None:
        for name, problem in skipped.items():
            raise _unusable(name, problem) if calls[name] else not_reached(name, inputs, error)
    elif error is not None:
        raise failed(inputs, error, "to run to its end")
    else:
        skipped |= _repeated({name: traces[name] for name in first if name not in skipped})
    usable = {name: only_tensor(first[name]) for name in first if name not in skipped}
    outputs = {name: tensor for name, tensor in usable.items() if tensor is not None}
    if not outputs:
        raise _none_usable(model, len(names))
    return Survey({name: modules[name] for name in outputs}, outputs, skipped)


def _checked(layers: tuple[str, ...]) -> tuple[str, ...]:
    if not layers:
        raise no_layers()
    twice = [name for name, count in Counter(layers).items() if count > 1]
    if twice:
        raise OrbitLensError(
            "`layers`",
            expected="every layer once",
            received=f"{twice[0]!r} {layers.count(twice[0])} times",
            remedy="leave the others out",
        )
    return layers


def _problem(calls: int, output: Any, inputs: torch.Size) -> str | None:
    """Say why a layer cannot be used on inputs of this shape; None if it can."""
    if calls == 0:
        return "no call in a forward pass"
    if calls > 1:
        return f"{calls} calls in a forward pass"
    tensor = only_tensor(output)
    if tensor is None:
        return f"no single floating point tensor, but {kind_of(output)}"
    shape = list(tensor.shape)
    if not shape or shape[0] != inputs[0]:
        return f"no row per input, but shape {shape} for {inputs[0]} inputs"
    if kind_by_shape(tensor) is None or 0 in shape:
        return f"no vectors, tokens or maps, but shape {shape}"
    # Square images have square maps: here the channels are where the width should be.
    of_squares = len(inputs) == 4 and inputs[2] == inputs[3]
    if of_squares and len(shape) == 4 and shape[1] == shape[2] != shape[3]:
        return f"channels last, shape {shape}"
    return None


def _trace(output: Any) -> object:
    """Return what two outputs have in common if they are the same numbers in the same memory.

    A layer that works in place puts out the memory of the layer before, but not its numbers: the
    tensor's version says how often it has been written to. Outputs are held until the pass is over,
    so that no memory is used twice.
    """
    tensor = only_tensor(output)
    if tensor is None or tensor.is_inference():  # these count no versions: never the same
        return object()
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor._version


def _repeated(traces: dict[str, object]) -> dict[str, str]:
    """Find layers that put out the same tensor as one before them, in the order of the calls."""
    owners: dict[object, str] = {}
    repeated = {}
    for name, trace in traces.items():
        owner = owners.setdefault(trace, name)
        if owner != name:
            repeated[name] = f"the same tensor as layer {owner!r}"
    return repeated


def _unusable(name: str, problem: str) -> OrbitLensError:
    return OrbitLensError(
        f"layer {name!r}",
        expected="one call in a forward pass, and out of it vectors [n, dim], tokens "
        "[n, positions, dim] or maps [n, dim, height, width]",
        received=problem,
        remedy="choose another layer, such as the block around it or one of its submodules",
    )


def _none_usable(model: nn.Module, submodules: int) -> OrbitLensError:
    return OrbitLensError(
        f"layers of {type(model).__name__}",
        expected="a submodule that is called once and puts out vectors, tokens or maps",
        received=f"{submodules} submodules, none of which does",
        remedy="wrap the network in nn.Sequential, where it is layer '0'",
    )
