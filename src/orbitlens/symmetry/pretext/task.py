"""The protocol of every pretext task: an input is made of an image and a label."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.checks import as_indices, check_kind
from orbitlens.symmetry.pretext._images import as_squares
from orbitlens.symmetry.pretext.labels import LabelAction


class PretextTask(ABC):
    """A task without annotations, whose labels move as the images move.

        g inputs(x, y) = inputs(x', g y)        x' is gx, or x itself for rotation prediction

    bit by bit. So a label and an input that are moved together belong together again. A random turn
    of an input that has its label must move the label too.
    """

    labels: LabelAction
    """How the group moves the labels."""

    @abstractmethod
    def inputs(
        self, images: Shaped[Tensor, "n channels side side"], labels: Shaped[Tensor, " n"]
    ) -> Shaped[Tensor, "n more smaller smaller"]:
        """Return the input of each image with its label."""

    def draw(
        self, images: Shaped[Tensor, "n channels side side"], generator: torch.Generator
    ) -> tuple[Shaped[Tensor, "n more smaller smaller"], Int[Tensor, " n"]]:
        """Draw a label for each image, all equally likely, and return inputs and labels.

        Args:
            images: Square images, shape [n, channels, side, side].
            generator: What the labels are drawn with.

        Returns:
            Inputs, and their labels, shape [n].

        Raises:
            OrbitLensError: As `inputs`.
        """
        check_kind("generator", generator, torch.Generator, "see torch.Generator")
        squares = as_squares("`images` of a pretext task", images)
        size, device = (len(squares),), generator.device
        labels = torch.randint(self.labels.n, size, generator=generator, device=device)
        labels = labels.to(squares.device)
        return self.inputs(squares, labels), labels

    def _checked(self, images: object, labels: object) -> tuple[Tensor, Int[Tensor, " n"]]:
        squares = as_squares("`images` of a pretext task", images)
        most = self.labels.n - 1
        checked = as_indices("labels", labels, "n", most=most, size=len(squares))
        return squares, checked.to(squares.device)
