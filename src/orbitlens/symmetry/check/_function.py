"""A function under test: run in batches, left as it was, and its outputs checked.

A network in evaluation mode may draw from one seed in every call, so that its outputs repeat. A
part that says so, by an attribute `draws` that is True beside an integer `seed`, gets another seed
in every call here: a check has to see by how much its outputs vary.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models import check_network, evaluating
from orbitlens.symmetry.check._modules import modules_in

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

    A network, or those that a function uses, are in evaluation mode for the length of the block,
    and their parts that draw get seeds from the generator; then they are as before. A warning that
    comes with every call is given once.
    """
    if not callable(function):
        raise OrbitLensError(
            "`function`",
            expected="a function of a batch of inputs, or a torch.nn.Module",
            received=type(function).__name__,
            remedy="give what maps inputs [n, ...] to outputs [n, ...]",
        )
    # Outputs are all that is looked at, so layers in TorchScript may stay hidden.
    if isinstance(function, nn.Module) and not isinstance(function, torch.jit.ScriptModule):
        check_network(function, "`function`")
    modules = modules_in(function)
    network = modules[0] if len(modules) == 1 else nn.ModuleList(modules)
    parts = drawing_parts(function)
    before = [part.seed for part in parts]

    def run(inputs: Tensor) -> Tensor:
        for part in parts:
            part.seed = int(torch.randint(_SEEDS, (), generator=generator))
        return _run(function, inputs)

    with _each_warning_once(), evaluating(network) if modules else torch.no_grad():
        try:
            yield lambda inputs: torch.cat([run(batch) for batch in inputs.split(_BATCH)])
        finally:
            for part, seed in zip(parts, before, strict=True):
                part.seed = seed


def drawing_parts(function: nn.Module | Function) -> Sequence[_Drawing]:
    """Return the parts of a network, or of those that a function uses, that say that they draw."""
    parts = nn.ModuleList(modules_in(function)).modules()
    return [each for each in parts if isinstance(each, _Drawing) and each.draws is True]


@contextmanager
def _each_warning_once() -> Iterator[None]:
    """Give warnings that differ in numbers alone once, at the end of the block."""
    found: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            yield
    finally:
        alike = {(each.category, re.sub(r"\d+", "#", str(each.message))): each for each in found}
        for each in alike.values():
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


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
    outputs = _only_tensor(outputs)
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(inputs):
        raise OrbitLensError(
            subject,
            expected=f"a tensor with a row for each of {len(inputs)} inputs",
            received=f"shape {list(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else type(outputs).__name__,
            remedy="return one tensor, with the batch as its first axis; around a network, call "
            "network.eval() first",
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


def _only_tensor(outputs: object) -> object:
    """Return the only tensor of a mapping, sequence or record if it comes first, as for layers."""
    match outputs:
        case Mapping():
            parts = list(outputs.values())
        case tuple() | list():
            parts = list(outputs)
        case _ if is_dataclass(outputs) and not isinstance(outputs, type):
            parts = [getattr(outputs, field.name) for field in fields(outputs)]
        case _:
            return outputs
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return tensors[0] if len(tensors) == 1 and parts[0] is tensors[0] else outputs
