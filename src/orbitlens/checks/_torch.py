"""What torch keeps of a process and of a network, which a caller may have changed."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from orbitlens.errors import OrbitLensError

_lock = threading.Lock()
_inside, _before = 0, torch.float32


@contextmanager
def usual_torch() -> Iterator[None]:
    """Run a block, or a decorated function, in the usual state of torch, and put it back.

    The default type is float32, the default device the CPU; gradients are on, inference mode and
    autocast are off.
    """
    with ExitStack() as state:
        if torch.is_inference_mode_enabled():
            state.enter_context(torch.inference_mode(False))
        state.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                state.enter_context(torch.autocast(kind, enabled=False))
        # A context of a device slows every call, so it is entered where it is needed alone.
        if torch.get_default_device().type != "cpu":
            state.enter_context(torch.device("cpu"))
        state.enter_context(_float32())
        yield


@contextmanager
def _float32() -> Iterator[None]:
    """Make float32 the default type, which all threads share: the last to leave puts it back."""
    global _inside, _before
    with _lock:
        found = torch.get_default_dtype()
        if not _inside:
            _before = found
        # Inside, another type is found where code of a user has chosen it.
        chosen = _inside > 0 and found != torch.float32
        _inside += 1
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.set_default_dtype(_before)
            elif chosen:
                torch.set_default_dtype(found)


def check_learns(subject: str, network: nn.Module) -> None:
    """Check that a network has weights that can be trained."""
    if not any(each.requires_grad for each in network.parameters()):
        raise OrbitLensError(
            subject,
            expected="weights that can be trained",
            received="frozen ones alone",
            remedy="let some go with requires_grad_(True)",
        )
