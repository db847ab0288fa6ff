"""Whether what should be an action or a representation is one: tried on a few values."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.actions import Action, check_is_action
from orbitlens.errors import OrbitLensError, warn
from orbitlens.reps import Representation

_TRIED = 2  # rows that the action is tried on
_MEASURED = 64  # the largest group whose interpolation is measured
_ROUNDING = 1e-4  # of products of the matrices


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


def check_multiplies(output: Representation) -> None:
    """Refuse matrices that are no representation of their group.

        rho(e) = I   and   rho(s) rho(g) = rho(sg)   for all generators s and all g

    These products imply all others, and are far fewer.
    """
    group, matrices = output.group, output.matrices
    products = [
        matrices[s] @ matrices - matrices[group.table[s].tolist()] for s in group.generators
    ]
    identity = matrices[:1] - torch.eye(output.dim).to(matrices)
    errors = torch.cat([each.flatten().abs() for each in (identity, *products)])
    if not bool((errors <= _ROUNDING).all()):
        raise OrbitLensError(
            f"`output` {output.name}",
            expected=f"matrices that multiply as {group.name}",
            received=f"products that are off by {float(errors.max()):.2g}",
            remedy="correct the matrices, or their order; see reps.homomorphism_errors",
        )
