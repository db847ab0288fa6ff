"""Inputs of a network: checked at the door, made ready for it, moved by the group in batches."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action, check_action, check_is_action
from orbitlens.activations.store.activation_store import split_samples
from orbitlens.checks import as_count
from orbitlens.data import Indexed, Inputs, Rows, as_rows, copies_among
from orbitlens.errors import OrbitLensError, one_line, warn
from orbitlens.models import Prepare

Batches = tuple[Shaped[Tensor, "moved *axes"], ...]
_TRIED = 2  # inputs on which the action is tried
_CHECKED = 1024  # inputs at a time
_MEASURED = 64  # inputs at a time, since measuring copies them
_SHOWN = 3
_ROUNDING = 1e-3  # of an input that is made ready alone and with others


def check_inputs(inputs: Rows, action: Action, batch_size: int) -> None:
    """Check that there are inputs of finite numbers, that the action can move them, and how many.

    Lazy inputs are checked for NaN and infinity as they are read.
    """
    check_action(action)
    if isinstance(inputs, Tensor):
        _check_dense(inputs)
    if inputs.ndim == 0 or len(inputs) == 0:
        raise OrbitLensError(
            "`inputs`", expected="at least one", received="none", remedy="give inputs to look at"
        )
    as_count("batch_size", batch_size)
    if isinstance(inputs, Tensor):
        _check_numbers(inputs)
    few = inputs[:_TRIED]
    if isinstance(inputs, Tensor):
        action.check(inputs)
    else:
        _check_same(few[0], inputs[0])
        action.check(few)
    with torch.no_grad():
        check_is_action(action, few)


def given_inputs(
    inputs: Shaped[Tensor, "n *axes"] | Indexed | Inputs,
    labels: Int[np.ndarray, " labels"] | None,
    class_names: tuple[str, ...],
    files: Sequence[str | Path],
) -> dict[str, Any]:
    """Return inputs as a user gave them, with what they bring along unless it was given, too."""
    rows: object = inputs
    if isinstance(inputs, Inputs):
        if labels is None:
            labels, class_names = inputs.labels, class_names or inputs.class_names
        rows, files = inputs.values, files or inputs.files
    return {"inputs": as_rows(rows), "labels": labels, "class_names": class_names, "files": files}


def make_ready(
    prepare: Prepare | None, inputs: Shaped[Tensor, "n *axes"], dtype: torch.dtype | None = None
) -> Tensor:
    """Return a batch as `prepare` makes it ready, in the type of the network.

    Whole numbers, such as those of tokens, stay what they are. Anything but a tensor with a row for
    each input is an error.
    """
    try:
        ready = inputs if prepare is None else prepare(inputs)
        if not isinstance(ready, Tensor):
            raise TypeError(f"it returned {type(ready).__name__}, not a tensor")
        if ready.ndim == 0 or len(ready) != len(inputs):
            raise ValueError(f"it returned shape {list(ready.shape)} for {len(inputs)} inputs")
    except OrbitLensError:
        raise
    except Exception as error:
        raise OrbitLensError(
            f"`prepare` on inputs of shape {list(inputs.shape)}",
            expected="a function that makes them ready for the network",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="correct it, or give inputs that it accepts",
        ) from error
    return ready.to(dtype) if dtype is not None and ready.is_floating_point() else ready


def telling_inputs(
    inputs: Rows, ready: Callable[[Tensor], Tensor], *, alone: bool
) -> Shaped[Tensor, "few *ready_axes"]:
    """Return a few inputs, made ready, that tell whether a network is a function of its input.

    They are the first ones, the last one, and of a tensor those of the largest and the smallest
    values: a network that mixes inputs shows it most with these. What makes them ready must be a
    function of each of them, too. `alone` says that inputs come one by one.
    """
    few = inputs[_telling(inputs)].clone()
    found = ready(few)
    again = ready(few)
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        raise OrbitLensError(
            "`prepare`",
            expected="finite numbers",
            received="NaN or infinity",
            remedy="correct it: a deviation of 0, or a logarithm of 0, may be in it",
        )
    if found.shape != again.shape or not torch.equal(found, again):
        raise OrbitLensError(
            "`prepare`",
            expected="the same result for the same inputs",
            received="another one the second time",
            remedy="leave random steps, such as augmentations, out of it",
        )
    for own, row in zip(found, few.split(1), strict=True):
        difference = 0.0 if alone else relative_difference(ready(row)[0], own)
        if difference > _ROUNDING:
            raise OrbitLensError(
                "`prepare`",
                expected="the same result for an input alone and among others",
                received=f"results that differ by {difference:.2g} of their size",
                remedy="let it use no figures of the batch: take mean and deviation of each input, "
                "or those of the training data as fixed numbers",
            )
    return found


def _telling(inputs: Rows) -> list[int]:
    extreme: list[int] = []
    if isinstance(inputs, Tensor) and inputs.numel():
        wide = torch.complex64 if inputs.is_complex() else torch.float32
        parts = inputs.detach().reshape(len(inputs), -1).split(_MEASURED)
        sizes = torch.cat([part.to(wide).abs().amax(1) for part in parts])
        extreme = [int(sizes.argmax()), int(sizes.argmin())]
    return sorted({*range(min(_SHOWN, len(inputs))), len(inputs) - 1, *extreme})


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Return ||one - other|| / ||other||; infinity for other shapes, 0 where both are not finite.

    Other checks refuse numbers that are not finite.
    """
    if one.shape != other.shape:
        return float("inf")
    if not (other.is_floating_point() or other.is_complex()):
        one, other = one.double(), other.double()
    size, difference = (float(torch.linalg.vector_norm(each)) for each in (other, one - other))
    if not (size < float("inf") and difference < float("inf")):
        return 0.0
    return difference / size if size > 0 else float(difference > 0)


