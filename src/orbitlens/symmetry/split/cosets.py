"""A chain of subgroups of a plane group, and the representatives that pick a grid at each step.

Source: Xu, Kim, Rainforth & Teh 2021, arXiv 2106.05886, *Group Equivariant Subsampling*: the
equivariant subsampling of section 3, with the recursive choice of cosets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup, plane_group_with

_Factor = int | Sequence[int]


@final
@dataclass(frozen=True)
class SubgroupStep:
    """A step from a plane group G down to a subgroup K: a coarser grid, fewer turns, no flips.

        K = { (shift u, k) }    k a power of r^turn, with flips if `flip` is 1

    K is again a plane group, that of a torus with side / shift places. Each coset pK has one
    representative p = (t, k): t has entries below `shift`, and k is the first element of its coset
    of turns and flips.

    Args:
        fine: G.
        shift: The stride of the grid; a divisor of the side.
        turn: The stride of the turns; a divisor of their number.
        flip: 2 if flips are left out, else 1.

    Raises:
        OrbitLensError: If a stride does not divide what it reduces.

    Example:
        >>> step = SubgroupStep(PlaneGroup("p4", 8), shift=2, turn=2)
        >>> step.coarse, step.index
        (PlaneGroup(name='p2', side=4), 8)
    """

    fine: PlaneGroup
    shift: int = 1
    turn: int = 1
    flip: int = 1

    def __post_init__(self) -> None:
        whole = {"shift": self.fine.side, "turn": self.fine.turns, "flip": 1 + self.fine.flips}
        for name, size in whole.items():
            stride = as_count(name, getattr(self, name))
            if size % stride:
                divisors = [str(each) for each in range(1, size + 1) if size % each == 0]
                raise OrbitLensError(
                    f"`{name}` of a step from {self.fine.name} of side {self.fine.side}",
                    expected=f"a divisor of {size}",
                    received=stride,
                    remedy=f"choose {' or '.join(divisors)}",
                )
            object.__setattr__(self, name, stride)

    @cached_property
    def coarse(self) -> PlaneGroup:
        """K as a plane group of its own."""
        flips = self.fine.flips and self.flip == 1
        side = self.fine.side // self.shift
        return plane_group_with(self.fine.turns // self.turn, flips, side)

    @property
    def index(self) -> int:
        """The number of cosets, |G| / |K|."""
        return self.shift**2 * self.turn * self.flip

    @cached_property
    def kept(self) -> list[int]:
        """The turns and flips of K, in its order, as elements of G's."""
        turns = range(0, self.fine.turns, self.turn)
        flips = range(1 + self.coarse.flips)
        return [p + self.fine.turns * q for q in flips for p in turns]

    def included(self, elements: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch 3"]:
        """Return elements of K as elements of G."""
        k = torch.tensor(self.kept, device=elements.device)[elements[..., 2]]
        return torch.cat([self.shift * elements[..., :2], k[..., None]], dim=-1)

    def divide(
        self, elements: Int[Tensor, "*batch 3"]
    ) -> tuple[Int[Tensor, "*batch 3"], Int[Tensor, "*batch 3"]]:
        """Split elements g of G into p and k with g = pk: p represents gK, and k is in K.

        Args:
            elements: (ty, tx, k) of G, shape [..., 3].

        Returns:
            The representatives p in G, and the remainders k as elements of K.
        """
        first = self.fine.products[:, self.kept].amin(1).to(elements.device)
        representatives = torch.cat(
            [elements[..., :2] % self.shift, first[elements[..., 2:]]], dim=-1
        )
        rest = self.fine.multiply(self.fine.inverse(representatives), elements)
        places = torch.zeros_like(first)
        places[self.kept] = torch.arange(len(self.kept), device=elements.device)
        remainders = [rest[..., :2] // self.shift, places[rest[..., 2:]]]
        return representatives, torch.cat(remainders, dim=-1)


def subgroup_chain(group: PlaneGroup, factors: Sequence[_Factor]) -> tuple[SubgroupStep, ...]:
    """Return the steps from a plane group down to the trivial group.

    Args:
        group: The plane group.
        factors: For each step the stride c of the grid, or (c, stride of the turns), or (c, stride
            of the turns, 2 where the flips are left out).

    Returns:
        The steps; the coarse group of each is the fine group of the next.

    Raises:
        OrbitLensError: If the factors are no list of strides, or do not end at the trivial group:
            their products are not the side, the number of turns, and 2 for groups with flips.

    Example:
        >>> [step.coarse.side for step in subgroup_chain(PlaneGroup("p4", 8), [(2, 2), (4, 2)])]
        [4, 1]
    """
    strides = [_strides(factor) for factor in _listed("factors", factors)]
    reached = tuple(math.prod(column) for column in zip(*strides, strict=True)) or (1, 1, 1)
    wanted = (group.side, group.turns, 1 + group.flips)
    if reached != wanted:
        raise OrbitLensError(
            "`factors`",
            expected=f"products that reach the trivial group of {group.name}: {wanted[0]} for the "
            f"side, {wanted[1]} for the turns, {wanted[2]} for the flips",
            received=f"{reached[0]}, {reached[1]} and {reached[2]}",
            remedy=f"give for example {_factors(group)}",
        )
    steps: list[SubgroupStep] = []
    for shift, turn, flip in strides:
        steps.append(SubgroupStep(steps[-1].coarse if steps else group, shift, turn, flip))
    return tuple(steps)


def default_factors(group: PlaneGroup) -> tuple[tuple[int, int, int], ...]:
    """Return factors as the source has them: halves, then 4; turns and flips go last.

    Where halves do not lead to 4, the prime factors of what is left follow, from the smallest.

    Args:
        group: The plane group. No prime factor of its side is above 13, as each layer has a kernel
            as wide as its stride.

    Returns:
        For each step (stride of the grid, stride of the turns, 2 where flips are left out).

    Raises:
        OrbitLensError: If the side has a prime factor above 13.

    Example:
        >>> default_factors(PlaneGroup("p4m", 32))
        ((2, 1, 1), (2, 1, 1), (2, 2, 1), (4, 2, 2))
        >>> default_factors(PlaneGroup("p1", 33))
        ((3, 1, 1), (11, 1, 1))
    """
    factors = _factors(group)
    widest = max(shift for shift, _, _ in factors)
    if widest > _WIDEST:
        raise OrbitLensError(
            "`factors`",
            expected=f"to be given for a side of {group.side}, which has the prime factor {widest}",
            received="no factors",
            remedy="crop or pad the images to a side such as 32, or give factors and kernels",
        )
    return factors


def _factors(group: PlaneGroup) -> tuple[tuple[int, int, int], ...]:
    shifts, side = [], group.side
    while side > _LAST and side % 2 == 0:
        shifts.append(2)
        side //= 2
    shifts += [side] if side <= _LAST else _primes(side)
    turns = [1] * len(shifts)
    for place in range(1, group.turns.bit_length()):
        turns[max(-place, -len(shifts))] *= 2
    flips = [1] * (len(shifts) - 1) + [1 + group.flips]
    return tuple(zip(shifts, turns, flips, strict=True))


def _primes(number: int) -> list[int]:
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found


_LAST = 4  # side of the last map, where halves lead to it
_WIDEST = 13  # stride of a layer; wider kernels are given, not chosen


def _kernels(kernels: Sequence[int] | None, steps: Sequence[SubgroupStep]) -> tuple[int, ...]:
    """Return the kernels of layers: those given, or as wide as the strides, so that all is seen."""
    if kernels is None:
        least = [3] * (len(steps) - 1) + [5]
        widths = [max(size, 2 * (s.shift // 2) + 1) for size, s in zip(least, steps, strict=True)]
        # A kernel may not wrap around the torus more than once.
        return tuple(min(w, 2 * s.fine.side + 1) for w, s in zip(widths, steps, strict=True))
    given = _listed("kernels", kernels)
    if len(given) != len(steps):
        raise OrbitLensError(
            "`kernels`",
            expected=f"one for each of the {len(steps)} factors",
            received=len(given),
            remedy="give as many kernels as factors",
        )
    return tuple(as_count("kernels", kernel) for kernel in given)


def coset_representatives(
    pose: Int[Tensor, "n 3"], steps: Sequence[SubgroupStep]
) -> tuple[Int[Tensor, "n 3"], ...]:
    """Return the representatives p_1, ..., p_L whose product, down the chain, is the pose.

        g = p_1 g_1,   g_1 = p_2 g_2,   ...   with g_i in the i-th subgroup

    Args:
        pose: Elements g of the first group, shape [n, 3].
        steps: A chain of subgroups that ends at the trivial one.

    Returns:
        For each step the representatives, as elements of its fine group, shape [n, 3].

    Raises:
        OrbitLensError: If a pose is outside of the first group.

    Example:
        >>> steps = subgroup_chain(PlaneGroup("p1", 8), (2, 4))
        >>> [p.tolist() for p in coset_representatives(torch.tensor([[5, 6, 0]]), steps)]
        [[[1, 0, 0]], [[2, 3, 0]]]
    """
    if steps:
        pose = steps[0].fine.as_elements("pose", pose, len(pose))
    found = []
    for step in steps:
        representatives, pose = step.divide(pose)
        found.append(representatives)
    return tuple(found)


def _strides(factor: object) -> tuple[int, int, int]:
    given = [factor] if isinstance(factor, int | float) else _listed("factors", factor)
    if not 1 <= len(given) <= 3:
        raise OrbitLensError(
            "`factors`",
            expected="one to three strides for each step: of the grid, the turns, the flips",
            received=given,
            remedy="give for example (2, 1, 1)",
        )
    shift, turn, flip = (as_count("factors", stride) for stride in (*given, 1, 1)[:3])
    return shift, turn, flip


def _listed(name: str, values: object) -> list[Any]:
    """Return the entries of a list, a tuple or an array; numbers of NumPy as those of Python."""
    if isinstance(values, np.ndarray | np.generic | Tensor):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise OrbitLensError(
            f"`{name}`",
            expected="a list of whole numbers, with one entry for each layer",
            received=type(values).__name__,
            remedy=f"give for example {(3, 5) if name == 'kernels' else (2, 4)}",
        )
    return [each.tolist() if isinstance(each, np.generic | Tensor) else each for each in values]
