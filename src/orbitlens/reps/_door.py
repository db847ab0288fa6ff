"""Representations at the door."""

from orbitlens.errors import OrbitLensError
from orbitlens.reps.base import Representation


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
