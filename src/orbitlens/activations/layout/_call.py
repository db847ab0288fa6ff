"""A call of a function of torch whose outputs have axes to be named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from orbitlens.activations.layout._atoms import (
    Atom,
    Axes,
    Axis,
    joined,
)


@final
@dataclass(frozen=True, eq=False)
class Call:
    """A call of a function of torch: its arguments, one of its outputs, and the axes known so far.

    Args:
        outputs: All tensors that the function returned; `index` is the one in question.
        known: The axes of a tensor; None for a constant of the network.
        conflict: Called with the input axis that a convolution reads as channels although the
            action moves it.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Sequence[Tensor]
    index: int
    known: Callable[[Tensor], Axes | None]
    conflict: Callable[[Atom], None]

    @property
    def output(self) -> Tensor:
        """The output in question."""
        return self.outputs[self.index]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.output.shape)

    def argument(self, position: int, *names: str, default: Any = None) -> Any:
        """Return an argument, given by position or by one of its names."""
        for name in names:
            if name in self.kwargs:
                return self.kwargs[name]
        return self.args[position] if position < len(self.args) else default

    def axes_of(self, tensor: Any) -> list[Axis]:
        """Return the axes of an operand, each None if nothing is known."""
        found = self.known(tensor)
        return [None] * tensor.ndim if found is None else list(found.axes)

    @property
    def first(self) -> Tensor:
        """The first operand."""
        return self.argument(0, "input", "self", "x")

    @property
    def operands(self) -> list[Tensor]:
        """All operands."""
        return list(tensors_in((self.args, self.kwargs)))


Rule = Callable[[Call], "list[Axis] | Axes"]


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in arguments or in an output, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in tensors_in(part)]
    return []


def elementwise(call: Call) -> list[Axis] | Axes:
    told = [(operand, call.known(operand)) for operand in call.operands]
    found = [(operand, axes) for operand, axes in told if axes is not None]
    if len(found) == 1 and tuple(found[0][0].shape) == call.shape:
        return found[0][1]  # one record: what is learned of one is learned of the other
    return broadcast([axes.axes for _, axes in found], call.shape)


def broadcast(parts: Sequence[Sequence[Axis]], shape: tuple[int, ...]) -> list[Axis]:
    axes: list[Axis] = []
    for back in range(len(shape), 0, -1):
        own = [part[-back] for part in parts if len(part) >= back]
        axes.append(joined(own, shape[-back]))
    return axes
