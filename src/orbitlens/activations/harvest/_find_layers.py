"""Find the layers of a network that can be harvested, and the layouts of their outputs."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._hooks import (
    network_failed,
    no_layers,
    not_reached,
    visit_calls,
)
from orbitlens.activations.harvest._outputs import kind_of, of_many_views, only_tensor
from orbitlens.activations.layout import (
    Layouts,
    OutputAxes,
    Unclear,
    find_layouts,
    layouts_of,
)
from orbitlens.data import Rows
from orbitlens.errors import OrbitLensError
from orbitlens.models import get_layer, layer_names, network_of_views

_FEW = 3  # no axis of a network is likely to have this size, which tells rows from other axes


def few_moved(inputs: Rows, action: Action) -> Shaped[Tensor, "3 *axes"]:
    """Return three moved inputs, the same ones again if there are no more."""
    moved = action.orbit(inputs[:_FEW].clone()).flatten(0, 1)[:_FEW]
    return moved.repeat(_FEW, *[1] * (moved.ndim - 1))[:_FEW]


def find_axes(
    model: nn.Module,
    layers: Iterable[str],
    moved: Shaped[Tensor, "3 *axes"],
    *,
    action: Action,
    ready: Callable[[Tensor], Tensor],
    layout: Layouts = None,
) -> dict[str, OutputAxes | Unclear]:
    """Find the layouts of the outputs of layers, which the network calls once."""
    modules = {name: get_layer(model, name) for name in layers}

    def run(batch: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}

        def visit(name: str, output: Any) -> None:
            tensor = only_tensor(output)
            if tensor is not None and name not in outputs:
                outputs[name] = tensor

        error = visit_calls(model, modules, batch, visit)
        missing = [name for name in modules if name not in outputs]
        if missing:
            raise not_reached(missing[0], batch, error)
        return {name: outputs[name] for name in modules}

    return find_layouts(run, moved, action=action, ready=ready, model=model, layout=layout)


def find_layers(
    model: nn.Module, layers: tuple[str, ...] | None, inputs: Shaped[Tensor, "batch *axes"]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Run a network once; return the outputs of usable layers, and the problems of the others.

    A layer is usable if its output is one tensor with a row per input. Only the shapes of the
    outputs count: later layers may write into them.

    Without `layers` all usable ones are found, except those that hand on the tensor of an earlier
    layer, as containers do. A problem of a layer in `layers` is an error. Several inputs are needed
    to tell rows from other axes.
    """
    names = layer_names(model) if layers is None else _check_once(layers)
    modules = {name: get_layer(model, name) for name in names}
    calls: Counter[str] = Counter()
    first: dict[str, Any] = {}
    traces: dict[str, object] = {}

    def visit(name: str, output: Any) -> None:
        calls[name] += 1
        if calls[name] == 1:
            first[name], traces[name] = output, _trace(output)

    error = visit_calls(model, modules, inputs, visit)
    problems = {
        name: _problem(calls[name], first.get(name), inputs.shape, network_of_views(model, name))
        for name in names
    }
    skipped = {name: problem for name, problem in problems.items() if problem is not None}
    if layers is not None:
        for name, problem in skipped.items():
            raise _unusable(name, problem) if calls[name] else not_reached(name, inputs, error)
    elif error is not None:
        raise network_failed(inputs, error, "to run to its end")
    else:
        skipped |= _find_repeated({name: traces[name] for name in first if name not in skipped})
    usable = {name: only_tensor(first[name]) for name in first if name not in skipped}
    outputs = {name: tensor for name, tensor in usable.items() if tensor is not None}
    if not outputs:
        raise _none_usable(model, len(names))
    return outputs, skipped


def _check_once(layers: tuple[str, ...]) -> tuple[str, ...]:
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


def _problem(calls: int, output: Any, inputs: torch.Size, many: str | None) -> str | None:
    """Return why a layer cannot be used on inputs of this shape; None if it can.

    `many` is the name of the network that sees several views of each input and holds the layer.
    """
    if calls == 0:
        return "no call in a forward pass"
    if calls > 1:
        return f"{calls} calls in a forward pass"
    tensor = only_tensor(output)
    if tensor is None:
        return f"no single dense floating point tensor, but {kind_of(output)}"
    shape = list(tensor.shape)
    if not shape or shape[0] != inputs[0]:
        found = f"no row per input, but shape {shape} for {inputs[0]} inputs"
        return found if many is None else f"{found}; {of_many_views(many)}"
    if not layouts_of(tuple(shape)) or 0 in shape:
        return f"no vectors, tokens or maps, but shape {shape}"
    return None


def _trace(output: Any) -> object:
    """Return a key that two outputs share if they are the same numbers in the same memory.

    A layer that works in place returns the memory of the layer before, but other numbers: the
    version of a tensor counts the writes to it. Outputs are held until the pass is over, so that no
    memory is used twice.
    """
    tensor = only_tensor(output)
    if tensor is None or tensor.is_inference():  # these count no versions: never the same
        return object()
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor._version


def _find_repeated(traces: dict[str, object]) -> dict[str, str]:
    """Find layers with the same output tensor as an earlier one, in the order of the calls."""
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
        received=f"{submodules} submodules, and none of them does",
        remedy="wrap the network in nn.Sequential, where it is layer '0'",
    )
