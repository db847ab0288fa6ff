"""Whether a function commutes with two representations of a group."""

from collections.abc import Callable

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.typing import Float, Matrices, Tensor


def assert_equivariant(
    function: Callable[[Float[Tensor, "batch dim"]], Float[Tensor, "batch out"]],
    input_matrices: Matrices,
    output_matrices: Float[Tensor, "group out out"],
    x: Float[Tensor, "batch dim"],
    *,
    tolerance: float = 1e-4,
) -> None:
    """Check f(rho_in(g) x) = rho_out(g) f(x) for every element g.

    Args:
        function: f.
        input_matrices: rho_in, shape [|G|, dim, dim].
        output_matrices: rho_out, shape [|G|, out, out].
        x: Inputs to try, shape [batch, dim].
        tolerance: Largest ||difference|| / ||f(x)|| allowed, default 1e-4.

    Raises:
        OrbitLensError: Naming the element with the largest error.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import regular
        >>> rho = regular(cyclic(3)).matrices
        >>> assert_equivariant(torch.relu, rho, rho, torch.randn(4, 3, dtype=torch.float64))
    """
    plain = function(x)
    scale = plain.norm().clamp_min(1e-12)
    errors = torch.stack(
        [
            (function(x @ before.T) - plain @ after.T).norm() / scale
            for before, after in zip(input_matrices, output_matrices, strict=True)
        ]
    )
    worst = int(errors.argmax())  # NaN counts as the largest
    if not errors[worst] <= tolerance:
        raise OrbitLensError(
            "equivariance",
            expected=f"a relative error of at most {tolerance:g}",
            received=f"{errors[worst]:.3g} at element {worst}",
            remedy="the function does not commute with these representations",
        )
