"""One pass through a network that follows the axes of the inputs to the outputs of its layers."""

from collections.abc import Callable, Mapping
from typing import Any, final

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from orbitlens.actions import Action
from orbitlens.activations.layout._atoms import (
    BATCH,
    CHANNEL,
    LOST,
    PLACE,
    TOKENS,
    UNCLEAR,
    Atom,
    Axes,
    Axis,
    kind_of_axis,
    of_kind,
    unclear,
)
from orbitlens.activations.layout._axes import PLACE_LETTERS, OutputAxes
from orbitlens.activations.layout._call import Call, tensors_in
from orbitlens.activations.layout._rules import axes_after


@final
class AxisTrace(TorchFunctionMode):
    """Within this context, every function of torch passes the axes of its operands on.

    Attributes:
        moved_channel: An axis of the inputs that the action moves as places although the network
            reads it as channels; None if there is none.
    """

    def __init__(self, action: Action | None) -> None:
        super().__init__()
        self.moved_channel: int | None = None
        self._action = action
        self._axes = WeakIdKeyDictionary()
        self._inputs: list[Axis] = []

    def begin(self, inputs: Tensor) -> None:
        """Record the axes of the inputs."""
        self._inputs = axes_of_inputs(self._action, tuple(inputs.shape))
        self._axes[inputs] = Axes(self._inputs)

    def axes_of(self, tensor: Tensor) -> Axes | None:
        """Return the axes of a tensor; None if it depends on constants alone."""
        found: Axes | None = self._axes.get(tensor)
        return found

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, and record the axes of its outputs."""
        del types
        named = dict(kwargs or {})
        output = func(*args, **named)
        if isinstance(output, (Tensor, tuple, list)):
            name = getattr(func, "__name__", "")
            if name == "__get__":
                name = getattr(getattr(func, "__self__", None), "__name__", "")
            outputs = tensors_in(output)
            for index in range(len(outputs)):
                call = Call(
                    name.strip("_"), args, named, outputs, index, self.axes_of, self._conflict
                )
                self._record(call)
        return output

    def _record(self, call: Call) -> None:
        try:
            axes = axes_after(call)
        except Exception:
            # A form of call that its rule does not foresee.
            axes = unclear(call.shape)
        if axes is not None:
            self._axes[call.output] = axes if isinstance(axes, Axes) else Axes(axes)

    def _conflict(self, place: Atom) -> None:
        if (place,) in self._inputs:
            self.moved_channel = self._inputs.index((place,))


def axes_of_inputs(action: Action | None, shape: tuple[int, ...]) -> list[Axis]:
    """Return the axes of inputs, as far as their action knows them."""
    batch = (Atom(BATCH, shape[0]),)
    name, count = "" if action is None else action.name, len(shape) - 1
    places = {
        "images": range(2, 4),
        "volumes": range(2, 5),
        "reverse_complement": range(2, 3),
        "cyclic_shift": range(count, count + 1),
        "set_permutation": range(1, 2),
        "points": range(1, 2),
        "graphs": range(1, 2),
    }.get(name)
    if places is None or places.stop > count + 1:
        return [batch, *[None] * count]
    axes = [
        of_kind(PLACE, shape[axis], axis - places.start)
        if axis in places
        else of_kind(CHANNEL, shape[axis])
        for axis in range(1, count + 1)
    ]
    if name == "graphs":
        axes[1] = None  # a row of the adjacency matrix, and then features
    return [batch, *axes]


def read_axes(traced: Axes | None, shape: tuple[int, ...]) -> OutputAxes | str | None:
    """Return the axes of an output as its trace tells them.

    None if it leaves them open; a text if they are known, and are not channels at places.
    """
    if traced is None or len(traced.axes) != len(shape):
        return OutputAxes(("c",)) if _is_vector(shape) else None
    batch, *axes = traced.axes
    if kind_of_axis(batch) not in (BATCH, ""):
        return "its first axis is not that of the inputs"
    if _is_vector(shape):
        return OutputAxes(("c",))
    if _repeats(axes):
        return "two of its axes are of the same places, as the weights of an attention"
    kinds = [_role(axis) for axis in axes]
    at = None if UNCLEAR in kinds else _channel_axis(axes, kinds, shape[1:])
    return None if at is None else _with_places(axes, at)


def _is_vector(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or sum(size > 1 for size in shape[1:]) <= 1


def _repeats(axes: list[Axis]) -> bool:
    """Return whether places lie on two axes, as queries and keys do."""
    outer = [{a.name for a in axis or () if a.kind == PLACE and not a.inner} for axis in axes]
    rows = sum(any(a.kind in (TOKENS, LOST) for a in axis or ()) for axis in axes)
    names = [name for axis in outer for name in axis]
    return len(set(names)) < len(names) or rows + bool(names) > 1


def _role(axis: Axis) -> str:
    """Return CHANNEL also for the pixels of a patch, with or without channels."""
    kind = kind_of_axis(axis)
    if kind == PLACE and axis is not None and all(atom.inner for atom in axis):
        return CHANNEL
    if kind != "mixed" or axis is None:
        return UNCLEAR if kind == BATCH else kind
    others = [atom for atom in axis if atom.kind != CHANNEL]
    return CHANNEL if all(atom.kind == PLACE and atom.inner for atom in others) else UNCLEAR


def _channel_axis(axes: list[Axis], kinds: list[str], sizes: tuple[int, ...]) -> int | None:
    if kinds.count(CHANNEL):
        return kinds.index(CHANNEL) if kinds.count(CHANNEL) == 1 else None
    unknown = [at for at, axis in enumerate(axes) if axis is None]
    if len(unknown) == 1 and len(axes) > 2:
        return unknown[0]
    single = [at for at, size in enumerate(sizes) if size == 1]
    if not single or unknown:
        return None
    return single[0] if single[0] == 0 else single[-1]


def _with_places(axes: list[Axis], channel: int) -> OutputAxes | str | None:
    """Return the axes of channels at places; None if these places are of no map."""
    places = [axis for at, axis in enumerate(axes) if at != channel]
    atoms = [atom for axis in places for atom in axis or ()]
    names = [atom.name for atom in atoms if atom.kind == PLACE]
    if len(places) > 1 and any(atom.flipped for atom in atoms):
        return "its places run backwards"
    if len(places) == 1:
        first, grid = _tokens(places[0])
        return OutputAxes(_insert(("l",), channel), first, grid)
    if any(atom.inner for atom in atoms) or len(places) not in PLACE_LETTERS:
        return None
    if len(names) < len(atoms) or any(axis is not None and len(axis) > 1 for axis in places):
        return None
    letters = PLACE_LETTERS[len(places)]
    if all(places) and names != sorted(names):
        letters = tuple(letters[sorted(names).index(name)] for name in names)
    elif names != sorted(names):
        return None
    return OutputAxes(_insert(letters, channel))


def _tokens(axis: Axis) -> tuple[int | None, tuple[int, ...] | None]:
    """Return the first tokens of an axis, and the grid of its places."""
    if not axis:
        return (None, None) if axis is None else (0, (1,))
    if axis[0].kind == LOST:
        return 0, ()
    tokens = axis[0] if axis[0].kind == TOKENS else None
    places = axis if tokens is None else tokens.places
    named = [atom.name for atom in places] == list(range(len(places)))
    in_order = named and not any(atom.flipped for atom in places)
    grid = tuple(atom.size for atom in places) if in_order else ()
    return (0 if tokens is None else tokens.first), grid


def _insert(letters: tuple[str, ...], channel: int) -> tuple[str, ...]:
    return (*letters[:channel], "c", *letters[channel:])
