"""The check of the vectors that layers on groups take."""

from torch import Tensor

from orbitlens.errors import OrbitLensError


def check_last_axis(x: Tensor, values: int, kind: str) -> None:
    """Refuse inputs that are no vectors of the size that a layer of this kind was built for."""
    if x.ndim < 1 or x.shape[-1] != values or not x.is_floating_point():
        raise OrbitLensError(
            f"`x` of a {kind} layer",
            expected=f"floats of shape [..., {values}]",
            received=f"{str(x.dtype).removeprefix('torch.')} of shape {list(x.shape)}",
            remedy="give the values that the layer was built for; functions on the group have one "
            "for each feature and element",
        )
