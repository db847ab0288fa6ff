"""Frames by the group alone: uniform draws, whatever the input is."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from orbitlens.actions import SampledAction
from orbitlens.symmetry.symmetrize._doors import check_call
from orbitlens.symmetry.symmetrize.frames import FrameHead, Frames


@final
class HaarHead(FrameHead):
    """Draws frames without looking at the input: p(g|x) is the Haar measure.

        p(g | hx) = p(h^-1 g | x) = p(g)

    The head without weights: it makes the average over a group whose elements are drawn.

    Args:
        action: `actions.relabelling` or `actions.rotations`.

    Example:
        >>> from orbitlens.actions import rotations
        >>> frames = HaarHead(rotations("SO3"))(torch.rand(2, 5, 3), n_samples=4)
        >>> frames.elements[0].shape
        torch.Size([2, 4, 3, 3])
    """

    def __init__(self, action: SampledAction) -> None:
        super().__init__()
        self.action = action

    def forward(
        self,
        inputs: Float[Tensor, "n points columns"],
        n_samples: int,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "n samples points noise"] | None = None,
        mask: Bool[Tensor, "n points"] | None = None,
    ) -> Frames:
        """Return uniform frames; `noise` is not used, since the generator gives all that is drawn.

        Args:
            inputs: Inputs of the action, shape [n, points, columns].
            n_samples: Frames for each input.
            generator: Source of the frames; None (the default) seeds one from torch's own.
            noise: Not used.
            mask: True at the points that are there; padding keeps its place.

        Returns:
            The frames, without penalty, and never tied.

        Raises:
            OrbitLensError: If `n_samples` is below 1, if an input has no points, or if padding does
                not come last.
        """
        mask, n = check_call(inputs, n_samples, mask), len(inputs)
        if generator is None:
            generator = torch.Generator(inputs.device).manual_seed(int(torch.randint(2**62, ())))
        every = None if mask is None else mask.repeat_interleave(n_samples, 0)
        drawn = self.action.draw(n * n_samples, generator, inputs, every)
        elements = tuple(each.unflatten(0, (n, n_samples)) for each in drawn)
        return Frames(elements, inputs.new_zeros(n), torch.zeros(n).bool().to(inputs.device))
