"""Sparsity rules: from pre-activations to non-negative codes."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import torch
from torch import nn

from orbitlens.checks import as_count, as_floats, check_kind, usual_torch
from orbitlens.errors import out_of_range
from orbitlens.kernels import RunningLargest, SparseCodes
from orbitlens.sae.encoders import Encoder
from orbitlens.typing import Float, StackedCodes, Tensor


class Sparsity(nn.Module, ABC):
    """The interface: which pre-activations survive."""

    name = ""
    """The rule's name in files; empty for a rule that files have no name for."""
    k: int = 0
    """Latents kept per sample, on average; 0 for a rule that keeps as many as fire."""
    every = False
    """Whether all eligible pre-activations above zero are codes, as many as there are."""
    per_latent = False
    """Whether the rule has numbers for each latent, and so must see all latents at once."""
    ties = False
    """Whether the encoder is the dictionary transposed."""
    steers = False
    """Whether training counts what fires, and the rule acts on it."""
    learns = False
    """Whether `calibrate_` learns something from the pre-activations of trained weights."""
    shared = False
    """Whether the samples of a batch share a budget of k each while training."""
    compares = False
    """Whether `eligible` looks at several latents together."""
    d_sae: int = 0
    """Latents that the rule has numbers for; 0 for a rule that takes any number of them."""
    orientations: int = 0
    """Latents of each atom, which share these numbers; 0 for a rule that takes any."""
    centre: str = "trained"
    """Where the input bias is: see `BiasAdaptation`."""

    def settings(self) -> dict[str, Any]:
        """Return the fields of `cfg.json` that build the rule again, besides k."""
        return {"architecture": self.name}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Sparsity":
        """Build the rule from the fields of `cfg.json`."""
        return cls(settings["k"])

    def eligible(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations among which the largest are kept, -inf for the others."""
        return pre

    @abstractmethod
    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes z >= 0, shape [batch, d_sae]."""

    def calibrate_(self, blocks: Iterable[StackedCodes], n: int) -> None:
        """Learn from pre-activations of trained weights; called at the end of training.

        Args:
            blocks: Pre-activations of a few samples at a time.
            n: Number of samples in all.
        """
        del blocks, n

    def of_entries(self, pre: SparseCodes) -> Float[Tensor, " entries"]:
        """Return the codes of selected pre-activations."""
        return torch.relu(pre.values)

    def start_(self) -> None:
        """Forget what an earlier training counted; a training begins with it."""

    def check(self) -> None:
        """Refuse numbers that no training gives; before a training or a translation."""

    def observe_(self, pre: SparseCodes) -> None:
        """Count what fires in a step of training, for a rule that steers."""
        del pre

    def steer_(self) -> None:
        """Act on the counts; training calls it after each step."""

    def project_(self) -> None:
        """Restore constraints on trained weights; training calls it after each step."""

    def scale_(self, factor: float) -> None:
        """Scale thresholds with the unit of the activations."""
        del factor

    def written_out(self, encoder: Encoder) -> "Sparsity":
        """Return the rule of the SAE written out as an ordinary one; see `sae.dense`.

        Args:
            encoder: The encoder written out, changed in place by a rule with weights of its own.
        """
        del encoder
        return copy.deepcopy(self)


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

    name = "topk"

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = as_count("k", k)

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes with at most k non-zeros per sample, shape [batch, d_sae]."""
        pre = as_floats("pre", pre)
        values, latents = pre.topk(min(self.k, pre.shape[-1]), dim=-1)
        return torch.zeros_like(pre).scatter(-1, latents, torch.relu(values))


@final
class BatchTopK(Sparsity):
    """Keep the k * batch largest positive pre-activations of the whole batch.

    Samples share the budget while training. Afterwards a threshold decides, so that the code of a
    sample does not depend on the others in its batch. On average over the training set, k
    pre-activations per sample lie above it. It is stored with the weights in float32. Source:
    Bussmann et al., arXiv 2412.06410.

    Args:
        k: Latents kept per sample, on average.

    Raises:
        OrbitLensError: If k is below 1.

    Example:
        >>> BatchTopK(1)(torch.tensor([[1.0, 3.0], [5.0, 4.0]])).tolist()
        [[0.0, 0.0], [5.0, 4.0]]
    """

    name = "batchtopk"
    threshold: Tensor
    learns = True
    shared = True

    @usual_torch()
    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = as_count("k", k)
        self.register_buffer("threshold", torch.tensor(0.0))

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes, shape [batch, d_sae]: by budget in training, by threshold otherwise."""
        positive = torch.relu(as_floats("pre", pre))
        if not self.training:
            return positive * (positive > self.threshold[..., None, None])
        batches = positive.flatten(-2)
        budget = min(self.k * positive.shape[-2], batches.shape[-1])
        values, places = batches.topk(budget, dim=-1)
        return torch.zeros_like(batches).scatter(-1, places, values).view_as(positive)

    @torch.no_grad()
    def calibrate_(self, blocks: Iterable[StackedCodes], n: int) -> None:
        """Set the threshold to the largest pre-activation beyond the budget."""
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
class ReLU(Sparsity):
    """Keep every positive pre-activation, z = relu(a).

    With an L1 penalty, `objectives.l1_reconstruction`, it is the classical SAE. Files call it
    "standard", as SAELens does.

    Example:
        >>> ReLU()(torch.tensor([[1.0, -1.0, 2.0]])).tolist()
        [[1.0, 0.0, 2.0]]
    """

    name = "standard"
    every = True

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "ReLU":
        """Build the rule, which has no settings."""
        del settings
        return cls()

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes, as many as are positive, shape [batch, d_sae]."""
        return torch.relu(as_floats("pre", pre))


@final
class JumpReLU(Sparsity):
    """Keep every pre-activation above the threshold of its latent, z = a where a > theta.

    The thresholds get no gradient here: `sae.dense` writes them. Source: Rajamanoharan et al.,
    arXiv 2407.14435. Files call it "jumprelu", as SAELens does.

    Args:
        d_sae: Number of latents; every threshold is 0 at first.

    Example:
        >>> rule = JumpReLU(2)
        >>> _ = rule.threshold.fill_(1.5)
        >>> rule(torch.tensor([[1.0, 2.0]])).tolist()
        [[0.0, 2.0]]
    """

    name = "jumprelu"
    every = True
    per_latent = True
    threshold: Tensor

    @usual_torch()
    def __init__(self, d_sae: int) -> None:
        super().__init__()
        self.d_sae = as_count("d_sae", d_sae)
        self.register_buffer("threshold", torch.zeros(self.d_sae))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "JumpReLU":
        """Build the rule from the fields of `cfg.json`; its tensor is loaded afterwards."""
        return cls(settings["d_sae"])

    def eligible(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations above their thresholds, -inf for the others."""
        return torch.where(pre > self.threshold.unsqueeze(-2), pre, -torch.inf)

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes, as many as are above their thresholds, shape [batch, d_sae]."""
        return torch.relu(self.eligible(as_floats("pre", pre)))

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale the thresholds."""
        self.threshold.mul_(factor)


@final
class OnePose(Sparsity):
    """Let all codes of a sample share the element of a group that responds most.

    g* = argmax_g sum of the k largest relu(a[g, c])^2; another rule selects among the a[g*, c].

    Args:
        rule: The rule that selects.
        order: Elements of the group; pre-activations come element after element.

    Example:
        >>> OnePose(TopK(2), 2)(torch.tensor([[3.0, 0.0, 2.0, 2.5]])).tolist()
        [[0.0, 0.0, 2.0, 2.5]]
    """

    compares = True

    def __init__(self, rule: Sparsity, order: int) -> None:
        super().__init__()
        check_kind("rule", rule, Sparsity, "for example TopK(k)")
        if rule.every:
            raise out_of_range("rule", "TopK(k) or BatchTopK(k)", rule.name, "give one with a k")
        self.rule, self.order, self.k = rule, as_count("order", order), rule.k
        self.name, self.learns, self.shared = rule.name, rule.learns, rule.shared

    def settings(self) -> dict[str, Any]:
        """Return the fields of the rule, and that one pose is shared."""
        return {**self.rule.settings(), "one_pose": True}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "OnePose":
        """Build it from the fields of `cfg.json`."""
        rule = SPARSITY_RULES[settings["architecture"]](settings["k"])
        return cls(rule, settings["d_sae"] // settings["n_atoms"])

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes, all of one element for each sample, shape [batch, d_sae]."""
        codes: Tensor = self.rule(self.eligible(pre))
        return codes

    def calibrate_(self, blocks: Iterable[StackedCodes], n: int) -> None:
        """Let the rule learn from the pre-activations that it selects among."""
        self.rule.calibrate_(map(self.eligible, blocks), n)

    def scale_(self, factor: float) -> None:
        """Scale the thresholds of the rule."""
        self.rule.scale_(factor)

    def eligible(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations of each sample's element, -inf for the others."""
        answers = as_floats("pre", pre).unflatten(-1, (self.order, -1))
        largest = answers.detach().relu().topk(min(self.k, answers.shape[-1]), dim=-1).values
        pose = largest.square().sum(-1).argmax(-1)[..., None, None]
        elements = torch.arange(self.order, device=answers.device)[:, None]
        return torch.where(elements == pose, answers, -torch.inf).flatten(-2)


SPARSITY_RULES: dict[str, Callable[[int], Sparsity]] = {
    rule.name: rule for rule in (TopK, BatchTopK)
}
