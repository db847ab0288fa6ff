"""Rules for functions that say which axis is of channels, or lay out places: those of layers."""

from collections.abc import Sequence
from typing import Any

from orbitlens.activations.layout._atoms import (
    CHANNEL,
    LOST,
    PLACE,
    TOKENS,
    UNCLEAR,
    Axes,
    Axis,
    joined,
    kind_of_axis,
    of_kind,
    resized,
    unclear,
)
from orbitlens.activations.layout._call import Call, broadcast

_OF_PLACES = (PLACE, TOKENS, LOST)


def convolution(call: Call) -> list[Axis]:
    count, shape = int(call.name[-2]), call.shape
    if len(shape) != count + 2:
        return unclear(shape)  # without a batch
    axes, known = call.axes_of(call.first), call.known(call.first)
    _check_conflict(call, axes, call.argument(1, "weight").shape[2:])
    sizes, spatial = tuple(call.first.shape[2:]), axes[2:]
    kinds = [kind_of_axis(axis) for axis in spatial]
    if CHANNEL in kinds and known is not None and (count > 1 or _is_piece(spatial[0])):
        # A vector that was cut into a map: the convolution says how.
        blank = [
            None if kind == CHANNEL else axis for axis, kind in zip(spatial, kinds, strict=True)
        ]
        spatial = _named(blank, sizes)
        known.axes[2:] = spatial
    after = [
        resized(axis, size) for axis, size in zip(_named(spatial, sizes), shape[2:], strict=True)
    ]
    return [axes[0], of_kind(CHANNEL, shape[1]), *after]


def _is_piece(axis: Axis) -> bool:
    return bool(axis and axis[0].piece)


def _named(axes: list[Axis], sizes: tuple[int, ...]) -> list[Axis]:
    """Name places of a map by their order, if none has a name."""
    if any(kind_of_axis(axis) in (*_OF_PLACES, CHANNEL, "mixed") for axis in axes):
        return [None if kind_of_axis(axis) == UNCLEAR else axis for axis in axes]
    return [of_kind(PLACE, size, name) for name, size in enumerate(sizes)]


def _check_conflict(call: Call, axes: list[Axis], kernel: Sequence[int]) -> None:
    """Report a place of the inputs that is read as channels, beside channels read as places."""
    if kind_of_axis(axes[1]) != PLACE or max(kernel) == 1:
        return
    if any(kind_of_axis(axis) == CHANNEL for axis in axes[2:]):
        call.conflict(axes[1][0])  # type: ignore[index]


def linear_rule(call: Call) -> list[Axis]:
    axes, size = call.axes_of(call.first), call.shape[-1]
    return _with_product(axes, -1, size)


def _with_product(axes: list[Axis], at: int, size: int) -> list[Axis]:
    """Return the axes after one was multiplied by a matrix of the network.

    A product over places, where channels lie on another axis, mixes places: then it is unclear
    what the new axis is.
    """
    others = [axis for place, axis in enumerate(axes) if place != at % len(axes)]
    within = {atom.kind for atom in axes[at] or ()}
    if CHANNEL not in within and any(kind_of_axis(axis) == CHANNEL for axis in others):
        made = list(axes)
        made[at] = of_kind(UNCLEAR, size)
        return made
    made = [None if kind_of_axis(axis) == UNCLEAR else axis for axis in axes]
    made[at] = of_kind(CHANNEL, size)
    return made


def norm_of_last(call: Call) -> list[Axis] | Axes:
    axes, known = call.axes_of(call.first), call.known(call.first)
    shape = call.argument(1, "normalized_shape", default=())
    if len(shape) != 1 or kind_of_axis(axes[-1]) not in ("", UNCLEAR):
        return axes if known is None else known
    return [*axes[:-1], of_kind(CHANNEL, call.shape[-1])]


def norm_of_second(call: Call) -> list[Axis] | Axes:
    axes, known = call.axes_of(call.first), call.known(call.first)
    if len(axes) < 2 or kind_of_axis(axes[1]) not in ("", UNCLEAR):
        return axes if known is None else known
    return [axes[0], of_kind(CHANNEL, call.shape[1]), *axes[2:]]


def on_maps(call: Call) -> list[Axis]:
    """Pooling, interpolation, padding: axes keep their meaning, and some change their size."""
    axes = call.axes_of(call.first)
    if len(axes) != len(call.shape):
        return unclear(call.shape)
    return [resized(axis, size) for axis, size in zip(axes, call.shape, strict=True)]


