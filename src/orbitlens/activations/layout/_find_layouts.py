"""The layout of the outputs of layers: which axis holds channels, which places, which first tokens.

Evidence counts in this order: the user's word; one pass that follows the axes of the inputs through
every function of the network; the shape of the inputs; the outputs for moved and for locally
changed inputs; the width that the network states. Whatever is still open is refused.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.layout._atoms import CHANNEL, PLACE, kind_of_axis
from orbitlens.activations.layout._axes import OutputAxes, layouts_of, read_layout
from orbitlens.activations.layout._trace import AxisTrace, axes_of_inputs, read_axes
from orbitlens.errors import OrbitLensError, unknown_name

Outputs = Mapping[str, Float[Tensor, "batch *_"]]
Layouts = str | Mapping[str, str] | None
_WIDTHS = ("hidden_size", "embed_dim", "d_model", "num_features", "n_embd")
_SAME, _OTHER = 0.05, 0.5  # of the squared difference of a moved output, where layouts differ
_LOCAL, _SPREAD = 0.4, 2.0  # shares of an axis that a local change reaches


@final
@dataclass(frozen=True)
class Unclear:
    """The axes of an output that stay open, and why."""

    layer: str
    reason: str
    choices: str

    def error(self) -> OrbitLensError:
        """Return the refusal."""
        return OrbitLensError(
            f"layer {self.layer!r}",
            expected="an output whose axes are known",
            received=self.reason,
            remedy=f"give `layout` (--layout) {self.choices}, or choose another layer",
        )


def find_layouts(
    run: Callable[[Tensor], Outputs],
    inputs: Shaped[Tensor, "n *axes"],
    *,
    action: Action | None,
    ready: Callable[[Tensor], Tensor] = lambda inputs: inputs,
    model: nn.Module | None = None,
    layout: Layouts = None,
) -> dict[str, OutputAxes | Unclear]:
    """Find the layout of every output of a network on a few inputs.

    Args:
        run: From inputs that are ready to the outputs of layers, by their names.
        inputs: At least two inputs as the action moves them; some may be moved.
        action: The action; None if there is none.
        ready: Makes inputs ready for the network.
        model: The network, which may state its widths and its first tokens.
        layout: What the user says: one layout for all outputs with so many axes, or one for each
            of some layers. None (the default) for nothing.

    Raises:
        OrbitLensError: If the user's layout is impossible, or if the network reads an axis of the
            inputs as channels that the action moves as places.
    """
    trace, outputs, shape = _follow(run, inputs, action, ready)
    if trace.moved_channel is not None and action is not None:
        raise _moved_channels(action, tuple(inputs.shape), trace.moved_channel)
    stated = _stated_layouts(layout, outputs)
    found: dict[str, OutputAxes | Unclear] = {}
    probe = _Probe(run, ready, inputs, action)
    for layer, output in outputs.items():
        size = tuple(output.shape)
        told = read_axes(trace.axes_of(output), size)
        axes: OutputAxes | str | None = told
        if layer in stated:
            axes = stated[layer]
            if isinstance(told, OutputAxes) and _same(told, axes):
                axes = told
        elif told is None:
            axes = _by_shape(size, inputs, action) or probe.choose(layer, size)
            axes = axes or _by_width(size, model)
        if isinstance(axes, OutputAxes):
            found[layer] = _with_tokens(axes, size, shape, action, model)
        else:
            found[layer] = _unclear(layer, size, axes)
    return found


def _follow(
    run: Callable[[Tensor], Outputs],
    inputs: Tensor,
    action: Action | None,
    ready: Callable[[Tensor], Tensor],
) -> tuple[AxisTrace, Outputs, tuple[int, ...]]:
    trace, copy = AxisTrace(action), inputs.clone()
    try:
        trace.begin(copy)
        with trace:
            prepared = ready(copy)
            shape = tuple(prepared.shape)
            return trace, run(prepared), shape
    except Exception:
        # Some networks do not bear to be watched; the other evidence is left.
        prepared = ready(inputs.clone())
        shape = tuple(prepared.shape)
        return AxisTrace(action), run(prepared), shape


def _stated_layouts(layout: Layouts, outputs: Outputs) -> dict[str, OutputAxes]:
    """Return the user's layouts for the outputs that they are for."""
    if layout is None:
        return {}
    if not isinstance(layout, Mapping):
        axes = read_layout(layout)
        fitting = {name: axes for name, output in outputs.items() if axes.fits(tuple(output.shape))}
        if not fitting:
            name, output = next(iter(outputs.items()))
            raise _impossible(name, axes, tuple(output.shape))
        return fitting
    found = {}
    for name, text in layout.items():
        if name not in outputs:
            raise unknown_name("`layout`", str(name), outputs)
        found[name] = read_layout(text, f"`layout` of layer {name!r}")
        if not found[name].fits(tuple(outputs[name].shape)):
            raise _impossible(name, found[name], tuple(outputs[name].shape))
    return found


