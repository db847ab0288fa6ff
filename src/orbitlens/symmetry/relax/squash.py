"""Squashing that commutes with a group: numbers of any size to actions within bounds.

Where the group permutes coordinates and changes their signs, tanh of each alone commutes. Other
orthogonal matrices keep lengths only, so lengths are squashed.
"""

from math import log
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from orbitlens.checks import as_axes, as_number, as_tensor, check_kind
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.reps import Representation, check_multiplies
from orbitlens.symmetry.relax._fixed import KeepsNumbers
from orbitlens.symmetry.relax._signed import are_signed_permutations
from orbitlens.typing import Numbers

_ROUNDING = 1e-5  # of matrices, and of bounds by their half width, in float32


@final
class Squash(KeepsNumbers):
    """Maps vectors to actions within bounds, and commutes with every rho_A(g).

        signed permutations   a = c + r tanh(u), each coordinate alone
        orthogonal matrices   a = r tanh(|u|) u / |u|

    with c the centre of the bounds and r their half width, or the radius of a ball.

    Args:
        actions: rho_A, of orthogonal matrices.
        low: Lower bound of each action; default -1. Only for signed permutations, as `high` is.
        high: Upper bound of each action; default 1.
        radius: Largest length of an action, for other matrices; default 1.

    Raises:
        OrbitLensError: If the matrices are no representation or not orthogonal, or if the bounds
            are not invariant under them.

    Example:
        >>> from orbitlens.reps import irreps
        >>> squash = Squash(irreps("C2")[1], low=-2, high=2)
        >>> squash(torch.tensor([[-20.0], [0.0], [20.0]])).flatten().tolist()
        [-2.0, 0.0, 2.0]
    """

    low: Tensor
    high: Tensor
    radius: Tensor

    def __init__(
        self,
        actions: Representation,
        *,
        low: Numbers | None = None,
        high: Numbers | None = None,
        radius: float | None = None,
    ) -> None:
        super().__init__()
        check_kind("actions", actions, Representation, "see orbitlens.reps")
        check_multiplies(actions, "actions")
        _check_orthogonal(actions)
        self.dim, self.by_coordinate = actions.dim, are_signed_permutations(actions)
        if self.by_coordinate:
            for name, ends in zip(("low", "high"), _box(actions, low, high, radius), strict=True):
                self.keep(name, ends, persistent=True)
        else:
            self.keep("radius", _ball(actions, low, high, radius), persistent=True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        self.check_state(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *options)

    def forward(self, u: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Return the actions of unbounded vectors, shape [..., dim]."""
        _check_vectors(u, self.dim)
        if self.by_coordinate:
            low, high = self.low.to(u), self.high.to(u)
            # Rounding may lead out of the bounds.
            return ((low + high) / 2 + (high - low) / 2 * u.tanh()).clamp(low, high)
        scaled, size, length = _polar(u)
        return self.radius.to(u) * ((size * length).tanh() / length) * scaled

    def log_det(self, u: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Return log |det da/du|, which the density of what is squashed needs.

        The sum over i of log r_i (1 - tanh^2 u_i) where each coordinate is squashed alone, and
        d log r + log(1 - tanh^2 |u|) + (d - 1) log(tanh |u| / |u|) otherwise. Sizes so large that
        the sum would overflow count as the largest that do not.
        """
        _check_vectors(u, self.dim)
        most = torch.finfo(u.dtype).max / (8 * self.dim)
        if self.by_coordinate:
            half = ((self.high - self.low) / 2).to(u)
            return (half.log() + _log_slope(u.clamp(-most, most))).sum(-1)
        _, size, length = _polar(u)
        size = (size * length).clamp(max=most)
        across = (size.tanh() / size).log()
        radius = self.dim * self.radius.to(u).log()
        return (radius + _log_slope(size) + (self.dim - 1) * across).squeeze(-1)


def _check_vectors(u: Tensor, dim: int) -> None:
    """Refuse inputs that are no vectors of actions."""
    if u.ndim < 1 or u.shape[-1] != dim or not u.is_floating_point():
        raise OrbitLensError(
            "`u` of a squash",
            expected=f"floats of shape [..., {dim}]",
            received=f"{str(u.dtype).removeprefix('torch.')} of shape {list(u.shape)}",
            remedy="give one number for each action",
        )


def _check_orthogonal(actions: Representation) -> None:
    gram = actions.matrices @ actions.matrices.mT
    error = float((gram - torch.eye(actions.dim).to(gram)).abs().max())
    if not error <= _ROUNDING:
        raise OrbitLensError(
            f"actions {actions.name}",
            expected="orthogonal matrices, with which a squash can commute",
            received=f"rho rho^T that is off from I by {error:.2g}",
            remedy="change the basis of the actions; reps.exactify finds orthogonal matrices",
        )


def _box(
    actions: Representation, low: Numbers | None, high: Numbers | None, radius: float | None
) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
    """Return lower and upper bounds that the group keeps."""
    if radius is not None:
        remedy = "leave it out, and give low and high if they are not -1 and 1"
        raise out_of_range("radius", "none for signed permutations", radius, remedy)
    ends = [_bound("low", low, -1.0, actions.dim), _bound("high", high, 1.0, actions.dim)]
    centre, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    if not bool((half > 0).all()):
        raise out_of_range("low", "less than high", ends[0].tolist(), "exchange the two")
    matrices = actions.matrices.double().round()
    moved = torch.stack([matrices @ centre - centre, matrices.abs() @ half - half]).abs()
    if not float((moved / half).max()) <= _ROUNDING:
        raise _other_bounds(actions, f"{ends[0].tolist()} to {ends[1].tolist()}")
    return ends[0], ends[1]


def _bound(name: str, given: Numbers | None, default: float, dim: int) -> Float[Tensor, " dim"]:
    """Return a bound for each action, given as such or as one number for all."""
    number = as_tensor(name, default if given is None else given, dtype=torch.float64)
    if number.ndim == 0:
        return number.expand(dim)
    return as_axes(name, number, "dim", sizes={"dim": dim})


def _ball(
    actions: Representation, low: Numbers | None, high: Numbers | None, radius: float | None
) -> Float[Tensor, ""]:
    """Return the radius of a ball, the bounds that all orthogonal matrices keep."""
    if low is not None or high is not None:
        raise _other_bounds(actions, "a bound for each action alone")
    size = as_number("radius", 1.0 if radius is None else radius, "above 0")
    if size <= 0:
        raise out_of_range("radius", "above 0", size)
    return torch.tensor(float(size), dtype=torch.float64)


def _other_bounds(actions: Representation, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"bounds of actions under {actions.group.name}",
        expected=f"bounds that {actions.group.name} keeps, rho_A(g) [low, high] = [low, high]",
        received=received,
        remedy="make them symmetric, with the narrower of the two; under matrices that turn, give "
        "`radius`, the largest length that is allowed in every direction",
    )


def _polar(
    u: Float[Tensor, "*batch dim"],
) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch 1"], Float[Tensor, "*batch 1"]]:
    """Return u / m, m and |u| / m, with m = max(1, largest entry), so that no square overflows.

    The length is above 0, so that its gradient at 0 is finite. What is made of the three does not
    depend on m, which needs no gradient.
    """
    size = u.detach().abs().amax(-1, keepdim=True).clamp(min=1.0)
    scaled = u / size
    length = (scaled.square().sum(-1, keepdim=True) + torch.finfo(u.dtype).tiny).sqrt()
    return scaled, size, length


def _log_slope(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return log(1 - tanh^2 u), also where tanh rounds to 1."""
    return 2 * (log(2) - u - softplus(-2 * u))
