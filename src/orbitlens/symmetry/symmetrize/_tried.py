"""Whether what should be an action is one: tried on a few values."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.actions import Action, check_is_action
from orbitlens.errors import warn

# True under torch.export; torch 2.6 tells it and torch.compile by one word.
exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

_TRIED = 2  # rows that the action is tried on
_MEASURED = 64  # the largest group whose interpolation is measured


@torch.no_grad()
def try_action(action: Action, values: Shaped[Tensor, "n *axes"]) -> None:
    """Refuse a function that is no left action on the first values, and warn of interpolation.

    Values of half precision, and those without numbers, are not tried.
    """
    if values.is_meta or values.dtype not in (torch.float32, torch.float64):
        return
    few = values.detach()[:_TRIED]
    # Autocast would move them in half precision.
    with torch.autocast(few.device.type, enabled=False):
        check_is_action(action, few)
        if action.exact:
            return
        error = action.error(few) if action.group.order <= _MEASURED else None
    warn(
        f"action {action.name!r} of {action.group.name}",
        found="it interpolates, so that the symmetrized network is symmetric only up to that"
        + ("" if error is None else f": g(hx) differs from (gh)x by up to {error:.2g} of x"),
        remedy="measure it with check_symmetry, or choose an exact action",
    )
