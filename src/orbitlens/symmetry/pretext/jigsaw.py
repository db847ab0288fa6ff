"""Jigsaw puzzles: in which order were the parts of an image put together?

Source: Noroozi & Favaro 2016, arXiv 1603.09246, for the task and for permutations of large
Hamming distance; Mukuta & Harada 2023, arXiv 2303.04427, for labels that move with the image.
"""

from collections.abc import Sequence
from itertools import permutations as orders
from typing import final

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions import images as turns_of
from orbitlens.checks import as_count, as_indices, as_seed
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext.labels import LabelAction
from orbitlens.symmetry.pretext.task import PretextTask

_Permutations = Int[np.ndarray, "labels places"]
_CANDIDATES = 300


@final
class Jigsaw(PretextTask):
    """Tell in which order the m x m parts of an image were put together.

        jig(x, s)   has the part of place p at place s(p)
        g jig(x, s) = jig(gx, r s r^-1)        r the permutation of the places under g

    so the group moves permutations by conjugation. Parts turn with the image.

    Source: Noroozi & Favaro 2016, arXiv 1603.09246; Mukuta & Harada 2023, arXiv 2303.04427.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        parts: Parts along each side, m; default 2.
        permutations: The permutations s, one for each label, shape [|Y|, m^2]; closed under
            conjugation. Default: all 24 for m = 2, `distant_permutations(group, m)` for more.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, if a row is no permutation of the
            places, or if the permutations are not closed under conjugation.

    Example:
        >>> task = Jigsaw("C4")
        >>> [len(orbit) for orbit in task.labels.orbits], round(task.labels.cap, 3)
        ([1, 4, 2, 4, 4, 2, 4, 1, 1, 1], 0.417)
        >>> task.inputs(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1])).tolist()
        [[[[1, 2], [4, 3]]]]
    """

    def __init__(
        self,
        group: Group | str,
        parts: int = 2,
        permutations: _Permutations | Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.group, self.parts = as_group(group), as_count("parts", parts, least=2)
        if permutations is not None:
            own = _as_permutations(permutations, self.parts)
        elif self.parts == 2:
            own = np.array(list(orders(range(4))))
        else:
            own = distant_permutations(self.group, self.parts)
        self.permutations = own
        self.labels = LabelAction(self.group, _conjugation(own, self.group, self.parts))
        self._origins = torch.from_numpy(np.argsort(own, axis=1))

    def inputs(
        self, images: Shaped[Tensor, "n channels side side"], labels: Shaped[Tensor, " n"]
    ) -> Shaped[Tensor, "n channels side side"]:
        """Return each image with its parts in the order of its label.

        Raises:
            OrbitLensError: If the images are not square, if their side is no multiple of `parts`,
                or if a label is out of range.
        """
        images, labels = self._checked(images, labels)
        m, side = self.parts, images.shape[-1]
        if side % m:
            raise OrbitLensError(
                "`images` of Jigsaw",
                expected=f"a side that is a multiple of {m} pixels",
                received=side,
                remedy=f"crop or pad the images, to {side - side % m} or {side - side % m + m}",
            )
        parts = rearrange(images, "n c (a y) (b x) -> n (a b) c y x", a=m, b=m)
        rows = torch.arange(len(images), device=images.device)[:, None]
        moved = parts[rows, self._origins.to(images.device)[labels]]
        return rearrange(moved, "n (a b) c y x -> n c (a y) (b x)", a=m)


def distant_permutations(
    group: Group | str, parts: int = 3, *, seeds: int = 8, seed: int = 0
) -> _Permutations:
    """Return permutations that differ at many places, closed under conjugation by a group.

    Permutations are drawn, 300 for each that is taken. The one is taken whose conjugates are
    farthest from each other and from all that were taken before, by the smallest Hamming distance.

    Source: Noroozi & Favaro 2016, arXiv 1603.09246, algorithm 1, for seeds of large Hamming
    distance; here distances are those of whole orbits.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        parts: Parts along each side, m; default 3.
        seeds: Orbits of permutations; default 8.
        seed: Seed of the drawing.

    Returns:
        The permutations of all orbits, shape [at most seeds * |G|, m^2].

    Raises:
        OrbitLensError: If the group moves pixels off the grid, if a number is below 1, or if there
            are fewer orbits than seeds.

    Example:
        >>> distant_permutations("D4", 3, seeds=4).shape
        (32, 9)
    """
    group, seeds = as_group(group), as_count("seeds", seeds)
    parts = as_count("parts", parts, least=2)
    places, draw = _places(group, parts), np.random.default_rng(as_seed(seed))
    taken = np.zeros((0, parts**2), dtype=np.int64)
    for number in range(seeds):
        tried = np.argsort(draw.random((_CANDIDATES, parts**2)), axis=1)
        conjugates = _conjugates(tried, places)
        distances = _smallest_distances(tried, conjugates, taken)
        best = int(np.argmax(distances))
        if distances[best] == 0:
            raise OrbitLensError(
                "`seeds`",
                expected=f"at most {number}, as many orbits as were found for m = {parts}",
                received=seeds,
                remedy="take fewer, or more parts",
            )
        taken = np.concatenate([taken, np.unique(conjugates[best], axis=0)])
    return taken


def _places(group: Group, parts: int) -> Int[np.ndarray, "order places"]:
    """Return the place to which each part moves under each element."""
    grid = turns_of(group).grid
    if grid is None:
        raise RuntimeError("actions that need no interpolation have a grid")
    return grid(parts, parts)


def _conjugates(
    own: Int[np.ndarray, "n places"], places: Int[np.ndarray, "order places"]
) -> Int[np.ndarray, "n order places"]:
    """Return r s r^-1 for each permutation s and the permutation r of each element."""
    conjugates: Int[np.ndarray, "n order places"] = places[
        np.arange(len(places))[:, None], own[:, np.argsort(places, axis=1)]
    ]
    return conjugates


def _smallest_distances(
    tried: Int[np.ndarray, "n places"],
    conjugates: Int[np.ndarray, "n order places"],
    taken: Int[np.ndarray, "others places"],
) -> Int[np.ndarray, " n"]:
    """Return how far each orbit is from those that were taken, and its elements from each other."""
    # All elements of an orbit are equally far from a whole orbit.
    most = tried.shape[1]
    among = (conjugates != tried[:, None]).sum(2)
    away = (taken != tried[:, None]).sum(2).min(1, initial=most)
    closest: Int[np.ndarray, " n"] = np.minimum(np.where(among == 0, most, among).min(1), away)
    return closest


def _as_permutations(given: object, parts: int) -> _Permutations:
    places = parts**2
    own: _Permutations = as_indices("permutations", given, "labels places", most=places - 1).numpy()
    if own.shape[1] != places or (np.sort(own, axis=1) != np.arange(places)).any():
        raise OrbitLensError(
            "`permutations` of Jigsaw",
            expected=f"permutations of 0..{places - 1}, one for each label",
            received=f"rows of {own.shape[1]} numbers, which are none",
            remedy=f"give the place of each of the {parts} x {parts} parts",
        )
    different = len(np.unique(own, axis=0))
    if different < len(own):
        raise OrbitLensError(
            "`permutations` of Jigsaw",
            expected="different permutations",
            received=f"{len(own)}, of which {different} differ",
            remedy="give each one once",
        )
    return own


def _conjugation(own: _Permutations, group: Group, parts: int) -> Int[np.ndarray, "order labels"]:
    """Return the label of r s r^-1 for each element and each permutation s."""
    places = _places(group, parts)
    number = {tuple(s): label for label, s in enumerate(own.tolist())}
    conjugates = [[tuple(each) for each in row] for row in _conjugates(own, places).tolist()]
    for s, row in zip(own.tolist(), conjugates, strict=True):
        for g, each in enumerate(row):
            if each not in number:
                raise OrbitLensError(
                    "`permutations` of Jigsaw",
                    expected=f"a set that is closed under conjugation by {group.name}",
                    received=f"{s}, but not {list(each)}, its conjugate under "
                    f"{group.element_names[g]}",
                    remedy="add it, or take distant_permutations, whose sets are closed",
                )
    return np.array([[number[each] for each in row] for row in conjugates]).T
