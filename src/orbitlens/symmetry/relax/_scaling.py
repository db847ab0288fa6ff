"""Scaling of observations that commutes with the group."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_axes, as_tensor
from orbitlens.errors import OrbitLensError
from orbitlens.reps import Representation
from orbitlens.symmetry.relax._fixed import KeepsNumbers
from orbitlens.typing import Numbers

_ROUNDING = 1e-5  # of numbers in float32


@final
class Scaling(KeepsNumbers):
    """Maps states s to (s - centre) / scale, with a centre and scales that every rho_S(g) keeps."""

    centre: Tensor
    scale: Tensor

    def __init__(
        self, states: Representation, centre: Numbers | None, scale: Numbers | None
    ) -> None:
        super().__init__()
        middle = _numbers("centre", 0.0 if centre is None else centre, states.dim)
        size = _numbers("scale", 1.0 if scale is None else scale, states.dim)
        if not bool((size > 0).all()):
            raise OrbitLensError(
                "`scale`",
                expected="numbers above 0",
                received=size.tolist(),
                remedy="give root mean squares of the observations",
            )
        matrices = states.matrices.to(middle)
        moved = {
            "centre": ((matrices @ middle - middle).abs() / size).max(),
            "scale": (matrices * (size / size[:, None] - 1)).abs().max(),
        }
        for name, error in moved.items():
            if not float(error) <= _ROUNDING:
                raise OrbitLensError(
                    f"`{name}` of observations",
                    expected=f"numbers that {states.group.name} keeps, so that the scaled state "
                    "moves as the state does",
                    received=(middle if name == "centre" else size).tolist(),
                    remedy="no running mean: take 0 for numbers that change their sign, and one "
                    "scale, a root mean square, for all numbers that the group mixes",
                )
        self.keep("centre", middle, persistent=True)
        self.keep("scale", size, persistent=True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        self.check_state(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *options)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Return the scaled states."""
        if states.ndim < 1 or states.shape[-1] != len(self.scale):
            raise OrbitLensError(
                "`states`",
                expected=f"{len(self.scale)} numbers for each state, as many as rho_S moves",
                received=f"shape {list(states.shape)}",
                remedy="give states of the environment that the maps belong to",
            )
        return (states - self.centre.to(states)) / self.scale.to(states)


def _numbers(name: str, given: Numbers, dim: int) -> Float[Tensor, " dim"]:
    number = as_tensor(name, given, dtype=torch.float64)
    if number.ndim == 0:
        return number.repeat(dim)
    return as_axes(name, number, "dim", sizes={"dim": dim})
