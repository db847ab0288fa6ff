"""A network for the time of a call: in evaluation mode, by itself, and left as it was."""

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from orbitlens.errors import OrbitLensError, one_line

# Modes and hooks belong to the network, random numbers to the process: one thread at a time.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Keep a network in evaluation mode, without gradients; then put back what was changed.

    Every submodule's mode and the state of the random numbers of torch, NumPy and Python are as
    before, however the block ends. Inside, the network computes in its own types: autocast is off,
    and compiled parts run without being compiled, because hooks do not reach into compiled code.
    Another thread waits until the block has ended.
    """
    devices = _accelerators(model)
    with _ONE_AT_A_TIME, ExitStack() as stack:
        stack.enter_context(keeping_modes(model))
        stack.enter_context(torch.random.fork_rng(devices))
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
        # Not inference mode: its tensors do not count writes in place.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", *(device.type for device in devices)}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if _is_compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        _evaluate(model)
        yield


def _evaluate(model: nn.Module) -> None:
    try:
        model.eval()
    except NotImplementedError as error:  # such as the modules of torch.export
        raise OrbitLensError(
            "`model`",
            expected="a network that can be put into evaluation mode",
            received=f"{type(model).__name__}, which says: {one_line(error)}",
            remedy="give the network that was exported, before torch.export",
        ) from error


@contextmanager
def keeping_modes(model: nn.Module) -> Iterator[None]:
    """Put back the mode of every submodule at the end, training or evaluation."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        # `train` may do more than set a flag: it separates weights that `eval` has merged.
        if model.training != modes[0][1]:
            model.train(modes[0][1])
        for module, training in modes:
            module.training = training


def _accelerators(model: nn.Module) -> list[torch.device]:
    """Return the CUDA devices that hold parameters."""
    found = {each.device for each in model.parameters() if each.device.type == "cuda"}
    return sorted(found, key=str)


def _is_compiled(model: nn.Module) -> bool:
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
