"""Functions on a plane group at the door."""

from jaxtyping import Shaped
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup


def check_functions(
    name: str, maps: Shaped[Tensor, "n channels side side"], group: PlaneGroup
) -> None:
    """Check that maps are functions on a plane group, by their shape."""
    points, side = group.point_group.order, group.side
    if maps.ndim != 4 or maps.shape[1] % points or maps.shape[2:] != (side, side):
        raise OrbitLensError(
            f"`maps` {name}",
            expected=f"shape [n, features * {points}, {side}, {side}]",
            received=list(maps.shape),
            remedy="give functions on the group, as LiftingConv2d and GroupConv2d make them",
        )