def pixel_shuffle(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    places = [resized(axis, size) for axis, size in zip(axes[2:], call.shape[2:], strict=True)]
    return [axes[0], of_kind(CHANNEL, call.shape[1]), *places]


def unfold_rule(call: Call) -> list[Axis]:
    axes, shape = call.axes_of(call.first), call.shape
    if len(shape) == len(axes) + 1:  # windows along one axis, as a method of tensors
        at = call.argument(1, "dimension")
        made = [resized(axis, size) for axis, size in zip(axes, shape, strict=False)]
        kind = CHANNEL if kind_of_axis(axes[at]) == CHANNEL else UNCLEAR
        return [*made, of_kind(kind, shape[-1])]
    pairs = [
        _pair(call.argument(position, name, default=default))
        for position, name, default in (
            (1, "kernel_size", 1),
            (2, "dilation", 1),
            (3, "padding", 0),
            (4, "stride", 1),
        )
    ]
    sizes = [
        (call.first.shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i]
        + 1
        for i in range(2)
        for kernel, dilation, padding, stride in [pairs]
    ]
    named = _named(axes[2:], tuple(call.first.shape[2:]))
    windows = [resized(axis, size) for axis, size in zip(named, sizes, strict=True)]
    flat: Axis = None
    if all(axis is not None for axis in windows):
        flat = tuple(atom for axis in windows for atom in axis or ())
    return [axes[0], of_kind(CHANNEL, shape[1]), flat]


def fold_rule(call: Call) -> list[Axis]:
    axes, shape = call.axes_of(call.first), call.shape
    return [
        axes[0],
        of_kind(CHANNEL, shape[1]),
        *(of_kind(PLACE, size, i) for i, size in enumerate(shape[2:])),
    ]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def matmul_rule(call: Call) -> list[Axis]:
    one, other = call.operands[-2:] if "addmm" in call.name else call.operands[:2]
    if "baddbmm" in call.name:
        one, other = call.operands[1:3]
    shape = call.shape
    if one.ndim == 1 or other.ndim == 1:
        return unclear(shape)
    a, b = call.axes_of(one), call.axes_of(other)
    batch = broadcast([a[:-2], b[:-2]], shape[:-2])
    if call.known(other) is None:
        return _with_product([*batch, *a[-2:]], -1, shape[-1])
    if call.known(one) is None:
        return _with_product([*batch, *b[-2:]], -2, shape[-2])
    if a[-2] is None and b[-1] is None:  # perhaps the weights of an attention
        return [*batch, of_kind(UNCLEAR, shape[-2]), of_kind(UNCLEAR, shape[-1])]
    return [*batch, a[-2], b[-1]]


def einsum_rule(call: Call) -> list[Axis]:
    equation, operands = call.args[0], call.operands
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return unclear(call.shape)
    left, right = equation.replace(" ", "").split("->")
    terms = left.split(",")
    told: dict[str, list[Axis]] = {}
    own: set[str] = set()
    for term, operand in zip(terms, operands, strict=True):
        if call.known(operand) is None:
            continue
        for letter, axis in zip(term, call.axes_of(operand), strict=True):
            told.setdefault(letter, []).append(axis)
            own.add(letter)
    kept = [letter for letter in own if letter in right]
    summed = {
        atom.kind for letter in own - set(kept) for axis in told[letter] for atom in axis or ()
    }
    channels_kept = any(kind_of_axis(axis) == CHANNEL for letter in kept for axis in told[letter])
    new = UNCLEAR if channels_kept and CHANNEL not in summed else CHANNEL
    return [
        joined(told[letter], size) if letter in own else of_kind(new, size)
        for letter, size in zip(right, call.shape, strict=True)
    ]


def attention(call: Call) -> list[Axis]:
    query, value = call.axes_of(call.first), call.axes_of(call.argument(2, "value"))
    return [*query[:-1], value[-1]]


def many_heads(call: Call) -> list[Axis]:
    if call.index:
        return unclear(call.shape)
    query = call.axes_of(call.argument(0, "query"))
    return [*query[:-1], of_kind(CHANNEL, call.shape[-1])]


def recurrent(call: Call) -> list[Axis]:
    if call.index:
        return unclear(call.shape)
    axes = call.axes_of(call.first)
    return [*axes[:-1], of_kind(CHANNEL, call.shape[-1])]


def embedding(call: Call) -> list[Axis]:
    return [*call.axes_of(call.first), of_kind(CHANNEL, call.shape[-1])]
