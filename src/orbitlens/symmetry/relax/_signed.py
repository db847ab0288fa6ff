"""Representations that permute coordinates and change their signs."""

from orbitlens.reps import Representation

_ROUNDING = 1e-5  # of matrices in float32


def are_signed_permutations(rho: Representation) -> bool:
    """Return whether each row of each matrix has one entry, 1 or -1."""
    sizes = rho.matrices.abs()
    whole = bool(((sizes - sizes.round()).abs() < _ROUNDING).all())
    return whole and bool((sizes.round().sum(-1) == 1).all())
