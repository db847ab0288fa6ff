"""Rotation prediction: by which element was an upright image moved?

Source: Gidaris, Singh & Komodakis 2018, arXiv 1803.07728; Mukuta & Harada 2023, arXiv 2303.04427,
for labels that move with the image.
"""

from typing import final

import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.actions import images as turns_of
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext._images import as_squares
from orbitlens.symmetry.pretext.labels import LabelAction
from orbitlens.symmetry.pretext.task import PretextTask

_DRAWS, _LEVEL, _MOST = 199, 0.01, 1000


@final
class RotationPrediction(PretextTask):
    """Tell by which element an upright image was moved.

        inputs(x, h) = h x        g inputs(x, h) = inputs(x, g h)

    so the labels are the elements, and the group moves them by multiplication from the left. There
    is one orbit. The task needs images that are upright: where a turned image is as likely as the
    image, no answer is right.

    Source: Gidaris et al. 2018, arXiv 1803.07728.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        upright: The images to train on, shape [n, channels, side, side]; at most 1000 are tried,
            evenly from first to last: is their mean farther from symmetric than the mean of the
            same images moved at random?

    Raises:
        OrbitLensError: If the group moves pixels off the grid, if the images are not square, if a
            value is not finite, or if their mean knows no upright (in 199 random moves, at a level
            of 1%).

    Example:
        >>> ramps = torch.rand(50, 1, 4, 4) + torch.arange(4)[:, None]
        >>> RotationPrediction("C4", ramps).labels.orbits
        ((0, 1, 2, 3),)
    """

    def __init__(self, group: Group | str, upright: Shaped[Tensor, "n channels side side"]) -> None:
        self.group = as_group(group)
        self._action = turns_of(self.group)
        self.labels = LabelAction(self.group, self.group.table)
        images = as_squares("`upright`", upright)
        _check_finite(images)
        if self.group.order > 1:
            tried = min(len(images), _MOST)
            self._check_upright(images[torch.arange(tried) * len(images) // max(tried, 1)])

    def inputs(
        self, images: Shaped[Tensor, "n channels side side"], labels: Shaped[Tensor, " n"]
    ) -> Shaped[Tensor, "n channels side side"]:
        """Return each image moved by the element of its label.

        Raises:
            OrbitLensError: If the images are not square, or a label is out of range.
        """
        images, labels = self._checked(images, labels)
        moved = torch.empty_like(images)
        for element in labels.unique().tolist():
            own = labels == element
            moved[own] = self._action(images[own], element)
        return moved

    def _check_upright(self, images: Shaped[Tensor, "n channels side side"]) -> None:
        # If the group keeps the distribution, moving each image at random changes no statistic.
        orbits = self._action.orbit(images.double()).flatten(2)
        defects = orbits - orbits.mean(1, keepdim=True)
        generator = torch.Generator().manual_seed(0)
        n, order, _ = defects.shape
        found, rows = defects[:, 0].sum(0).norm(), torch.arange(n)
        above = sum(
            bool(
                defects[rows, torch.randint(order, (n,), generator=generator)].sum(0).norm()
                >= found
            )
            for _ in range(_DRAWS)
        )
        level = (1 + above) / (1 + _DRAWS)
        if level > _LEVEL:
            raise OrbitLensError(
                "`upright`",
                expected=f"images whose mean is not symmetric under {self.group.name}",
                received=f"a mean as symmetric as that of images moved at random (p = {level:.2g})",
                remedy="choose Jigsaw or RelativePosition, which need no upright, or more images",
            )


def _check_finite(images: Shaped[Tensor, "n channels side side"]) -> None:
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise OrbitLensError(
            "`upright`",
            expected="finite values",
            received=f"{broken} images with NaN or infinity",
            remedy="leave these out, or mend them",
        )
