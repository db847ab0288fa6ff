"""Symmetrizing by one frame for each input, the best by the scores of a canonicaliser."""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.errors import OrbitLensError
from orbitlens.reps import Representation
from orbitlens.symmetry.symmetrize._methods import (
    Answers,
    Method,
    answer_of,
    asked,
    in_full,
    one_moved,
)
from orbitlens.symmetry.symmetrize.canonical_heads import PlaneHead

_ROUNDING = 100  # steps of the number type, relative to the largest score


@final
class FiniteCanonical(Method):
    """phi(x) = g f(g^-1 x)   with g = argmax s(x).

    Backwards the argmax is a softmax of the scores (straight-through), so that the loss trains the
    head.
    """

    def __init__(
        self, head: nn.Module, action: Action, output: Representation | Action | None
    ) -> None:
        super().__init__()
        self.head, self.action, self.output = head, action, output

    def forward(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n *axes"],
        n_samples: int,
        generator: torch.Generator,
        mask: Bool[Tensor, "n points"] | None,
    ) -> Answers:
        del n_samples, generator, mask
        with in_full(inputs):
            chosen, tied, scores = self._frames(inputs)
        inverses = self.action.group.inverses
        standing = _by_frame(
            lambda rows, g: self.action.moved(rows, int(inverses[g])), inputs, chosen, scores
        )
        outputs = asked(network, standing, self.output)
        if self.output is not None:
            outputs = _by_frame(
                lambda rows, g: one_moved(self.output, rows, g), outputs, chosen, scores
            )
        return Answers(outputs[:, None], inputs.new_zeros(len(inputs)), tied)

    def _frames(
        self, inputs: Float[Tensor, "n *axes"]
    ) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"], Float[Tensor, "n group"] | None]:
        """Return the number of the chosen element, whether it is tied, and the scores if any."""
        if isinstance(self.head, PlaneHead):
            pose = self.head(inputs)
            return self.head.group.number(pose.element), pose.tied, None
        scores = self._scores(inputs)
        return scores.argmax(1), _tied(scores), scores

    def _scores(self, inputs: Float[Tensor, "n *axes"]) -> Float[Tensor, "n group"]:
        scores = answer_of(self.head, inputs, "`head`")
        shape = (len(inputs), self.action.group.order)
        if not isinstance(scores, Tensor) or tuple(scores.shape) != shape:
            raise OrbitLensError(
                "`head`",
                expected=f"scores of shape {list(shape)}, one for each element",
                received=list(scores.shape)
                if isinstance(scores, Tensor)
                else type(scores).__name__,
                remedy="return a tensor [n, |G|]",
            )
        if not bool(scores.isfinite().all()):
            raise OrbitLensError(
                "scores of the canonicaliser",
                expected="finite numbers",
                received="NaN or infinity",
                remedy="look for NaN in the inputs, or lower the learning rate",
            )
        return scores


def _by_frame(
    move: Callable[[Tensor, int], Tensor],
    rows: Shaped[Tensor, "n *axes"],
    chosen: Int[Tensor, " n"],
    scores: Float[Tensor, "n group"] | None,
) -> Shaped[Tensor, "n *axes"]:
    """Return each row moved by its own element; backwards, the scores, if any, weigh all moves."""
    moved = rows.clone()
    for g in chosen.unique().tolist():
        where = (chosen == g).nonzero()[:, 0]
        moved[where] = move(rows[where], g)
    if scores is None or not (torch.is_grad_enabled() and scores.requires_grad):
        return moved
    with torch.no_grad():
        every = torch.stack([move(rows, g) for g in range(scores.shape[1])], dim=1)
    soft = torch.einsum("ng,ng...->n...", scores.softmax(1), every)
    # The difference is zero, to the last bit: only its gradient counts.
    return moved + (soft - soft.detach())


def _tied(scores: Float[Tensor, "n group"]) -> Bool[Tensor, " n"]:
    """Return whether two scores are the largest, up to rounding."""
    if scores.shape[1] == 1:
        return torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    first, second = scores.detach().topk(2, dim=1).values.unbind(1)
    near = _ROUNDING * torch.finfo(scores.dtype).eps * scores.detach().abs().amax(1)
    return first - second <= near
