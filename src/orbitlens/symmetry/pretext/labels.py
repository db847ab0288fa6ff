"""Label actions: how a group moves the labels of a pretext task."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.checks import as_indices
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group, check_moves


@final
@dataclass(frozen=True, eq=False)
class LabelAction:
    """A left action of a group on labels 0 to |Y| - 1.

        (g h) y = g (h y)        p(g y | g x) = p(y | x)

    With the second line a task contradicts no equivariant network: if the input moves, its label
    moves with it, and the cross-entropy stays.

    Source: Mukuta & Harada 2023, arXiv 2303.04427, whose abstract asks for such labels.

    Args:
        group: The group.
        moved: `moved[g, y]` is the label gy, shape [|G|, |Y|].

    Raises:
        OrbitLensError: If there are no labels, if the rows are no permutations, or if they do not
            multiply as the group.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> turns = LabelAction(cyclic(2), np.array([[0, 1, 2], [1, 0, 2]]))
        >>> turns.orbits, turns.stabilisers, round(turns.cap, 3)
        (((0, 1), (2,)), ((0,), (0, 1)), 0.667)
    """

    group: Group
    moved: Int[np.ndarray, "order labels"]

    def __post_init__(self) -> None:
        group = as_group(self.group)
        moved = np.empty(0)
        try:
            moved = np.array(self.moved)  # a copy, which nobody else can change
            check_moves(moved, group)
            if not moved.size:
                raise ValueError("no labels")
        except (ValueError, IndexError):
            raise OrbitLensError(
                "`moved` of a label action",
                expected=f"a permutation of the labels for each of the {group.order} elements of "
                f"{group.name}, which multiply as the elements do",
                received=f"shape {list(moved.shape)}, no action of {group.name}",
                remedy="let moved[g, y] be the label gy; see groups.permutations",
            ) from None
        moved.setflags(write=False)
        object.__setattr__(self, "group", group)
        object.__setattr__(self, "moved", moved)

    @property
    def n(self) -> int:
        """The number of labels, |Y|."""
        return self.moved.shape[1]

    @cached_property
    def orbits(self) -> tuple[tuple[int, ...], ...]:
        """The sets {g y : g in G}, each sorted; the first label of each is its representative."""
        return tuple(sorted({tuple(np.unique(row).tolist()) for row in self.moved.T}))

    @cached_property
    def stabilisers(self) -> tuple[tuple[int, ...], ...]:
        """For each orbit the elements h with h y = y, y its representative."""
        return tuple(
            tuple(np.flatnonzero(self.moved[:, orbit[0]] == orbit[0]).tolist())
            for orbit in self.orbits
        )

    @property
    def cap(self) -> float:
        """The largest accuracy of invariant features, orbits / |Y|.

        It holds for labels drawn uniformly and inputs whose distribution the group keeps: then all
        labels of an orbit are equally likely, given what such features say.
        """
        return len(self.orbits) / self.n

    def move(
        self, labels: Shaped[Tensor, " n"], elements: Shaped[Tensor, " n"] | int
    ) -> Int[Tensor, " n"]:
        """Return gy for each label y, with one element g for all or one for each.

        Raises:
            OrbitLensError: If a label or an element is out of range.
        """
        labels = as_indices("labels", labels, "n", most=self.n - 1)
        if isinstance(elements, int):
            elements = torch.full_like(labels, elements)
        most = self.group.order - 1
        g = as_indices("elements", elements, "n", most=most, size=len(labels))
        return torch.from_numpy(self.moved.copy()).to(labels.device)[g, labels]
