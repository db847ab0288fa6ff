"""The layout of the outputs of layers: which axis holds channels, which places, which first tokens.

Evidence counts in this order: the user's word; one pass that follows the axes of the inputs through
every function of the network; the shape of the inputs; the outputs for moved and for locally
changed inputs; the width that the network states. Whatever is still open is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.layout._atoms import CHANNEL, PLACE, kind_of_axis
from orbitlens.activations.layout._axes import OutputAxes, layouts_of, read_layout
from orbitlens.activations.layout._probe import Outputs, Probe
from orbitlens.activations.layout._tokens import with_tokens
from orbitlens.activations.layout._trace import AxisTrace, axes_of_inputs, read_axes
from orbitlens.errors import OrbitLensError, unknown_name, warn

Layouts = str | Mapping[str, str] | None
_WIDTHS = ("hidden_size", "embed_dim", "d_model", "num_features", "n_embd")


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
    probe = Probe(run, ready, inputs, action)
    for layer, output in outputs.items():
        size = tuple(output.shape)
        told = read_axes(trace.axes_of(output), size)
        axes: OutputAxes | str | None = told
        if layer in stated:
            axes = stated[layer]
            if isinstance(told, OutputAxes):
                axes = _weighed(layer, told, axes)
        elif told is None:
            axes = _by_shape(size, inputs, action) or probe.choose(layer, size)
            axes = axes or _by_width(size, model)
        if isinstance(axes, OutputAxes):
            found[layer] = with_tokens(axes, size, shape, action, model)
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


def _weighed(layer: str, told: OutputAxes, stated: OutputAxes) -> OutputAxes:
    """Return what the user says; warn if it calls another axis the channels than the network."""
    if told.letters.index("c") != stated.letters.index("c"):
        warn(
            f"`layout` of layer {layer!r}",
            found=f"'{stated}' was given, but the functions of the network make it '{told}'",
            remedy="leave `layout` out if this is not meant",
        )
    return told if (told.letters, told.first) == (stated.letters, stated.first) else stated


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
