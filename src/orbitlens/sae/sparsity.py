"""Sparsity rules: from pre-activations to a few non-negative codes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import final

import torch
from torch import nn

from orbitlens.errors import OrbitLensError
from orbitlens.kernels._largest import RunningLargest
from orbitlens.typing import StackedCodes, Tensor


class Sparsity(nn.Module, ABC):
    """The interface: which pre-activations survive, k of them per sample."""

    k: int
    learns = False
    """Whether `calibrate_` learns something, so that the training loop computes what it needs."""
    shared = False
    """Whether the samples of a batch share a budget of k each while training."""

    compares = False
    """Whether `eligible` looks at several latents together."""

    def eligible(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations among which the largest are kept, -inf for the others."""
        return pre

    @abstractmethod
    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes z >= 0, shape [batch, d_sae]."""

    def calibrate_(self, blocks: Iterable[StackedCodes], n: int) -> None:
        """Learn from pre-activations of trained weights; the training loop calls it at its end.

        Args:
            blocks: Pre-activations of a few samples at a time.
            n: Number of samples in all.
        """
        del blocks, n

    def scale_(self, factor: float) -> None:
        """Scale what depends on the unit of the activations."""
        del factor


@final
class TopK(Sparsity):
    """Keep the k largest positive pre-activations of each sample.

    z = TopK(relu(a)), at most k non-zeros per sample. Source: Gao et al., arXiv 2406.04093.

    Args:
        k: Latents kept per sample.

    Raises:
        OrbitLensError: If k is below 1.

    Example:
        >>> TopK(1)(torch.tensor([[1.0, 3.0, 2.0], [-1.0, -2.0, -3.0]])).tolist()
        [[0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = _checked(k)

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes with at most k non-zeros per sample, shape [batch, d_sae]."""
        values, latents = pre.topk(self.k, dim=-1)
        return torch.zeros_like(pre).scatter(-1, latents, torch.relu(values))


@final
class BatchTopK(Sparsity):
    """Keep the k * batch largest positive pre-activations of the whole batch.

    Samples share the budget while training. Afterwards a threshold decides, so that the code of a
    sample does not depend on its batch-mates: the value above which k pre-activations per sample
    lie, on average over the training set. It is stored with the weights in float32. Source:
    Bussmann et al., arXiv 2412.06410.

    Args:
        k: Latents kept per sample, on average.

    Raises:
        OrbitLensError: If k is below 1.

    Example:
        >>> BatchTopK(1)(torch.tensor([[1.0, 3.0], [5.0, 4.0]])).tolist()
        [[0.0, 0.0], [5.0, 4.0]]
    """

    threshold: Tensor
    learns = True
    shared = True

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = _checked(k)
        self.register_buffer("threshold", torch.tensor(0.0))

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes, shape [batch, d_sae]: by budget in training, by threshold otherwise."""
        positive = torch.relu(pre)
        if not self.training:
            return positive * (positive > self.threshold[..., None, None])
        batches = positive.flatten(-2)
        values, places = batches.topk(self.k * pre.shape[-2], dim=-1)
        return torch.zeros_like(batches).scatter(-1, places, values).view_as(pre)

    @torch.no_grad()
    def calibrate_(self, blocks: Iterable[StackedCodes], n: int) -> None:
        """Set the threshold to the largest pre-activation that the budget leaves out."""
        running = RunningLargest(self.k * n + 1)
        for number, block in enumerate(blocks):
            running.add(block, first=number * block.numel(), stride=block.shape[-1])
        ranked, _ = running.finish()
        exhausted = len(ranked) <= self.k * n
        self.threshold.copy_(torch.zeros(()) if exhausted else ranked.min())

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale the threshold."""
        self.threshold.mul_(factor)


@final
class OnePose(Sparsity):
    """Let all codes of a sample share one element of a group, the one that answers most.

    g* = argmax_g sum of the k largest relu(a[g, c])^2, and the rule decides among the a[g*, c].

    Args:
        rule: What decides.
        order: Elements of the group; pre-activations come element after element.

    Example:
        >>> OnePose(TopK(2), 2)(torch.tensor([[3.0, 0.0, 2.0, 2.5]])).tolist()
        [[0.0, 0.0, 2.0, 2.5]]
    """

    compares = True

    def __init__(self, rule: Sparsity, order: int) -> None:
        super().__init__()
        self.rule, self.order, self.k = rule, order, rule.k
        self.learns, self.shared = rule.learns, rule.shared

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes, all of one element for each sample, shape [batch, d_sae]."""
        codes: Tensor = self.rule(self.eligible(pre))
        return codes

    def calibrate_(self, blocks: Iterable[StackedCodes], n: int) -> None:
        """Let the rule learn from what it will see."""
        self.rule.calibrate_(map(self.eligible, blocks), n)

    def scale_(self, factor: float) -> None:
        """Scale what depends on the unit of the activations."""
        self.rule.scale_(factor)

    def eligible(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations of each sample's element, -inf for the others."""
        answers = pre.unflatten(-1, (self.order, -1))
        largest = answers.detach().relu().topk(min(self.k, answers.shape[-1]), dim=-1).values
        pose = largest.square().sum(-1).argmax(-1)[..., None, None]
        elements = torch.arange(self.order, device=pre.device)[:, None]
        return torch.where(elements == pose, answers, -torch.inf).flatten(-2)


SPARSITY_RULES: dict[str, Callable[[int], Sparsity]] = {"topk": TopK, "batchtopk": BatchTopK}


def _checked(k: int) -> int:
    if k < 1:
        raise OrbitLensError(
            "`k`", expected="at least 1", received=k, remedy="keep at least one latent"
        )
    return k
