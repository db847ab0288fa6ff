"""Rules for functions that move, split, join, pick and pool axes."""

from dataclasses import replace
from typing import Any

from torch import Tensor

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
    joined,
    kind_of_axis,
    of_kind,
    reshaped,
    resized,
    unclear,
)
from orbitlens.activations.layout._call import Call, elementwise

_OF_PLACES = (PLACE, TOKENS, LOST)


def reshape_rule(call: Call) -> list[Axis]:
    return reshaped(call.axes_of(call.first), tuple(call.first.shape), call.shape)


def expand_rule(call: Call) -> list[Axis]:
    new = len(call.shape) - call.first.ndim
    axes = [*(None for _ in range(new)), *call.axes_of(call.first)]
    before = (1,) * new + tuple(call.first.shape)
    return [
        axis if old == size else None if old == 1 else of_kind(UNCLEAR, size)
        for axis, old, size in zip(axes, before, call.shape, strict=True)
    ]


def interleave_rule(call: Call) -> list[Axis]:
    """Repeat every input of a batch so many times, one after the other."""
    axes = call.axes_of(call.first)
    count, at = call.argument(1, "repeats"), call.argument(2, "dim")
    if at not in (0, -len(axes)) or not isinstance(count, int) or kind_of_axis(axes[0]) != BATCH:
        return unclear(call.shape)
    axes[0] = (*(axes[0] or ()), *(of_kind(UNCLEAR, count) or ()))
    return axes