def _impossible(layer: str, axes: OutputAxes, shape: tuple[int, ...]) -> OrbitLensError:
    return OrbitLensError(
        f"`layout` of layer {layer!r}",
        expected=f"{_choices(shape)} for shape {list(shape)}",
        received=f"'{axes}'",
        remedy="choose one of these, or leave `layout` out",
    )


def _same(told: OutputAxes, stated: OutputAxes) -> bool:
    return (told.letters, told.first) == (stated.letters, stated.first)


def _by_shape(shape: tuple[int, ...], inputs: Tensor, action: Action | None) -> OutputAxes | None:
    """Return the layout of the inputs for an output of their shape, such as a reconstruction."""
    if shape[1:] != tuple(inputs.shape[1:]):
        return None
    kinds = [kind_of_axis(axis) for axis in axes_of_inputs(action, tuple(inputs.shape))[1:]]
    usual = layouts_of(shape)
    fitting = [
        axes
        for axes in usual
        if all(
            kind in ("", CHANNEL if letter == "c" else PLACE)
            for letter, kind in zip(axes.letters, kinds, strict=True)
        )
    ]
    return fitting[0] if len(fitting) == 1 else None


def _by_width(shape: tuple[int, ...], model: nn.Module | None) -> OutputAxes | None:
    """Return the only layout whose channels are as many as the network states."""
    settings = (model, getattr(model, "config", None))
    stated = {getattr(each, name, None) for each in settings for name in _WIDTHS}
    stated |= {
        width
        for each in settings
        for width in getattr(each, "hidden_sizes", None) or ()
        if isinstance(width, int)
    }
    fitting = [axes for axes in layouts_of(shape) if axes.channels(shape) in stated]
    if len(fitting) != 1:
        return None
    axes = fitting[0]
    return replace(axes, first=None) if axes.letters == ("l", "c") else axes


