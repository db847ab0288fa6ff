"""Inputs of a network: checked at the door, made ready for it, moved by the group in batches."""

from collections.abc import Iterator

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.actions import Action, check_action, check_is_action
from orbitlens.activations.store.activation_store import split_samples
from orbitlens.checks import as_count
from orbitlens.data import Rows, copies_among
from orbitlens.errors import OrbitLensError, one_line, warn
from orbitlens.models import Prepare

Batches = tuple[Shaped[Tensor, "moved *axes"], ...]
_TRIED = 2  # inputs on which the action is tried
_CHECKED = 1024  # inputs at a time


def check_inputs(inputs: Rows, action: Action, batch_size: int) -> None:
    """Check that there are inputs of finite numbers, that the action can move them, and how many.

    Lazy inputs are checked for NaN and infinity as they are read.
    """
    check_action(action)
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


def make_ready(
    prepare: Prepare | None, inputs: Shaped[Tensor, "n *axes"], dtype: torch.dtype | None = None
) -> Tensor:
    """Return a batch as `prepare` makes it ready, in the type of the network.

    Whole numbers, such as those of tokens, stay what they are. Anything but a tensor is an error.
    """
    try:
        ready = inputs if prepare is None else prepare(inputs)
        if not isinstance(ready, Tensor):
            raise TypeError(f"it returned {type(ready).__name__}, not a tensor")
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


def check_prepares_the_same(ready: Tensor, again: Tensor) -> None:
    """Check that the same inputs were made ready twice in the same way."""
    if ready.shape != again.shape or not torch.equal(ready, again):
        raise OrbitLensError(
            "`prepare`",
            expected="the same result for the same inputs",
            received="another one the second time",
            remedy="leave random steps, such as augmentations, out of it",
        )


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


def _check_numbers(inputs: Tensor) -> None:
    if inputs.layout != torch.strided or inputs.is_quantized or inputs.is_meta:
        raise OrbitLensError(
            "`inputs`",
            expected="a dense tensor with its numbers",
            received=f"{inputs.dtype} with layout {inputs.layout} on {inputs.device}",
            remedy="convert them first, for example with to_dense() or dequantize()",
        )
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