def permute_rule(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    order = call.argument(1, "dims")
    order = call.args[1:] if isinstance(order, int) else order
    return [axes[at] for at in order]


def transpose_rule(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    one = call.argument(1, "dim0", "axis0")
    other = call.argument(2, "dim1", "axis1")
    axes[one], axes[other] = axes[other], axes[one]
    return axes


def move_rule(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    source, target = (
        [at] if isinstance(at, int) else list(at)
        for at in (call.argument(1, "source"), call.argument(2, "destination"))
    )
    source, target = ([at % len(axes) for at in part] for part in (source, target))
    rest = iter([at for at in range(len(axes)) if at not in source])
    order = [source[target.index(at)] if at in target else next(rest) for at in range(len(axes))]
    return [axes[at] for at in order]


def turn_round(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    return [*axes[:-2], *axes[:-3:-1]] if call.name.startswith("m") or len(axes) < 3 else axes[::-1]


def rotate_rule(call: Call) -> list[Axis]:
    """Turn a map by quarters: each is a flip of the second axis, after which both swap."""
    axes = call.axes_of(call.first)
    quarters = call.argument(1, "k", default=1) % 4
    one, other = call.argument(2, "dims", default=(0, 1))
    for _ in range(quarters):
        axes[one], axes[other] = _flipped(axes[other]), axes[one]
    return axes


def flip_rule(call: Call) -> list[Axis]:
    """Let the axis of places run the other way."""
    axes, given = call.axes_of(call.first), call.argument(1, "dims")
    given = call.args[1:] if isinstance(given, int) else given
    for at in given:
        axes[at] = _flipped(axes[at])
    return axes


def _flipped(axis: Axis) -> Axis:
    if kind_of_axis(axis) == PLACE and axis:
        return tuple(replace(atom, flipped=not atom.flipped) for atom in axis)
    return of_kind(LOST, axis[0].size) if axis and axis[0].kind == TOKENS else axis


def reduce_rule(call: Call) -> list[Axis] | Axes:
    axes = call.axes_of(call.first)
    at = call.argument(2 if call.name == "norm" else 1, "dim", "axis")
    if isinstance(at, Tensor):
        return elementwise(call)
    if at is None or not call.shape:
        return unclear(call.shape)
    gone = {each % len(axes) for each in ([at] if isinstance(at, int) else at)}
    if len(call.shape) == len(axes):
        return [() if place in gone else axis for place, axis in enumerate(axes)]
    return [axis for place, axis in enumerate(axes) if place not in gone]


def concatenate(call: Call) -> list[Axis]:
    parts = call.args[0] if call.args else call.kwargs["tensors"]
    at = call.argument(1, "dim", "axis", default=0) % len(call.shape)
    told = [list(axes.axes) for axes in map(call.known, parts) if axes is not None]
    axes = []
    for place, size in enumerate(call.shape):
        axes.append(None if place == at else joined([each[place] for each in told], size))
    pieces = [(part.shape[at], call.axes_of(part)[at]) for part in parts]
    axes[at] = _in_a_row(pieces, call.shape[at])
    return axes


def _in_a_row(pieces: list[tuple[int, Axis]], total: int) -> Axis:
    """Return the axis of pieces that follow each other."""
    kinds = [kind_of_axis(axis) for _, axis in pieces]
    first = pieces[0][1]
    if first and set(kinds) == {BATCH} and all(axis == first for _, axis in pieces):
        # Several views of the same inputs, one batch after the other.
        return (Atom(UNCLEAR, len(pieces)), *first) if len(pieces) > 1 else first
    places = [number for number, kind in enumerate(kinds) if kind in _OF_PLACES]
    if not places:
        told = {kind for kind in kinds if kind}
        if not told:
            return None
        return of_kind(CHANNEL if told <= {CHANNEL, "mixed"} else UNCLEAR, total)
    if len(places) > 1 or set(kinds) - {"", kinds[places[0]]}:
        return of_kind(LOST, total)
    before = sum(size for size, _ in pieces[: places[0]])
    axis = pieces[places[0]][1] or ()
    if before + pieces[places[0]][0] < total:
        return (Atom(TOKENS, total, first=before),)
    inner = axis[0] if kinds[places[0]] == TOKENS else None
    grid = axis if inner is None else inner.places
    return (
        Atom(
            TOKENS,
            total,
            first=before + (0 if inner is None else inner.first),
            places=() if kinds[places[0]] == LOST else grid,
        ),
    )


def stack_rule(call: Call) -> list[Axis]:
    parts = call.args[0] if call.args else call.kwargs["tensors"]
    at = call.argument(1, "dim", default=0) % len(call.shape)
    told = [list(axes.axes) for axes in map(call.known, parts) if axes is not None]
    sizes = [size for place, size in enumerate(call.shape) if place != at]
    axes = [joined([each[place] for each in told], size) for place, size in enumerate(sizes)]
    return [*axes[:at], None, *axes[at:]]


def _sliced(axis: Axis, start: int, size: int, total: int) -> Axis:
    """Return the axis of a part that begins at `start`."""
    if axis is None or size == total:
        return axis
    batch = axis[-1] if axis else None
    if len(axis) == 2 and batch and batch.kind == BATCH and batch.size == size:
        return (batch,) if start % size == 0 else of_kind(UNCLEAR, size)
    kind = kind_of_axis(axis)
    if kind != TOKENS:
        return resized(axis, size) if kind != BATCH else of_kind(UNCLEAR, size)
    (tokens,) = axis
    if start + size <= tokens.first:
        return None if size > 1 else ()
    if start > tokens.first or start + size < total:
        return of_kind(LOST, size)
    if start < tokens.first:
        return (Atom(TOKENS, size, first=tokens.first - start, places=tokens.places),)
    return tokens.places or of_kind(LOST, size)


def split_rule(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    at = call.argument(2, "dim", default=0)
    start = sum(part.shape[at] for part in call.outputs[: call.index])
    axes[at] = _sliced(axes[at], start, call.output.shape[at], call.first.shape[at])
    return axes


def unbind_rule(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    del axes[call.argument(1, "dim", default=0)]
    return axes


def narrow_rule(call: Call) -> list[Axis]:
    axes, at = call.axes_of(call.first), call.argument(1, "dim")
    start = call.argument(2, "start")
    if not isinstance(start, int):
        return unclear(call.shape)
    axes[at] = _sliced(axes[at], start, call.output.shape[at], call.first.shape[at])
    return axes


def picked(call: Call) -> list[Axis]:
    """Gather, sort, top-k along one axis: places are no longer in order."""
    axes, at = call.axes_of(call.first), call.argument(1, "dim")
    if "topk" in call.name:
        at = call.argument(2, "dim", default=-1)
    if "sort" in call.name:
        at = call.argument(1, "dim", default=-1)
    if not isinstance(at, int):
        return unclear(call.shape)
    if kind_of_axis(axes[at]) == CHANNEL:
        axes[at] = of_kind(CHANNEL, call.shape[at])
    else:
        axes[at] = of_kind(LOST if axes[at] else UNCLEAR, call.shape[at])
    return axes


def item_rule(call: Call) -> list[Axis]:
    index = call.args[1]
    index = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, (Tensor, list)) for part in index):
        return _picked_by(call, index)
    axes, shape = call.axes_of(call.first), call.first.shape
    count = sum(part is not None and part is not Ellipsis for part in index)
    made: list[Axis] = []
    at = 0
    for part in index if Ellipsis in index else (*index, Ellipsis):
        if part is None:
            made.append(())
        elif part is Ellipsis:
            rest = len(axes) - count
            made += axes[at : at + rest]
            at += rest
        else:
            if isinstance(part, slice):
                start, stop, step = part.indices(shape[at])
                size = len(range(start, stop, step))
                axis = _sliced(axes[at], start, size, shape[at])
                made.append(axis if step == 1 else resized(axes[at], size))
            at += 1
    return made


def _picked_by(call: Call, index: tuple[Any, ...]) -> list[Axis]:
    """Return the axes after one axis was indexed by a list; others are unclear."""
    axes = call.axes_of(call.first)
    whole = [isinstance(part, slice) and part == slice(None) for part in index]
    if len(call.shape) != len(axes) or sum(whole) != len(index) - 1:
        return unclear(call.shape)
    at = whole.index(False)
    kind = kind_of_axis(axes[at])
    axes[at] = of_kind(CHANNEL if kind == CHANNEL else LOST if kind else UNCLEAR, call.shape[at])
    return axes
