"""Symmetrizing by frames that a head draws for each input."""

from dataclasses import replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from orbitlens.actions import SampledAction
from orbitlens.checks import check_memory
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.symmetrize._methods import (
    Answers,
    Method,
    asked,
    in_full,
    views_per_call,
)
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
        together = min(views_per_call(inputs), n_samples)
        self._check_memory(inputs, n_samples, together)
        counts = [min(together, n_samples - done) for done in range(0, n_samples, together)]
        parts = [self._some(network, inputs, count, generator, mask) for count in counts]
        if len(parts) == 1:
            return parts[0]
        shares = torch.tensor(counts).to(inputs) / n_samples
        return Answers(
            torch.cat([part.outputs for part in parts], dim=1),
            shares @ torch.stack([part.penalty for part in parts]),
            torch.stack([part.tied for part in parts]).all(0),
        )

    def _check_memory(
        self, inputs: Float[Tensor, "n points columns"], n_samples: int, together: int
    ) -> None:
        """Refuse what cannot fit: frames and moved inputs of one call, and one output a sample."""
        points = self.action.nodes
        frame = points**2 + 9 * (self.action.vectors > 0) + inputs[:1].numel()
        numbers = len(inputs) * (together * frame + n_samples)
        check_memory(
            f"{n_samples} samples of {len(inputs)} inputs",
            numbers * inputs.element_size(),
            "ask for fewer samples, or give fewer inputs at once",
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
        turn = replace(self.action, centred=False)
        with in_full(inputs):
            frames: Frames = self.head(standing, n_samples, generator=generator, mask=mask)
            elements = tuple(each.flatten(0, 1).to(inputs) for each in frames.elements)
            copies = standing.repeat_interleave(n_samples, dim=0)
            moved = turn(copies, turn.inverse(elements))
        outputs = asked(network, moved, self.output)
        if self.output is None:
            _check_no_rows(outputs, self.action)
        else:
            outputs = replace(self.output, centred=False).apply(outputs, elements)
            outputs = _put_back(self.output, outputs, centroid, mask)
        samples = outputs.unflatten(0, (len(inputs), n_samples))
        return Answers(samples, frames.penalty.to(inputs), frames.tied)


def _put_back(
    output: SampledAction,
    outputs: Float[Tensor, "rows points columns"],
    centroid: Float[Tensor, "n 1 3"],
    mask: Bool[Tensor, "n padded"] | None,
) -> Float[Tensor, "rows points columns"]:
    """Return outputs about the centroids of their inputs; padding stays, if they have it."""
    samples = len(outputs) // max(1, len(centroid))
    if mask is not None:
        mask = mask.repeat_interleave(samples, 0) if mask.shape[1] == outputs.shape[1] else None
    return output.put_back(outputs, centroid.repeat_interleave(samples, 0), mask)


def _check_no_rows(outputs: Float[Tensor, "n *out"], action: SampledAction) -> None:
    """Refuse to average one value for each node over relabellings: all nodes would get the mean."""
    if action.nodes < 2 or outputs.ndim < 2 or outputs.shape[1] != action.nodes:
        return
    rows = (
        f'output=actions.rotations("{action.group}"), for rows of vectors and scalars'
        if action.vectors
        else f"output=actions.relabelling({action.nodes}, pairs=False), for rows "
        f"[n, {action.nodes}, features]"
    )
    raise OrbitLensError(
        "`output`",
        expected=f"the action on outputs, which have {action.nodes} rows as the inputs have: "
        f"{list(outputs.shape)}",
        received="None, for outputs that do not move",
        remedy=f"give {rows}; if these are no rows, end the network with "
        f"nn.Unflatten(1, (1, {action.nodes})), or with another width",
    )
