"""Representations at the door."""

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.reps.base import Representation

_ROUNDING = 1e-4  # of products of float32 matrices


def as_representation(rep: object, name: str = "rep") -> Representation:
    """Return a representation; anything else is an error."""
    if not isinstance(rep, Representation):
        raise OrbitLensError(
            f"`{name}`",
            expected="a representation",
            received=type(rep).__name__,
            remedy="build one, for example with `reps.regular`, or Representation(group, matrices, "
            "name)",
        )
    return rep


def check_multiplies(
    rep: Representation, subject: str = "representation", rounding: float = _ROUNDING
) -> None:
    """Refuse matrices that are no representation of their group.

        rho(e) = I   and   rho(s) rho(g) = rho(sg)   for all generators s and all g

    These products imply all others, and are far fewer. Without rho(e) = I, matrices of zeros would
    pass. An error is taken in units of the largest norm squared, as rounding errors grow with it.
    """
    group, matrices = rep.group, rep.matrices.double()
    scale = max(1, rep.dim) ** 0.5
    products = [
        matrices[s] @ matrices - matrices[group.table[s].tolist()] for s in group.generators
    ]
    identity = matrices[:1] - torch.eye(rep.dim).to(matrices)
    error = (torch.linalg.matrix_norm(torch.cat([identity, *products])) / scale).max()
    size = (torch.linalg.matrix_norm(matrices) / scale).max().clamp(min=1)
    if not error <= rounding * size**2:
        raise OrbitLensError(
            f"{subject} {rep.name}",
            expected=f"matrices that multiply as {group.name}, the identity as I",
            received=f"products that are off by {float(error):.2g}",
            remedy="correct the matrices or their order, or make them exact with `reps.exactify`; "
            "reps.homomorphism_errors tells which products fail",
        )