@final
class _Probe:
    """Outputs for moved and for locally changed inputs, run when they are first needed."""

    def __init__(
        self,
        run: Callable[[Tensor], Outputs],
        ready: Callable[[Tensor], Tensor],
        inputs: Tensor,
        action: Action | None,
    ) -> None:
        self._outputs, self._ready = run, ready
        self._inputs, self._action = inputs[:1], action
        self._moved: Outputs | None = None
        self._changed: Outputs | None = None

    def _run(self, batch: Tensor) -> Outputs:
        found = self._outputs(self._ready(batch))
        return {name: output.detach().float().clone() for name, output in found.items()}

    def choose(self, layer: str, shape: tuple[int, ...]) -> OutputAxes | None:
        """Return the layout under which places alone move, or change; None if none stands out."""
        usual = layouts_of(shape)
        if self._action is None or len(usual) < 2:
            return None
        errors = [self._error(layer, axes, self._action) for axes in usual]
        best = min(errors)
        if best < _SAME and sorted(errors)[1] > _OTHER:
            return usual[errors.index(best)]
        local = [axes for axes in usual if self._is_local(layer, axes)]
        return replace(local[0], first=None) if len(local) == 1 else None

    def _error(self, layer: str, axes: OutputAxes, action: Action) -> float:
        """Return how far lengths of channels are from moving as the places do, 1 for no relation.

        Lengths do not change where the group permutes channels.
        """
        if not action.exact or action.grid is None:
            return math.inf
        if self._moved is None:
            self._moved = self._run(action.orbit(self._inputs).flatten(0, 1))
        output = self._moved[layer]
        if len(output) != action.group.order:
            return math.inf
        places = axes.places(tuple(output.shape))
        try:
            moves = grid_of(action, places)
        except OrbitLensError:
            return math.inf
        lengths = axes.rows(output).norm(dim=-1).double()
        lengths = lengths - lengths.mean(1, keepdim=True)
        moved = lengths.gather(1, torch.from_numpy(moves).to(lengths.device))
        spread = lengths[0].square().sum().item()
        wrong = (moved - lengths[0]).square().sum(1).mean().item() / 2
        return wrong / spread if spread > 0 else math.inf

    def _is_local(self, layer: str, axes: OutputAxes) -> bool:
        """Return whether a change at one place of the input reaches few places, many channels."""
        if self._changed is None:
            changed = self._inputs.clone()
            kinds = axes_of_inputs(self._action, tuple(changed.shape))
            where = tuple(
                slice(size // 3, size // 3 + max(1, size // 8))
                if kind_of_axis(axis) == PLACE
                else slice(None)
                for axis, size in zip(kinds, changed.shape, strict=True)
            )
            if all(part == slice(None) for part in where):
                return False
            changed[where] = changed[where].flip(1) + 1 if changed.is_floating_point() else 0
            self._changed = self._run(torch.cat([self._inputs, changed]))
        output = self._changed[layer]
        if len(output) != 2:
            return False
        energy = axes.rows((output[1] - output[0])[None])[0].square().double()
        shares = [_share(energy.sum(1 - axis)) for axis in (0, 1)]
        return 0 < shares[0] < _LOCAL and shares[1] > _SPREAD * shares[0]


def _share(values: Float[Tensor, " k"]) -> float:
    """Return the share of an axis on which most of its sum lies."""
    squares = len(values) * values.square().sum().item()
    return values.sum().item() ** 2 / squares if squares > 0 else 0.0


def grid_of(action: Action, places: tuple[int, ...]) -> Any:
    """Return where places move, [group, place]; an OrbitLensError if the action has no such grid.

    Places in a row are a map of height 1.
    """
    if action.grid is None:
        raise OrbitLensError(
            f"places under {action.name}",
            expected="an action that moves places to places",
            received="one that does not",
            remedy="pool the places",
        )
    spatial = 3 if action.name == "volumes" else 2
    sizes = (1, *places) if len(places) == 1 and spatial == 2 else places
    if len(sizes) != spatial or (action.name == "images" and len(places) == 1):
        raise OrbitLensError(
            f"places under {action.name}",
            expected=f"{spatial} axes of places",
            received=f"{' x '.join(map(str, places))} places",
            remedy="pool the places, or choose another layer",
        )
    return action.grid(*sizes)


def _with_tokens(
    axes: OutputAxes,
    shape: tuple[int, ...],
    inputs: tuple[int, ...],
    action: Action | None,
    model: nn.Module | None,
) -> OutputAxes:
    """Add first tokens and grid, as far as sizes and the network tell them."""
    if "l" not in axes.letters:
        return axes
    (tokens,) = axes.places(shape)
    if action is None or action.name != "images":
        if axes.first is None:
            axes = replace(axes, first=_first_of_sequence(tokens, inputs, model))
        return axes
    if axes.first is None:
        axes = replace(axes, first=_first_of_patches(model, tokens))
    if axes.grid is None and axes.first is not None:
        axes = replace(axes, grid=_patches(model, tokens - axes.first, inputs))
    return axes


def stated_first(model: nn.Module | None) -> int | None:
    """Return the class token and registers that a network of timm or transformers states."""
    stated = getattr(model, "num_prefix_tokens", None)
    registers = getattr(getattr(model, "config", None), "num_register_tokens", None)
    if isinstance(registers, int):
        stated = 1 + registers
    return stated if isinstance(stated, int) else None


def _first_of_sequence(tokens: int, inputs: tuple[int, ...], model: nn.Module | None) -> int | None:
    stated = stated_first(model)
    if stated is not None:
        return stated if stated < tokens else None
    return 0 if tokens in inputs[1:] or any(size % tokens == 0 for size in inputs[1:]) else None


def _first_of_patches(model: nn.Module | None, tokens: int) -> int | None:
    """Return the tokens before a square grid of patches; None if there is no such grid."""
    stated = stated_first(model)
    for first in (0, 1) if stated is None else (stated, 0):
        patches = tokens - first
        if patches > 0 and math.isqrt(patches) ** 2 == patches:
            return first
    return None


def _patches(model: nn.Module | None, patches: int, inputs: tuple[int, ...]) -> tuple[int, ...]:
    """Return the grid of patches; () if it is not known."""
    config = getattr(model, "config", None)
    side, sizes = getattr(config, "patch_size", None), inputs[-2:]
    if isinstance(side, int) and side > 0 and math.prod(n // side for n in sizes) == patches:
        return tuple(n // side for n in sizes)
    root = math.isqrt(patches)
    return (root, root) if root**2 == patches and sizes[0] == sizes[-1] else ()


def _choices(shape: tuple[int, ...]) -> str:
    usual = layouts_of(shape)
    if not usual:
        return "2 to 5 axes"
    return " or ".join(
        f"'{axes}' ({axes.channels(shape)} channels"
        + (f" at {' x '.join(map(str, axes.places(shape)))} places)" if axes.places(shape) else ")")
        for axes in usual
    )


def _unclear(layer: str, shape: tuple[int, ...], reason: str | None) -> Unclear:
    given = f"shape {list(shape)}"
    if reason is not None:
        return Unclear(layer, f"{given}, and {reason}", f"if it is {_choices(shape)} after all")
    return Unclear(layer, f"{given}, which may be {_choices(shape)}", "with one of these")


def _moved_channels(action: Action, shape: tuple[int, ...], axis: int) -> OrbitLensError:
    order = [0, axis, *(at for at in range(1, len(shape)) if at != axis)]
    return OrbitLensError(
        f"inputs under {action.name}",
        expected="places on the axes that the action moves",
        received=f"shape {list(shape)}, whose axis {axis} is moved, and the network reads it as "
        "channels",
        remedy=f"give inputs.permute{tuple(order)}, and bring them back with `prepare`",
    )
