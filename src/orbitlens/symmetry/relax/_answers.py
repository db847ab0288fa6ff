"""Answers of a network at the door: a row for each input, the same ones each time."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import batchnorm, dropout

from orbitlens.errors import OrbitLensError, one_line

_FEW = 8
_ALIKE = 1e-3  # share of the largest number; other machines and modes round otherwise
_REMEDY = "call .eval() on it, which switches that off, or build the network without it"


def answers_of(
    network: Callable[[Tensor], object], x: Shaped[Tensor, "n *input"]
) -> Float[Tensor, "n outputs"]:
    """Return the answers of a network, or say in one line why it has none."""
    try:
        answers = network(x)
    except OrbitLensError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise OrbitLensError(
            f"`network` on an input of shape {list(x.shape[1:])}",
            expected="an answer",
            received=one_line(error),
            remedy="build the network for these inputs, or give them the shape that it takes",
        ) from error
    received = f"shape {list(answers.shape)}" if isinstance(answers, Tensor) else None
    if not isinstance(answers, Tensor) or answers.ndim != 2 or len(answers) != len(x):
        raise OrbitLensError(
            "`network`",
            expected=f"answers of shape [n, classes or outputs], with n = {len(x)} for {len(x)} "
            f"input{'s' if len(x) > 1 else ''}",
            received=received or type(answers).__name__,
            remedy="return one row for each input; flatten the output, or keep its last axis",
        )
    return answers


def check_same_each_time(network: nn.Module, x: Shaped[Tensor, "n *input"]) -> None:
    """Refuse a network that draws random numbers, changes, or does otherwise in training.

    The network, its modes and the random numbers of torch are left as they are.
    """
    for name, module in network.named_modules():
        received = _acts_in_training(module)
        if received is not None:
            raise OrbitLensError(
                f"layer {name!r} of `network`",
                expected="a layer that does the same in training as in evaluation",
                received=received,
                remedy=_REMEDY,
            )
    modes = {module: module.training for module in network.modules()}
    few = x[:_FEW].detach()
    devices = [few.device] if few.is_cuda else []
    with torch.random.fork_rng(devices), torch.no_grad():
        before = _generators(few)
        try:
            first, changes = _trial(network, few)
            second, _ = _trial(network, few)
            draws = any(
                not torch.equal(*pair) for pair in zip(before, _generators(few), strict=True)
            )
            network.eval()
            evaluated, _ = _trial(network, few)
        finally:
            for module, mode in modes.items():
                module.training = mode
    received = None
    if changes:
        received = f"one that writes into {changes!r} when it is called"
    elif draws or not alike(first, second):
        received = "one that draws random numbers"
    elif not alike(first, evaluated):
        received = "other answers in training mode"
    if received is not None:
        raise OrbitLensError(
            "`network`",
            expected="a network that does the same each time, in training as in evaluation",
            received=received,
            remedy=_REMEDY,
        )


def alike(one: Float[Tensor, "n outputs"], other: Float[Tensor, "n outputs"]) -> bool:
    """Tell whether answers are the same up to rounding; NaN and infinity are like themselves."""
    if one.shape != other.shape:
        return False
    largest = float(one.nan_to_num(0, 0, 0).abs().amax())
    return torch.allclose(other.to(one), one, rtol=0, atol=_ALIKE * largest, equal_nan=True)


def _acts_in_training(module: nn.Module) -> str | None:
    """Return how a layer of PyTorch does otherwise in training; None if it does not."""
    kind = type(module).__name__
    if isinstance(module, batchnorm._BatchNorm) and module.running_mean is None:
        return f"{kind} with the statistics of each batch"
    if not module.training:
        return None
    if isinstance(module, batchnorm._NormBase) and module.running_mean is not None:
        return f"{kind} in training mode, which changes its running statistics"
    if isinstance(module, dropout._DropoutNd) and module.p > 0:
        return f"{kind} of p = {module.p:g} in training mode, which draws random numbers"
    return None


def _trial(network: nn.Module, x: Tensor) -> tuple[Tensor, str | None]:
    """Return the answers of a copy, and the name of a buffer that the call changed."""
    own = dict(network.named_buffers())
    copies = {name: each.detach().clone() for name, each in own.items()}
    answers = answers_of(partial(functional_call, network, copies), x)
    changed = [name for name, each in copies.items() if not _equal(each, own[name])]
    return answers, changed[0] if changed else None


def _equal(one: Tensor, other: Tensor) -> bool:
    same = one.shape == other.shape and one.dtype == other.dtype
    return same and bool(((one == other) | ((one != one) & (other != other))).all())


def _generators(x: Tensor) -> list[Tensor]:
    """Return the states of the generators that a network may draw from."""
    of_device = [torch.cuda.get_rng_state(x.device)] if x.is_cuda else []
    return [torch.get_rng_state(), *of_device]
