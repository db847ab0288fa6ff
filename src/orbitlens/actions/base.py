"""An action as a record: how each element of a group moves a batch of inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral

Move = Callable[[Tensor, int], Tensor]
Grid = Callable[[int, int], Int[np.ndarray, "group position"]]


@dataclass(frozen=True, eq=False)
class Action:
    """A left action of a group on inputs: g(hx) = (gh)x, exactly or up to interpolation.

    Args:
        name: The factory's name: "images", "volumes", "reverse_complement", "cyclic_shift" or
            "set_permutation".
        group: The group that acts.
        exact: Whether inputs are only rearranged; False where they are interpolated.
        apply: `apply(inputs, element)` moves inputs [n, ...] by one element; the shape stays.
            It checks nothing; call the action itself to have inputs checked.
        check: Raises an OrbitLensError if inputs cannot be moved.
        config: JSON-ready keyword arguments of the factory, besides the group.
        grid: `grid(height, width)[g, p]` is the row-major place of a feature map to which place p
            moves under g; a sequence is a map of height 1. None where places do not move exactly,
            and for volumes, whose places have a depth too.

    Example:
        >>> from orbitlens.actions import images
        >>> from orbitlens.groups import cyclic
        >>> turn = images(cyclic(4))
        >>> turn(torch.tensor([[[[1, 2], [3, 4]]]]), 1).tolist()  # counter-clockwise
        [[[[2, 4], [1, 3]]]]
    """

    name: str
    group: Group
    exact: bool
    apply: Move
    check: Callable[[Tensor], None]
    config: dict[str, Any]
    grid: Grid | None

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
            OrbitLensError: If the inputs cannot be moved, or if there is no such element.
        """
        self.check(inputs)
        if not 0 <= element < self.group.order:
            raise OrbitLensError(
                "`element`",
                expected=f"an element of {self.group.name}, 0 to {self.group.order - 1}",
                received=element,
                remedy="see group.element_names",
            )
        return self.apply(inputs, element)

    def orbit(self, inputs: Shaped[Tensor, "n *axes"]) -> Shaped[Tensor, "n group *axes"]:
        """Return every input moved by every element, orbit[:, g] = gx.

        Args:
            inputs: Inputs of shape [n, ...].

        Returns:
            Orbits of shape [n, |G|, ...].

        Raises:
            OrbitLensError: If the inputs cannot be moved.
        """
        self.check(inputs)
        return torch.stack([self.apply(inputs, g) for g in range(self.group.order)], dim=1)

    def error(self, inputs: Shaped[Tensor, "n *axes"]) -> float:
        """Measure how far the action on these inputs is from a left action.

            error = max over g, h of ||g(hx) - (gh)x|| / ||x||, the norms over all inputs

        Args:
            inputs: Inputs of shape [n, ...]; |G|^2 moves of them are computed.

        Returns:
            0 for an exact action, else the error that interpolation makes.

        Raises:
            OrbitLensError: If the inputs cannot be moved.
        """
        orbit = self.orbit(inputs).float()
        norm = torch.linalg.vector_norm(inputs.float())
        if norm == 0:
            return 0.0
        defects = [
            torch.linalg.vector_norm(
                self.apply(orbit[:, h], g) - orbit[:, self.group.multiply(g, h)]
            )
            for g in range(self.group.order)
            for h in range(self.group.order)
        ]
        return float(torch.stack(defects).max() / norm)


def places_moved(
    move: Move, order: int, height: int, width: int
) -> Int[np.ndarray, "group position"]:
    """Return where the places of a map go, by moving a map that holds each place's own index.

    Args:
        move: Moves maps [1, 1, height, width] by an element, by rearranging their entries.
        order: |G|.
        height: Rows of the map.
        width: Columns of the map.

    Returns:
        `places[g, p]`, the row-major place to which place p moves under g.
    """
    own = torch.arange(height * width).reshape(1, 1, height, width)
    origins = torch.stack([move(own, g).flatten() for g in range(order)])
    return origins.argsort(dim=1).numpy()


def family(group: Group) -> tuple[int, bool] | None:
    """Recognise C_n and D_n by the product table: (number of turns n, whether there are flips).

    C_2 and D_1 have the same table and are told apart by name.

    Example:
        >>> family(dihedral(4)), family(cyclic(2)), family(dihedral(1))
        ((4, True), (2, False), (1, True))
    """
    candidates = {(group.order, False): cyclic(group.order)}
    if group.order % 2 == 0:
        candidates[group.order // 2, True] = dihedral(group.order // 2)
    found = {
        key: named for key, named in candidates.items() if np.array_equal(named.table, group.table)
    }
    if len(found) > 1:
        found = {key: named for key, named in found.items() if named.name == group.name}
    return next(iter(found), None)
