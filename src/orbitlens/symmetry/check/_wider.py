"""The same function in float64: what rounding explains goes away there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check._function import Function, wide
from orbitlens.symmetry.check._modules import modules_in
from orbitlens.symmetry.check._moves import Move
from orbitlens.symmetry.check._trial import Outcome, Trial


def outcomes_in_float64(
    function: object, run: Function, inputs: Tensor, moves: Sequence[Move], unit: float
) -> list[Outcome] | None:
    """Return how far f(gx) is from rho(g) f(x) in float64; None where f does not calculate so.

    Inputs and the weights of networks in the function are converted, and are as before in the end.
    """
    if inputs.dtype in (torch.float64, torch.complex128) or not inputs.dtype.is_floating_point:
        return None
    try:
        with _weights_in_float64(function):
            still = run(wide(inputs))
            if still.dtype not in (torch.float64, torch.complex128):
                return None
            trial = Trial(run, wide(inputs), (still,), unit)
            return [trial.outcome(move) for move in moves]
    except (OrbitLensError, RuntimeError, TypeError):  # it holds other tensors, or has no float64
        return None


def worst_of(outcomes: Sequence[Outcome], scale: float) -> float:
    """Return the mean error of the worst element."""
    return max(float(each.right.distances.mean()) for each in outcomes) / scale


@contextmanager
def _weights_in_float64(function: object) -> Iterator[None]:
    modules = modules_in(function)
    weights = chain.from_iterable((*each.parameters(), *each.buffers()) for each in modules)
    kept = {id(each): (each, each.data) for each in weights if _is_narrow(each)}
    try:
        for each, values in kept.values():
            each.data = wide(values)
        yield
    finally:
        for each, values in kept.values():
            each.data = values


def _is_narrow(weights: Tensor) -> bool:
    return (weights.is_floating_point() or weights.is_complex()) and (
        weights.dtype not in (torch.float64, torch.complex128)
    )