def moved_batches(
    inputs: Rows, action: Action, batch_size: int, start: int = 0, stop: int | None = None
) -> Iterator[Batches]:
    """Yield whole orbits of the inputs from `start` to `stop`, a few inputs at a time.

    An orbit larger than `batch_size` comes in several batches.
    """
    batch_size = int(batch_size)
    samples = max(1, batch_size // action.group.order)
    stop = len(inputs) if stop is None else stop
    for first in range(start, stop, samples):
        part = inputs[first : min(first + samples, stop)]
        yield action.orbit(part).flatten(0, 1).split(batch_size)


def device_of(model: nn.Module, inputs: Rows) -> torch.device:
    """Return the device of a network's parameters; that of its inputs if there are none."""
    parameter = next(model.parameters(), None)
    return inputs.device if parameter is None else parameter.device


def warn_of_copies(inputs: Rows) -> None:
    """Warn of inputs that are the same, number by number; lazy ones count as they were hashed."""
    rows = copies_among(inputs)
    copies = len(rows) - len(set(rows))
    if not copies:
        return
    train, held_out = split_samples(len(rows))
    known = {rows[i] for i in train.tolist()}
    across = sum(rows[i] in known for i in held_out.tolist())
    found = f"{copies} of {len(rows)} are copies of others"
    if across:
        found += f", and {across} of the {len(held_out)} held out are also among those fitted on"
    warn(
        "`inputs`",
        found=found,
        remedy="leave out copies, which make held-out figures look better than they are",
    )


def _check_dense(inputs: Tensor) -> None:
    nested, layout = inputs.is_nested, inputs.layout
    if nested or layout != torch.strided or inputs.is_quantized or inputs.is_meta:
        kind = "nested tensors" if nested else f"layout {layout}"
        raise OrbitLensError(
            "`inputs`",
            expected="a dense tensor with its numbers",
            received=f"{inputs.dtype} with {kind} on {inputs.device}",
            remedy="convert them first, for example with to_dense(), dequantize() or "
            "to_padded_tensor()",
        )
    if inputs.is_floating_point() and inputs.element_size() == 1:
        raise OrbitLensError(
            "`inputs`",
            expected="numbers of 16 bits or more",
            received=str(inputs.dtype),
            remedy="convert them first, with float()",
        )


def _check_numbers(inputs: Tensor) -> None:
    if not (inputs.is_floating_point() or inputs.is_complex()):
        return
    for number, rows in enumerate(inputs.detach().split(_CHECKED)):
        finite = torch.isfinite(rows)
        if not finite.all():
            (bad,) = torch.nonzero(~finite.flatten(1).all(1), as_tuple=True)
            raise OrbitLensError(
                f"input {number * _CHECKED + int(bad[0])}",
                expected="finite numbers",
                received=f"{int((~finite[bad[0]]).sum())} NaN or infinite values",
                remedy="repair the inputs, or leave out those that are damaged",
            )


def _check_same(first: Tensor, again: Tensor) -> None:
    if not torch.equal(first, again):
        raise OrbitLensError(
            "input 0",
            expected="the same numbers every time it is read",
            received="other numbers the second time",
            remedy="leave random steps, such as augmentations, out of the data set",
        )
