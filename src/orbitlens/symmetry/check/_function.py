"""A function under test: run in batches, left as it was, and its outputs checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models import check_network, evaluating

Function = Callable[[Tensor], Tensor]
_BATCH = 256


@contextmanager
def running(function: nn.Module | Function) -> Iterator[Function]:
    """Give a function that runs the one under test on any number of inputs, without gradients.

    A network is in evaluation mode for the length of the block; then it is as before.
    """
    if not callable(function):
        raise OrbitLensError(
            "`function`",
            expected="a function of a batch of inputs, or a torch.nn.Module",
            received=type(function).__name__,
            remedy="give what maps inputs [n, ...] to outputs [n, ...]",
        )
    if isinstance(function, nn.Module):
        check_network(function, "`function`")
    with evaluating(function) if isinstance(function, nn.Module) else torch.no_grad():
        yield lambda inputs: torch.cat([_run(function, part) for part in inputs.split(_BATCH)])


def wide(values: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
    """Return numbers in the widest type of their kind, in which differences lose nothing."""
    return values.to(torch.complex128 if values.is_complex() else torch.float64)


def distances(
    one: Shaped[Tensor, "n *axes"], other: Shaped[Tensor, "n *axes"]
) -> Float[Tensor, " n"]:
    """Return ||one_i - other_i|| for each row."""
    return torch.linalg.vector_norm((wide(one) - wide(other)).reshape(len(one), -1), dim=1).cpu()


def _run(function: Function, inputs: Tensor) -> Tensor:
    subject = f"`function` on inputs of shape {list(inputs.shape)}"
    try:
        # A network may begin with a layer that writes in place.
        outputs: object = function(inputs.clone())
    except OrbitLensError:
        raise
    except Exception as error:
        raise OrbitLensError(
            subject,
            expected="outputs",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="correct it, or give inputs that it accepts",
        ) from error
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(inputs):
        raise OrbitLensError(
            subject,
            expected=f"a tensor with a row for each of {len(inputs)} inputs",
            received=f"shape {list(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else type(outputs).__name__,
            remedy="return one tensor, with the batch as its first axis",
        )
    if not bool(wide(outputs).isfinite().all()):
        raise OrbitLensError(
            subject,
            expected="finite outputs",
            received="NaN or infinity",
            remedy="leave out the inputs that cause it, or correct the function",
        )
    # A function may hand out the same memory in every call.
    return outputs.detach().clone()
