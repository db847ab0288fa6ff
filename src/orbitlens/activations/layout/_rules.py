"""The axes of a result, from those of the operands: a rule for each kind of function of torch.

A convolution says which axis is of channels, a linear layer says that the last one is, a
permutation moves axes, a concatenation puts tokens before places. Functions without a rule make
axes unclear.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

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

_OF_PLACES = (PLACE, TOKENS, LOST)


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


def axes_after(call: Call) -> "list[Axis] | Axes | None":
    """Return the axes of an output; None if it depends on constants alone and no rule names it."""
    rule = _rule(call.name)
    told = [axes for axes in map(call.known, call.operands) if axes is not None]
    if rule is not None and (told or rule in _PRODUCERS):
        return rule(call)
    if not told:
        return None
    axes = unclear(call.shape)
    batch = told[0].axes[0] if told[0].axes else None
    if axes and kind_of_axis(batch) == BATCH and batch and batch[0].size == call.shape[0]:
        axes[0] = batch
    return axes


def _elementwise(call: Call) -> list[Axis] | Axes:
    told = [(operand, call.known(operand)) for operand in call.operands]
    found = [(operand, axes) for operand, axes in told if axes is not None]
    if len(found) == 1 and tuple(found[0][0].shape) == call.shape:
        return found[0][1]  # one record: what is learned of one is learned of the other
    return _broadcast([axes.axes for _, axes in found], call.shape)


def _broadcast(parts: Sequence[Sequence[Axis]], shape: tuple[int, ...]) -> list[Axis]:
    axes: list[Axis] = []
    for back in range(len(shape), 0, -1):
        own = [part[-back] for part in parts if len(part) >= back]
        axes.append(joined(own, shape[-back]))
    return axes


def _convolution(call: Call) -> list[Axis]:
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


def _linear(call: Call) -> list[Axis]:
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


def _norm_of_last(call: Call) -> list[Axis] | Axes:
    axes, known = call.axes_of(call.first), call.known(call.first)
    shape = call.argument(1, "normalized_shape", default=())
    if len(shape) != 1 or kind_of_axis(axes[-1]) not in ("", UNCLEAR):
        return axes if known is None else known
    return [*axes[:-1], of_kind(CHANNEL, call.shape[-1])]


def _norm_of_second(call: Call) -> list[Axis] | Axes:
    axes, known = call.axes_of(call.first), call.known(call.first)
    if len(axes) < 2 or kind_of_axis(axes[1]) not in ("", UNCLEAR):
        return axes if known is None else known
    return [axes[0], of_kind(CHANNEL, call.shape[1]), *axes[2:]]


def _on_maps(call: Call) -> list[Axis]:
    """Pooling, interpolation, padding: axes keep their meaning, and some change their size."""
    axes = call.axes_of(call.first)
    if len(axes) != len(call.shape):
        return unclear(call.shape)
    return [resized(axis, size) for axis, size in zip(axes, call.shape, strict=True)]


def _pixel_shuffle(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    places = [resized(axis, size) for axis, size in zip(axes[2:], call.shape[2:], strict=True)]
    return [axes[0], of_kind(CHANNEL, call.shape[1]), *places]


def _unfold(call: Call) -> list[Axis]:
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


def _fold(call: Call) -> list[Axis]:
    axes, shape = call.axes_of(call.first), call.shape
    return [
        axes[0],
        of_kind(CHANNEL, shape[1]),
        *(of_kind(PLACE, size, i) for i, size in enumerate(shape[2:])),
    ]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _matmul(call: Call) -> list[Axis]:
    one, other = call.operands[-2:] if "addmm" in call.name else call.operands[:2]
    if "baddbmm" in call.name:
        one, other = call.operands[1:3]
    shape = call.shape
    if one.ndim == 1 or other.ndim == 1:
        return unclear(shape)
    a, b = call.axes_of(one), call.axes_of(other)
    batch = _broadcast([a[:-2], b[:-2]], shape[:-2])
    if call.known(other) is None:
        return _with_product([*batch, *a[-2:]], -1, shape[-1])
    if call.known(one) is None:
        return _with_product([*batch, *b[-2:]], -2, shape[-2])
    if a[-2] is None and b[-1] is None:  # perhaps the weights of an attention
        return [*batch, of_kind(UNCLEAR, shape[-2]), of_kind(UNCLEAR, shape[-1])]
    return [*batch, a[-2], b[-1]]


def _einsum(call: Call) -> list[Axis]:
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


def _attention(call: Call) -> list[Axis]:
    query, value = call.axes_of(call.first), call.axes_of(call.argument(2, "value"))
    return [*query[:-1], value[-1]]


def _many_heads(call: Call) -> list[Axis]:
    if call.index:
        return unclear(call.shape)
    query = call.axes_of(call.argument(0, "query"))
    return [*query[:-1], of_kind(CHANNEL, call.shape[-1])]


def _recurrent(call: Call) -> list[Axis]:
    if call.index:
        return unclear(call.shape)
    axes = call.axes_of(call.first)
    return [*axes[:-1], of_kind(CHANNEL, call.shape[-1])]


def _embedding(call: Call) -> list[Axis]:
    return [*call.axes_of(call.first), of_kind(CHANNEL, call.shape[-1])]


def _reshape(call: Call) -> list[Axis]:
    return reshaped(call.axes_of(call.first), tuple(call.first.shape), call.shape)


def _expand(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    axes = [None] * (len(call.shape) - len(axes)) + axes
    before = (1,) * (len(call.shape) - call.first.ndim) + tuple(call.first.shape)
    return [
        axis if old == new else None if old == 1 else of_kind(UNCLEAR, new)
        for axis, old, new in zip(axes, before, call.shape, strict=True)
    ]


def _permute(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    order = call.argument(1, "dims")
    order = call.args[1:] if isinstance(order, int) else order
    return [axes[at] for at in order]


def _transpose(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    one = call.argument(1, "dim0", "axis0")
    other = call.argument(2, "dim1", "axis1")
    axes[one], axes[other] = axes[other], axes[one]
    return axes


def _move(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    source, target = (
        [at] if isinstance(at, int) else list(at)
        for at in (call.argument(1, "source"), call.argument(2, "destination"))
    )
    source, target = ([at % len(axes) for at in part] for part in (source, target))
    rest = iter([at for at in range(len(axes)) if at not in source])
    order = [source[target.index(at)] if at in target else next(rest) for at in range(len(axes))]
    return [axes[at] for at in order]


def _turn_round(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    return [*axes[:-2], *axes[:-3:-1]] if call.name.startswith("m") or len(axes) < 3 else axes[::-1]


def _reduce(call: Call) -> list[Axis] | Axes:
    axes = call.axes_of(call.first)
    at = call.argument(2 if call.name == "norm" else 1, "dim", "axis")
    if isinstance(at, Tensor):
        return _elementwise(call)
    if at is None or not call.shape:
        return unclear(call.shape)
    gone = {each % len(axes) for each in ([at] if isinstance(at, int) else at)}
    if len(call.shape) == len(axes):
        return [() if place in gone else axis for place, axis in enumerate(axes)]
    return [axis for place, axis in enumerate(axes) if place not in gone]


def _concatenate(call: Call) -> list[Axis]:
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


def _stack(call: Call) -> list[Axis]:
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


def _split(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    at = call.argument(2, "dim", default=0)
    start = sum(part.shape[at] for part in call.outputs[: call.index])
    axes[at] = _sliced(axes[at], start, call.output.shape[at], call.first.shape[at])
    return axes


def _unbind(call: Call) -> list[Axis]:
    axes = call.axes_of(call.first)
    del axes[call.argument(1, "dim", default=0)]
    return axes


def _narrow(call: Call) -> list[Axis]:
    axes, at = call.axes_of(call.first), call.argument(1, "dim")
    start = call.argument(2, "start")
    if not isinstance(start, int):
        return unclear(call.shape)
    axes[at] = _sliced(axes[at], start, call.output.shape[at], call.first.shape[at])
    return axes


def _picked(call: Call) -> list[Axis]:
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


def _item(call: Call) -> list[Axis]:
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


def _names(text: str) -> list[str]:
    return text.split()


_ALIKE = _names(
    "relu relu6 gelu silu mish elu selu celu leaky_relu prelu rrelu hardswish hardsigmoid hardtanh"
    " sigmoid logsigmoid tanh softplus softsign softmax log_softmax softmin tanhshrink hardshrink"
    " softshrink threshold dropout dropout1d dropout2d dropout3d alpha_dropout"
    " feature_alpha_dropout exp exp2 expm1 log log2 log1p sqrt rsqrt abs absolute neg negative"
    " positive sin cos tan atan sinh cosh erf erfc sinc square reciprocal sign floor ceil round"
    " trunc frac clamp clamp_min clamp_max clip nan_to_num to float half double bfloat16 type"
    " type_as cpu cuda contiguous clone detach requires_grad normalize local_response_norm cumsum"
    " cumprod flip roll fliplr flipud masked_fill pow float_power where add sub subtract mul"
    " multiply div divide true_divide floor_divide remainder fmod maximum minimum fmax fmin addcmul"
    " addcdiv lerp radd iadd rsub isub rmul imul truediv rtruediv itruediv rpow ipow mod floordiv"
    " rdiv idiv data real xlogy bernoulli logit copy fill rot90 atleast_1d gumbel_softmax quantize"
    " special_expit ldexp hypot atan2 logaddexp eq ne lt gt le ge logical_not logical_and"
    " logical_or isnan isfinite bool int long and or"
)
_REDUCTIONS = _names(
    "mean sum amax amin max min std var median prod norm logsumexp nanmean nansum argmax argmin any"
    " all linalg_vector_norm vector_norm"
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ALIKE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_names("layer_norm rms_norm"), _norm_of_last),
    **dict.fromkeys(_names("batch_norm instance_norm group_norm"), _norm_of_second),
    **dict.fromkeys(_names("interpolate upsample pad grid_sample channel_shuffle glu"), _on_maps),
    **dict.fromkeys(_names("pixel_shuffle pixel_unshuffle"), _pixel_shuffle),
    **dict.fromkeys(_names("matmul rmatmul bmm mm addmm baddbmm"), _matmul),
    **dict.fromkeys(_names("gru lstm rnn_tanh rnn_relu"), _recurrent),
    **dict.fromkeys(_names("embedding one_hot"), _embedding),
    **dict.fromkeys(
        _names("reshape view flatten unflatten squeeze unsqueeze ravel view_as reshape_as"),
        _reshape,
    ),
    **dict.fromkeys(_names("expand expand_as repeat tile broadcast_to"), _expand),
    **dict.fromkeys(_names("transpose swapaxes swapdims"), _transpose),
    **dict.fromkeys(_names("movedim moveaxis"), _move),
    **dict.fromkeys(_names("t T mT mH H adjoint"), _turn_round),
    **dict.fromkeys(_names("cat concat concatenate"), _concatenate),
    **dict.fromkeys(
        _names("split split_with_sizes chunk tensor_split unsafe_chunk unsafe_split"), _split
    ),
    **dict.fromkeys(_names("gather index_select take_along_dim sort topk"), _picked),
    **dict.fromkeys(_names("unbind select"), _unbind),
    "permute": _permute,
    "linear": _linear,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": _many_heads,
    "stack": _stack,
    "narrow": _narrow,
    "getitem": _item,
    "unfold": _unfold,
    "fold": _fold,
}
# These say what an axis is, also where nothing was known before.
_PRODUCERS = {_convolution, _linear, _norm_of_last, _norm_of_second, _embedding, _recurrent}


def _rule(name: str) -> Rule | None:
    if re.fullmatch(r"conv(_transpose)?[123]d", name):
        return _convolution
    if re.search(r"pool[123]d", name):
        return _on_maps
    return _RULES.get(name)
