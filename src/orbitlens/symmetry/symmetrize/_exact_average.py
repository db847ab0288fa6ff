"""Symmetrizing by the mean over all elements of a finite group."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.reps import Representation
from orbitlens.symmetry.symmetrize._methods import Answers, Method, asked, one_moved, views_per_call


@final
class ExactAverage(Method):
    """phi(x) = (1 / |G|) sum_g g f(g^-1 x)."""

    def __init__(self, action: Action, output: Representation | Action | None) -> None:
        super().__init__()
        self.action, self.output = action, output
        self._inverses = action.group.inverses.tolist()

    def forward(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n *axes"],
        n_samples: int,
        generator: torch.Generator,
        mask: Bool[Tensor, "n points"] | None,
    ) -> Answers:
        del n_samples, generator, mask
        elements, n, inverses = range(self.action.group.order), len(inputs), self._inverses
        together, back = views_per_call(inputs), []
        for part in (elements[i : i + together] for i in elements[::together]):
            moved = torch.cat([self.action.moved(inputs, inverses[g]) for g in part])
            answers = asked(network, moved, self.output).unflatten(0, (len(part), n))
            back += [one_moved(self.output, answers[i], g) for i, g in enumerate(part)]
        untied = torch.zeros(n, dtype=torch.bool, device=inputs.device)
        return Answers(torch.stack(back, dim=1), inputs.new_zeros(n), untied)
