"""From scores of nodes to permutations: what the heads of S_n and of S_n x O(3) share."""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from orbitlens.checks import as_count, as_number, as_switch
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.symmetry.symmetrize._rounding import rounding
from orbitlens.symmetry.symmetrize._sinkhorn import (
    hard_permutations,
    permutation_entropy,
    soft_permutations,
    straight_through,
)

TIES = ("noise", "order")
_TIE_NOISE = 1e-6


class Ranks(NamedTuple):
    """Permutations P, the entropy of the soft ones per node, and whether scores were equal."""

    permutations: Float[Tensor, "batch nodes ranks"]
    entropy: Float[Tensor, " batch"]
    tied: Bool[Tensor, " batch"]


@final
@dataclass(frozen=True)
class Ranking:
    """Steps 2 to 4 of the head of S_n: break ties, normalise, sort, and let the gradient through.

    `tau` is the temperature of the soft permutations, `steps` the number of Sinkhorn's steps.
    `ties` breaks equal scores by "noise" or leaves them in the "order" of the nodes. `hard` is
    False for the soft permutations themselves.
    """

    tau: float
    steps: int
    ties: str
    hard: bool

    def __post_init__(self) -> None:
        if as_number("tau", self.tau) <= 0:
            raise out_of_range("tau", "a temperature above 0", self.tau)
        as_count("sinkhorn_steps", self.steps)
        as_switch("hard", self.hard)
        check_ties(self.ties)

    def __call__(
        self,
        scores: Float[Tensor, "batch nodes"],
        noise: Float[Tensor, "batch nodes"],
        valid: Bool[Tensor, "batch nodes"] | None,
    ) -> Ranks:
        """Return the permutations that sort the scores; `noise` in [0, 1] breaks ties."""
        check_finite(scores)
        tied = has_ties(scores.detach(), valid)
        if self.ties == "noise":
            scores = scores + _TIE_NOISE * noise
        if valid is not None:
            scores = scores.masked_fill(~valid, 0.0)
        scores = normalize(scores, dim=-1)
        order = scores if valid is None else scores.masked_fill(~valid, -torch.inf)
        hard = hard_permutations(order.detach())
        soft = soft_permutations(scores, hard, tau=self.tau, steps=self.steps, valid=valid)
        nodes = scores.shape[-1] if valid is None else valid.sum(-1)
        used = straight_through(hard, soft) if self.hard else soft
        return Ranks(used, permutation_entropy(soft) / nodes, tied)


def has_ties(
    scores: Float[Tensor, "batch nodes"], valid: Bool[Tensor, "batch nodes"] | None
) -> Bool[Tensor, " batch"]:
    """Return whether two nodes have the same score, up to rounding."""
    if valid is not None:
        scores = scores.masked_fill(~valid, torch.nan)
    # NaN sorts first, and no gap to it is small.
    gaps = scores.sort(dim=-1, descending=True).values.diff(dim=-1).abs()
    largest = scores.nan_to_num(0.0).abs().amax(-1, keepdim=True)
    return (gaps <= rounding(scores.dtype) * largest).any(-1)


def check_ties(ties: str) -> None:
    """Check the name of a rule for ties."""
    if ties not in TIES:
        raise unknown_name("`ties`", ties, TIES)


def check_finite(values: Float[Tensor, "..."]) -> None:
    """Check what a head has computed, before it is sorted or made orthogonal."""
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise OrbitLensError(
            "what the head computes",
            expected="finite numbers",
            received=f"{bad} NaN or infinite values",
            remedy="look for such values in the inputs, or lower the learning rate",
        )
