"""The state that torch keeps for a whole process, which a caller may have changed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def usual_torch() -> Iterator[None]:
    """Run a block, or a decorated function, in the usual state of torch, and put it back.

    The default type is float32, the default device the CPU; gradients are on, inference mode and
    autocast are off.
    """
    before = torch.get_default_dtype()
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
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
