"""All rotations of space, from the generators of turns about two axes.

SO(3) has no finite list of elements, so no store holds its orbits. But turns about z and x make all
rotations, and `lie` finds the generator of each from equal turns. Whether these two move the
activations under any rotation is then measured on samples of SO(3).
"""

import math

import torch

from orbitlens.checks import as_axes, check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.transport.base import Transport
from orbitlens.typing import Float, Numbers, Tensor

_BATCH = 32  # rotations at a time
_ROUNDING = 1e-4


def so3_r2(
    about_z: Transport, about_x: Transport, still: Numbers, moved: Numbers, rotations: Numbers
) -> float:
    """Measure how well two generators predict activations under any rotation of the inputs.

    rho(R) = exp(a A_z) exp(b A_x) exp(c A_z)   for R = R_z(a) R_x(b) R_z(c), the Euler angles of R

    R^2 = 1 - sum ||psi(R_i x_i) - rho(R_i) psi(x_i)||^2 / sum ||psi(R_i x_i) - mean||^2

    with the mean over all psi(R_i x_i). The two generators were fitted to turns about two axes, so
    rotations that are neither test them: R^2 is high only if rho is a representation of SO(3). To
    be held out, the inputs x_i must not be among those of the fits.

    Args:
        about_z: A transport fitted by "lie" under turns about z, as of `points("C8", axis="z")`.
        about_x: The same for turns about x, on the same layer.
        still: psi(x_i), shape [n, dim], or [n, positions, dim] for positions that stay.
        moved: psi(R_i x_i), same shape.
        rotations: R_i, shape [n, 3, 3], such as those of `actions.random_rotations`.

    Returns:
        R^2: 1 if rho predicts all, 0 if it is as good as the mean; NaN for constant activations.

    Raises:
        OrbitLensError: If a transport has no generator or another width, if the shapes do not fit,
            or if a matrix is no rotation.

    Example:
        >>> import orbitlens as ol
        >>> clouds = torch.randn(400, 1, 3, generator=torch.Generator().manual_seed(0))
        >>> def fitted(axis):
        ...     orbits = ol.actions.points("C8", axis=axis).orbit(clouds[:300])
        ...     return ol.fit_transport(ol.store_from_array(orbits[:, :, 0], group="C8"), "lie")
        >>> rotations = ol.actions.random_rotations(100)
        >>> still, moved = clouds[300:], ol.actions.rotate_points(clouds[300:], rotations)
        >>> round(so3_r2(fitted("z"), fitted("x"), still[:, 0], moved[:, 0], rotations), 3)
        1.0
    """
    turning, tilting = _generator("about_z", about_z), _generator("about_x", about_x)
    still = as_axes("still", still, "n ... dim", dtype=torch.float64, sizes={"dim": about_z.dim})
    moved = as_axes("moved", moved, "n ... dim", dtype=torch.float64, sizes={"dim": about_x.dim})
    rotations = as_axes("rotations", rotations, "n d d", dtype=torch.float64, sizes={"d": 3})
    if still.shape != moved.shape or len(rotations) != len(still) or len(still) == 0:
        raise OrbitLensError(
            "`still`, `moved` and `rotations`",
            expected="activations of one shape, and a rotation for each of at least one input",
            received=f"{list(still.shape)}, {list(moved.shape)} and {list(rotations.shape)}",
            remedy="run the network on the inputs, and on the inputs moved by these rotations",
        )
    errors = 0.0
    for start in range(0, len(still), _BATCH):
        rows = slice(start, start + _BATCH)
        matrices = _representation(turning, tilting, rotations[rows])
        predicted = torch.einsum("nij,n...j->n...i", matrices, still[rows])
        errors += float((moved[rows] - predicted).square().sum())
    power = float((moved - moved.mean(0)).square().sum())
    return 1 - errors / power if power > 0 else math.nan


def _representation(
    about_z: Float[Tensor, "dim dim"],
    about_x: Float[Tensor, "dim dim"],
    rotations: Float[Tensor, "n 3 3"],
) -> Float[Tensor, "n dim dim"]:
    first, second, third = _euler_angles(rotations)
    turns = [torch.linalg.matrix_exp(a[:, None, None] * about_z) for a in (first, third)]
    tilt = torch.linalg.matrix_exp(second[:, None, None] * about_x)
    return turns[0] @ tilt @ turns[1]


def _euler_angles(rotations: Float[Tensor, "n 3 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return a, b, c with R = R_z(a) R_x(b) R_z(c); c = 0 if R turns about z alone, or b = pi."""
    eye = torch.eye(3, dtype=rotations.dtype)
    turned = torch.linalg.det(rotations) > 0
    if not bool(turned.all()) or (rotations @ rotations.mT - eye).abs().max() > _ROUNDING:
        raise OrbitLensError(
            "`rotations`",
            expected="matrices with R R^T = I and determinant 1",
            received="others",
            remedy="draw them with orbitlens.actions.random_rotations",
        )
    r = rotations.permute(1, 2, 0)
    tilt = torch.atan2(torch.hypot(r[0, 2], r[1, 2]), r[2, 2])
    tilted = torch.hypot(r[0, 2], r[1, 2]) > _ROUNDING
    first = torch.where(tilted, torch.atan2(r[0, 2], -r[1, 2]), torch.atan2(r[1, 0], r[0, 0]))
    third = torch.where(tilted, torch.atan2(r[2, 0], r[2, 1]), torch.zeros_like(first))
    return first, tilt, third


def _generator(name: str, transport: Transport) -> Float[Tensor, "dim dim"]:
    check_kind(name, transport, Transport, 'fit one with `fit_transport(store, "lie")`')
    if transport.motion.generator is None:
        raise OrbitLensError(
            f"`{name}`",
            expected="a transport with a generator",
            received=f"one fitted by {transport.method}",
            remedy='fit it with method="lie" on orbits of turns about the axis',
        )
    return transport.motion.generator
