"""A function under test: run in batches, left as it was, and its outputs checked.

A network in evaluation mode may draw from one seed in every call, so that its outputs repeat. A
part that says so, by an attribute `draws` that is True beside an integer `seed`, gets another seed
in every call here: a check has to see by how much its outputs vary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models import check_network, evaluating

Function = Callable[[Tensor], Tensor]
_BATCH = 256
_SEEDS = 2**31


@runtime_checkable
class _Drawing(Protocol):
    draws: bool
    seed: int


@contextmanager
def running(function: nn.Module | Function, generator: torch.Generator) -> Iterator[Function]:
    """Give a function that runs the one under test on any number of inputs, without gradients.

    A network is in evaluation mode for the length of the block, and its parts that draw get seeds
    from the generator; then it is as before.
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
    parts = drawing_parts(function)
    before = [part.seed for part in parts]

    def run(inputs: Tensor) -> Tensor:
        for part in parts:
            part.seed = int(torch.randint(_SEEDS, (), generator=generator))
        return _run(function, inputs)

    with evaluating(function) if isinstance(function, nn.Module) else torch.no_grad():
        try:
            yield lambda inputs: torch.cat([run(batch) for batch in inputs.split(_BATCH)])
        finally:
            for part, seed in zip(parts, before, strict=True):
                part.seed = seed


def drawing_parts(function: nn.Module | Function) -> Sequence[_Drawing]:
    """Return the parts of a network that say that they draw."""
    parts = function.modules() if isinstance(function, nn.Module) else ()
    return [each for each in parts if isinstance(each, _Drawing) and each.draws is True]


def wide(values: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
    """Return numbers in the widest type of their kind, in which differences lose nothing."""
    return values.to(torch.complex128 if values.is_complex() else torch.float64)


def distances(
    one: Shaped[Tensor, "n *axes"], other: Shaped[Tensor, "n *axes"], unit: float
) -> Float[Tensor, " n"]:
    """Return ||one_i - other_i|| for each row, in units of `unit`."""
    return torch.linalg.vector_norm(rows(wide(one) - wide(other)) / unit, dim=1).cpu()


def rows(values: Shaped[Tensor, "n *axes"]) -> Shaped[Tensor, "n numbers"]:
    """Return values with one axis of numbers for each input."""
    return values.reshape(len(values), -1)


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
