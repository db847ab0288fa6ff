"""The record of an action: how each element of a group moves a batch of inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.groups import Group, as_group

_Move = Callable[[Tensor, int], Tensor]
_Grid = Callable[..., Int[np.ndarray, "group position"]]


@dataclass(frozen=True, eq=False)
class Action:
    """A left action of a group on inputs: g(hx) = (gh)x, exactly or up to interpolation.

    Args:
        name: Name of the function that builds it: "images", "plane", "volumes", "points", "graphs",
            "reverse_complement", "cyclic_shift" or "set_permutation"; "own:" and a name for `own`.
        group: The group that acts.
        apply: `apply(inputs, element)` moves inputs [n, ...] by one element and keeps their shape.
            It checks nothing; call the action itself to check the inputs first.
        check: Raises an OrbitLensError if the action cannot move the inputs.
        exact: True (the default) if the action rearranges inputs, or calculates them up to the
            rounding of floats; False if it interpolates.
        config: JSON-ready keyword arguments of that function, without the group.
        grid: `grid(height, width)[g, p]` is the row-major place of a feature map to which place p
            moves under g; a sequence is a map of height 1. That of volumes takes a depth first.
            None where places do not move exactly.

    Example:
        >>> from orbitlens.actions import images
        >>> from orbitlens.groups import cyclic
        >>> turn = images(cyclic(4))
        >>> turn
        Action(images, C4)
        >>> turn(torch.tensor([[[[1, 2], [3, 4]]]]), 1).tolist()  # counter-clockwise
        [[[[2, 4], [1, 3]]]]
    """

    name: str
    group: Group
    apply: _Move
    check: Callable[[Tensor], None]
    exact: bool = True
    config: dict[str, Any] = field(default_factory=dict)
    grid: _Grid | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", as_group(self.group))

    def __repr__(self) -> str:
        return f"Action({self.name}, {self.group.name}{'' if self.exact else ', interpolated'})"

    def __call__(
        self, inputs: Shaped[Tensor, "n *axes"], element: int
    ) -> Shaped[Tensor, "n *axes"]:
        """Return gx for every input x.

        Args:
            inputs: Inputs of shape [n, ...].
            element: Index of g in the group.

        Returns:
            The moved inputs, same shape.

        Raises:
            OrbitLensError: If the action cannot move the inputs, or the element does not exist.
        """
        self._check(inputs)
        whole = isinstance(element, int | np.integer)
        if not (whole and 0 <= element < self.group.order):
            raise OrbitLensError(
                "`element`",
                expected=f"an element of {self.group.name}, 0 to {self.group.order - 1}",
                received=repr(element),
                remedy="see group.element_names",
            )
        return self.moved(inputs, int(element))

    def orbit(self, inputs: Shaped[Tensor, "n *axes"]) -> Shaped[Tensor, "n group *axes"]:
        """Return gx for every input x and every element g: orbit[:, g] = gx.

        Args:
            inputs: Inputs of shape [n, ...].

        Returns:
            Orbits of shape [n, |G|, ...].

        Raises:
            OrbitLensError: If the action cannot move the inputs.
        """
        self._check(inputs)
        return torch.stack([self.moved(inputs, g) for g in range(self.group.order)], dim=1)

    def moved(self, inputs: Tensor, element: int) -> Tensor:
        """Return gx for inputs that were checked; an `apply` that fails says so in one line."""
        try:
            found: object = self.apply(inputs, element)
            if not isinstance(found, Tensor):
                raise TypeError(f"it returned {type(found).__name__}, not a tensor")
        except OrbitLensError:
            raise
        except Exception as error:
            raise OrbitLensError(
                f"action {self.name!r} of {self.group.name} on {inputs.dtype} of shape "
                f"{list(inputs.shape)}",
                expected=f"moved inputs under {self.group.element_names[element]}",
                received=f"{type(error).__name__}: {one_line(error)}",
                remedy="correct its `apply`, or give inputs that it can move",
            ) from error
        return found

    def _check(self, inputs: object) -> None:
        if not isinstance(inputs, Tensor):
            raise OrbitLensError(
                f"inputs under {self.name}",
                expected="a tensor",
                received=type(inputs).__name__,
                remedy="convert them, for example with torch.as_tensor",
            )
        self.check(inputs)

    def error(self, inputs: Shaped[Tensor, "n *axes"]) -> float:
        """Measure how far the action on these inputs is from a left action.

            error = max over g, h of ||g(hx) - (gh)x|| / ||x||   with norms over all inputs

        Args:
            inputs: Inputs of shape [n, ...]; |G|^2 moves of them are computed.

        Returns:
            0, or rounding, for an exact action, otherwise the error of the interpolation.

        Raises:
            OrbitLensError: If the action cannot move the inputs.
        """
        orbit = self.orbit(inputs).float()
        norm = torch.linalg.vector_norm(inputs.float())
        if norm == 0:
            return 0.0
        defects = [
            torch.linalg.vector_norm(
                self.moved(orbit[:, h], g) - orbit[:, self.group.multiply(g, h)]
            )
            for g in range(self.group.order)
            for h in range(self.group.order)
        ]
        return float(torch.stack(defects).max() / norm)


def places_moved(move: _Move, order: int, *sizes: int) -> Int[np.ndarray, "group position"]:
    """Return the row-major place to which each place of a map moves, for an `Action.grid`.

    `move(maps, element)` rearranges the entries of maps [1, 1, height, width], or of volumes.
    """
    own = torch.arange(math.prod(sizes)).reshape(1, 1, *sizes)
    origins = torch.stack([move(own, g).flatten() for g in range(order)])
    return origins.argsort(dim=1).numpy()
