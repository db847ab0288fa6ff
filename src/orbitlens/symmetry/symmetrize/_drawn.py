"""Symmetrizing by frames that a head draws for each input."""

from dataclasses import replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from orbitlens.actions import SampledAction
from orbitlens.symmetry.symmetrize._methods import Answers, Method, asked, views_per_call
from orbitlens.symmetry.symmetrize.frames import FrameHead, Frames


@final
class Drawn(Method):
    """g_k f(g_k^-1 x) for the frames g_k that a head draws, in as few calls as memory allows.

    With a centred action, x stands about its centroid c, and c is added to centred outputs.
    """

    def __init__(
        self, head: FrameHead, action: SampledAction, output: SampledAction | None
    ) -> None:
        super().__init__()
        self.head, self.action, self.output = head, action, output

    def forward(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n points columns"],
        n_samples: int,
        generator: torch.Generator,
        mask: Bool[Tensor, "n points"] | None,
    ) -> Answers:
        together = views_per_call(inputs)
        counts = [min(together, n_samples - done) for done in range(0, n_samples, together)]
        parts = [self._some(network, inputs, count, generator, mask) for count in counts]
        if len(parts) == 1:
            return parts[0]
        shares = torch.tensor(counts).to(inputs) / n_samples
        return Answers(
            torch.cat([part.outputs for part in parts], dim=1),
            shares @ torch.stack([part.penalty for part in parts]).to(inputs),
            torch.stack([part.tied for part in parts]).all(0),
        )

    def _some(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n points columns"],
        n_samples: int,
        generator: torch.Generator,
        mask: Bool[Tensor, "n points"] | None,
    ) -> Answers:
        standing, centroid = self.action.centre(inputs, mask)
        frames: Frames = self.head(standing, n_samples, generator=generator, mask=mask)
        elements = tuple(each.flatten(0, 1) for each in frames.elements)
        copies = standing.repeat_interleave(n_samples, dim=0)
        turn = replace(self.action, centred=False)
        moved = turn.apply(copies, turn.inverse(elements))
        outputs = asked(network, moved, self.output)
        if self.output is not None:
            outputs = replace(self.output, centred=False).apply(outputs, elements)
            outputs = self.output.put_back(outputs, centroid.repeat_interleave(n_samples, dim=0))
        samples = outputs.unflatten(0, (len(inputs), n_samples))
        return Answers(samples, frames.penalty, frames.tied)
