"""Hard and soft permutations that sort scores, and the gradient that goes through both.

P[node, rank] = 1 where the node has that rank; the highest score has rank 0. So P moves ranks to
nodes, and P^T x is x in the order of the ranks.

Source: Mena et al. 2018, arXiv 1802.08665, *Learning Latent Permutations with Gumbel-Sinkhorn
Networks*; Prillo & Eisenschlos 2020, arXiv 2006.16038, *SoftSort*, for the logits.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

_LEAST = 1e-12  # keeps the logarithm of an entry finite


def sinkhorn(
    logits: Float[Tensor, "*batch rows columns"], steps: int
) -> Float[Tensor, "*batch rows columns"]:
    """Return exp(logits) with rows and columns divided by their sums in turn, columns last."""
    for _ in range(steps):
        logits = logits.log_softmax(-1).log_softmax(-2)
    return logits.exp()


def hard_permutations(
    scores: Float[Tensor, "batch nodes"],
) -> Float[Tensor, "batch nodes ranks"]:
    """Return P of the descending order; equal scores keep the order of their nodes."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    return one_hot(order, scores.shape[-1]).mT.to(scores)


def soft_permutations(
    scores: Float[Tensor, "batch nodes"],
    hard: Float[Tensor, "batch nodes ranks"],
    *,
    tau: float,
    steps: int,
    valid: Bool[Tensor, "batch nodes"] | None = None,
) -> Float[Tensor, "batch nodes ranks"]:
    """Return Sinkhorn(-|s_i - sorted(s)_j| / tau); the scores of `hard` are these, sorted.

    Padding keeps its places: there S is the identity.
    """
    in_order = (scores[:, None] @ hard).squeeze(1)
    logits = -(scores[:, :, None] - in_order[:, None]).abs() / tau
    if valid is not None:
        apart = ~(valid[:, :, None] & valid[:, None])
        logits = logits.masked_fill(apart, -torch.inf)
        logits = logits.masked_fill(torch.diag_embed(~valid), 0.0)
    return sinkhorn(logits, steps)


def straight_through(
    hard: Float[Tensor, "*shape"], soft: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return stopgrad(P - S) + S: the value of the hard choice P, the gradient of the soft one."""
    # P - S + S alone would leave a rounding error in the entries 0 and 1.
    return hard + (soft - soft.detach())


def permutation_entropy(
    soft: Float[Tensor, "*batch nodes ranks"],
) -> Float[Tensor, "*batch"]:
    """Return the entropies of all rows and all columns of S in nats, summed; 0 at a permutation.

    A row counts each entry once, and so does a column; hence the factor of 2.
    """
    return -2 * (soft * soft.clamp(min=_LEAST).log()).sum((-2, -1))
