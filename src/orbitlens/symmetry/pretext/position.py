"""Relative position: which neighbour of the middle of an image is this?

Source: Doersch, Gupta & Efros 2015, arXiv 1505.05192; Mukuta & Harada 2023, arXiv 2303.04427, for
labels that move with the image.
"""

from typing import final

import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.actions import images as turns_of
from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext.labels import LabelAction
from orbitlens.symmetry.pretext.task import PretextTask

_MIDDLE = 4


@final
class RelativePosition(PretextTask):
    """Tell where a patch lies, of the eight around the middle one.

        pair(x, y)   the middle patch and neighbour y of x, one behind the other as channels
        g pair(x, y) = pair(gx, g y)

    The neighbours are counted row by row, 0 at the upper left. C4 has two orbits of four: corners
    and edges.

    Source: Doersch et al. 2015, arXiv 1505.05192, without the jitter of the patches.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        gap: Pixels between patches; default 0.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, or the gap is below 0.

    Example:
        >>> task = RelativePosition("C4")
        >>> task.labels.orbits, task.labels.cap
        (((0, 2, 5, 7), (1, 3, 4, 6)), 0.25)
        >>> pictures = torch.arange(9).reshape(1, 1, 3, 3)
        >>> task.inputs(pictures, torch.tensor([7])).flatten().tolist()
        [4, 8]
    """

    def __init__(self, group: Group | str, gap: int = 0) -> None:
        self.group, self.gap = as_group(group), as_count("gap", gap, least=0)
        grid = turns_of(self.group).grid
        if grid is None:
            raise RuntimeError("actions that need no interpolation have a grid")
        places = grid(3, 3)
        around = [place for place in range(9) if place != _MIDDLE]
        # The middle stays, so the numbers above it move down by one.
        moved = places[:, around]
        self.labels = LabelAction(self.group, moved - (moved > _MIDDLE))

    def inputs(
        self, images: Shaped[Tensor, "n channels side side"], labels: Shaped[Tensor, " n"]
    ) -> Shaped[Tensor, "n pair patch patch"]:
        """Return the middle patch and the neighbour of each label, [n, 2 channels, patch, patch].

        Raises:
            OrbitLensError: If the images are not square, if three patches and two gaps do not fill
                them, or if a label is out of range.
        """
        images, labels = self._checked(images, labels)
        side = images.shape[-1]
        patch, rest = divmod(side - 2 * self.gap, 3)
        if rest or patch < 1:
            raise OrbitLensError(
                "`images` of RelativePosition",
                expected=f"a side of three patches and two gaps of {self.gap} pixels",
                received=side,
                remedy=f"crop or pad the images, such as to {3 * max(patch, 1) + 2 * self.gap}",
            )
        starts = [each * (patch + self.gap) for each in range(3)]
        patches = torch.stack(
            [images[:, :, y : y + patch, x : x + patch] for y in starts for x in starts], dim=1
        )
        place = labels + (labels >= _MIDDLE)
        neighbours = patches[torch.arange(len(images), device=images.device), place]
        return torch.cat([patches[:, _MIDDLE], neighbours], dim=1)
