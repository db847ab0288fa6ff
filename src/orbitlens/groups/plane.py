"""Plane groups on a torus of pixels: translations, with turns and flips about pixel (0, 0).

An element is three whole numbers (ty, tx, k): first element k of the point group turns or flips
the pixels about (0, 0), then the translation (ty, tx) shifts them. r is a counter-clockwise quarter
or half turn, (y, x) -> (-x, y) or (-y, -x); the flip s swaps up and down, (y, x) -> (-y, x). The
point group has the order of `groups.cyclic` and `groups.dihedral`: p + n q is r^p s^q.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from orbitlens.checks import as_count, as_indices
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups._laws import LARGEST_ORDER
from orbitlens.groups.base import Group
from orbitlens.groups.from_table import from_table
from orbitlens.groups.turns import cyclic, dihedral

_TURNS_AND_FLIPS = {
    "p1": (1, False),
    "p2": (2, False),
    "p4": (4, False),
    "pm": (1, True),
    "pmm": (2, True),
    "p4m": (4, True),
}
_NAMES = {parts: name for name, parts in _TURNS_AND_FLIPS.items()}


@final
@dataclass(frozen=True)
class PlaneGroup:
    """The translations of a torus of side x side pixels, with turns and flips about pixel (0, 0).

        g = (t, k):  u -> M_k u + t  mod side
        (t, k)(t', k') = (t + M_k t', k k')        (t, k)^-1 = (-M_k^-1 t, k^-1)

    Source: the plane groups of Cohen & Welling 2016, arXiv 1602.07576, section 4, on a torus.

    Args:
        name: "p1" (translations alone), "p2" (with half turns), "p4" (with quarter turns); "pm",
            "pmm" and "p4m" are these with flips.
        side: Height and width of the torus, in pixels.

    Raises:
        OrbitLensError: If the name is unknown, or the side below 1.

    Example:
        >>> group = PlaneGroup("p4", 8)
        >>> group.order, group.multiply(torch.tensor([0, 0, 1]), torch.tensor([0, 3, 0])).tolist()
        (256, [5, 0, 1])
    """

    name: str
    side: int

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in _TURNS_AND_FLIPS:
            raise unknown_name("`name` of a plane group", str(self.name), _TURNS_AND_FLIPS)
        object.__setattr__(self, "side", as_count("side", self.side))

    @property
    def turns(self) -> int:
        """The number of turns about a pixel: 1, 2 or 4."""
        return _TURNS_AND_FLIPS[self.name][0]

    @property
    def flips(self) -> bool:
        """Whether the group has flips."""
        return _TURNS_AND_FLIPS[self.name][1]

    @cached_property
    def point_group(self) -> Group:
        """The turns and flips about pixel (0, 0): C1, C2, C4, D1, D2 or D4."""
        return dihedral(self.turns) if self.flips else cyclic(self.turns)

    @property
    def order(self) -> int:
        """The number of elements."""
        return self.side**2 * self.point_group.order

    @cached_property
    def matrices(self) -> Int[Tensor, "point 2 2"]:
        """M_k, how each element of the point group moves (y, x)."""
        quarter, flip = torch.tensor([[0, -1], [1, 0]]), torch.tensor([[-1, 0], [0, 1]])
        turns = [
            torch.linalg.matrix_power(quarter.double(), p * 4 // self.turns).long()
            for p in range(self.turns)
        ]
        return torch.stack(turns + [turn @ flip for turn in turns] * self.flips)

    @cached_property
    def products(self) -> Int[Tensor, "point point"]:
        """The product table of the point group, as a tensor."""
        return torch.from_numpy(self.point_group.table.copy())

    @cached_property
    def _inverses(self) -> Int[Tensor, " point"]:
        return torch.from_numpy(self.point_group.inverses.copy())

    def multiply(
        self, g: Int[Tensor, "*#batch 3"], h: Int[Tensor, "*#batch 3"]
    ) -> Int[Tensor, "*batch 3"]:
        """Return the products gh: first h acts, then g.

        Args:
            g: Elements (ty, tx, k), shape [..., 3].
            h: Elements of the same shape, or of one that broadcasts.

        Returns:
            The products, shape [..., 3].
        """
        g, h = torch.broadcast_tensors(g, h)
        moved = self._moved(g[..., 2], h[..., :2])
        k = self.products.to(g.device)[g[..., 2], h[..., 2]]
        return self._joined(g[..., :2] + moved, k)

    def inverse(self, g: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch 3"]:
        """Return the inverses of elements (ty, tx, k) of shape [..., 3]."""
        back = self._inverses.to(g.device)[g[..., 2]]
        return self._joined(-self._moved(back, g[..., :2]), back)

    def random(self, n: int, generator: torch.Generator | None = None) -> Int[Tensor, "n 3"]:
        """Draw n elements, each as likely as the others."""
        n = as_count("n", n, least=0)
        return self.element(torch.randint(self.order, (n,), generator=generator))

    def element(self, number: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch 3"]:
        """Return elements by their numbers, 0 to order - 1: (ty side + tx) |P| + k for P points."""
        place, k = number // self.point_group.order, number % self.point_group.order
        return torch.stack([place // self.side, place % self.side, k], dim=-1)

    def number(self, g: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
        """Return the numbers of elements; the identity is 0."""
        return (g[..., 0] * self.side + g[..., 1]) * self.point_group.order + g[..., 2]

    def places(self, g: Int[Tensor, "n 3"]) -> Int[Tensor, "n place"]:
        """Return the row-major place to which each element moves each pixel, [n, side^2]."""
        pixels, size = torch.arange(self.side, device=g.device), self.side
        ty, tx = g[:, 0, None], g[:, 1, None]
        m = self.matrices.to(g.device)[g[:, 2]][..., None]
        stays = m[:, 0, 0].abs()  # 1 if rows stay rows, 0 if they become columns
        # Both new coordinates depend on one old one each, so places are sums of two short tables.
        of_rows = (m[:, 0, 0] * pixels + stays * ty) % size * size
        of_rows = of_rows + (m[:, 1, 0] * pixels + (1 - stays) * tx) % size
        of_columns = (m[:, 0, 1] * pixels + (1 - stays) * ty) % size * size
        of_columns = of_columns + (m[:, 1, 1] * pixels + stays * tx) % size
        return (of_rows[:, :, None] + of_columns[:, None]).flatten(1)

    def as_elements(self, name: str, g: object, n: int) -> Int[Tensor, "n 3"]:
        """Return n elements that are given one by one, or one for all; others are errors.

        Raises:
            OrbitLensError: If they are no whole numbers [n, 3], or outside of the group.
        """
        if isinstance(g, list | tuple) and all(isinstance(each, int) for each in g):
            g = torch.tensor(g)
        if isinstance(g, Tensor) and g.ndim == 1:
            g = g.expand(n, -1)
        points = self.point_group.order
        elements = as_indices(name, g, "n element", most=max(self.side, points) - 1, size=n)
        sizes = torch.tensor([self.side, self.side, points])
        if elements.shape[1:] != (3,) or bool((elements >= sizes.to(elements.device)).any()):
            raise OrbitLensError(
                f"`{name}`",
                expected=f"elements (ty, tx, k) of {self.name} with ty and tx below {self.side}, "
                f"k below {points}",
                received=f"shape {list(elements.shape)}"
                + (f" with entries to {elements.amax(0).tolist()}" if elements.numel() else ""),
                remedy="give three whole numbers for each input, as PlaneGroup.random does",
            )
        return elements

    def to_group(self) -> Group:
        """Return the same group by its product table, with its elements in the order of numbers.

        Raises:
            OrbitLensError: If it has more than 4,096 elements.
        """
        if self.order > LARGEST_ORDER:
            raise OrbitLensError(
                f"{self.name} of side {self.side} as a finite group",
                expected=f"at most {LARGEST_ORDER} elements",
                received=self.order,
                remedy="choose a smaller side, or move inputs with actions.move_on_plane",
            )
        elements = self.element(torch.arange(self.order))
        # The place of a product is where its left factor moves the place of the right one.
        places = self.places(elements)[:, :, None] * self.point_group.order
        table = (places + self.products[elements[:, 2]][:, None]).flatten(1)
        names = [self._spelled(*element) for element in elements.tolist()]
        return from_table(table.numpy(), f"{self.name}({self.side})", names)

    def _moved(
        self, k: Int[Tensor, "*batch"], places: Int[Tensor, "*batch 2"]
    ) -> Int[Tensor, "*batch 2"]:
        return (self.matrices.to(k.device)[k] * places[..., None, :]).sum(-1)

    def _joined(
        self, places: Int[Tensor, "*batch 2"], k: Int[Tensor, "*batch"]
    ) -> Int[Tensor, "*batch 3"]:
        return torch.cat([places % self.side, k[..., None]], dim=-1)

    def _spelled(self, ty: int, tx: int, k: int) -> str:
        point = self.point_group.element_names[k]
        if (ty, tx) == (0, 0):
            return point
        return f"t({ty},{tx})" if k == 0 else f"t({ty},{tx}) {point}"


def plane_group_with(turns: int, flips: bool, side: int) -> PlaneGroup:
    """Return the plane group with 1, 2 or 4 turns, with or without flips.

    Example:
        >>> plane_group_with(2, True, 4)
        PlaneGroup(name='pmm', side=4)
    """
    return PlaneGroup(_NAMES[turns, flips], side)
