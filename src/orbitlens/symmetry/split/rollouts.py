"""How good predictions in latents are: ranks among other states, and what a symmetry leaves equal.

Source: Park et al. 2022, arXiv 2204.11371, with the ranks of Kipf, van der Pol & Welling 2020,
arXiv 1911.12247. Both count ties as hits, so that a model with one latent for all states is
perfect; here a tie is a miss.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_count, as_seed
from orbitlens.errors import OrbitLensError

_ROWS = 256  # of distances at once
_ROUNDING = 1e-6  # of single precision, relative
_Vectors = Float[Tensor, "n *axes"]


@torch.no_grad()
def strict_ranks(predicted: _Vectors, target: _Vectors) -> Int[Tensor, " n"]:
    """Return the rank of each prediction, among all, by the distance from its own target.

        rank_i = 1 + number of j != i with |zhat_j - z_i| <= |zhat_i - z_i|

    1 is best. What is as near counts as nearer, so equal predictions rank last. Give each target
    once: where two episodes end in one state, even a perfect prediction of either ranks second.

    Args:
        predicted: Predicted latents of n episodes, shape [n, ...].
        target: The latents of what came, in the same order.

    Returns:
        Ranks, 1 to n.

    Raises:
        OrbitLensError: If the shapes differ, a value is not finite, or there are fewer than two.

    Example:
        >>> z = torch.tensor([[0.0], [1.0], [5.0]])
        >>> strict_ranks(z, z).tolist(), strict_ranks(0 * z, z).tolist()
        ([1, 1, 1], [3, 3, 3])
    """
    found, wanted = _alike("predicted", predicted, "target", target)
    own = (found - wanted).norm(dim=1)
    ranks = []
    for part, reference in zip(wanted.split(_ROWS), own.split(_ROWS), strict=True):
        # Products of matrices would round distances, and hide ties.
        every = torch.cdist(part, found, compute_mode="donot_use_mm_for_euclid_dist")
        # Two ways to sum one distance may round apart; a prediction is as near as itself.
        ranks.append((every <= reference[:, None] * (1 + _ROUNDING)).sum(1))
    return torch.cat(ranks)


def hits_at_k(predicted: _Vectors, target: _Vectors, k: int) -> float:
    """Return the share of predictions among the k nearest to their own targets.

        H@k = mean over i of [rank_i <= k]        by `strict_ranks`

    Give each target once, or perfect predictions do not reach 1 either.

    Args:
        predicted: Predicted latents, shape [n, ...].
        target: The latents of what came.
        k: From 1 to n.

    Returns:
        0 to 1.

    Raises:
        OrbitLensError: As `strict_ranks`, and if k is out of range.

    Example:
        >>> z = torch.tensor([[0.0], [1.0], [5.0]])
        >>> hits_at_k(z, z, 1), hits_at_k(z.flip(0), z, 1)
        (1.0, 0.333...)
    """
    ranks = strict_ranks(predicted, target)
    return float((ranks <= as_count("k", k, most=len(ranks))).double().mean())


def mean_reciprocal_rank(predicted: _Vectors, target: _Vectors) -> float:
    """Return the mean of 1 / rank, by `strict_ranks`.

    Args:
        predicted: Predicted latents, shape [n, ...].
        target: The latents of what came.

    Returns:
        0 to 1; 1 if each prediction is the only one nearest to its target.

    Raises:
        OrbitLensError: As `strict_ranks`.

    Example:
        >>> z = torch.tensor([[0.0], [1.0], [5.0]])
        >>> mean_reciprocal_rank(z, z)
        1.0
    """
    return float((1 / strict_ranks(predicted, target).double()).mean())


@torch.no_grad()
def distance_invariance_error(
    predicted: _Vectors,
    target: _Vectors,
    predicted_moved: _Vectors,
    target_moved: _Vectors,
    *,
    seed: int = 0,
) -> float:
    """Return how far distances between states depend on how the states stand.

        DIE = mean over i of | |zhat_i - z_j| - |zhat^g_i - z^g_j| | / mean over i of |z_i|

    with j a random partner of i, and ^g the same episodes with states and actions moved by g. It
    needs no action on latents, so it compares models with one and without. 0 for equivariant
    embeddings with orthogonal actions.

    Source: Park et al. 2022, arXiv 2204.11371.

    Args:
        predicted: Predicted latents, shape [n, ...].
        target: The latents of what came.
        predicted_moved: Predicted latents of the moved twins, in the same order.
        target_moved: The latents of what came of the twins.
        seed: Seed of the partners.

    Returns:
        The error, 0 or more; NaN where all targets are the same, as nothing is known of a collapsed
        model.

    Raises:
        OrbitLensError: If the shapes differ, as where twins are missing, or a value is not finite.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> distance_invariance_error(z, z, z.flip(1), z.flip(1))
        0.0
    """
    found, wanted = _alike("predicted", predicted, "target", target)
    _, twins = _alike("predicted", predicted, "predicted_moved", predicted_moved)
    _, twin_targets = _alike("predicted", predicted, "target_moved", target_moved)
    generator = torch.Generator().manual_seed(as_seed(seed))
    partner = torch.randperm(len(found), generator=generator)
    here = (found - wanted[partner]).norm(dim=1)
    there = (twins - twin_targets[partner]).norm(dim=1)
    if _collapsed(wanted):
        return math.nan
    return float((here - there).abs().mean() / wanted.norm(dim=1).mean())


@torch.no_grad()
def embedding_error(moved: _Vectors, of_moved: _Vectors) -> float:
    """Return how far an embedding S is from equivariant.

        EE = mean over i of |g S(x_i) - S(g x_i)| / mean over i of |S(x_i)|

    It is about 1 even for embeddings that work, as the maps of S need no likeness to what a person
    would draw; judge by H@1 and by DIE.

    Source: Park et al. 2022, arXiv 2204.11371.

    Args:
        moved: g S(x), shape [n, ...].
        of_moved: S(g x), with the states moved before their images are made.

    Returns:
        The error, 0 or more; NaN where all g S(x) are the same, as nothing is known of a collapsed
        embedding.

    Raises:
        OrbitLensError: If the shapes differ, as where twins are missing, or a value is not finite.

    Example:
        >>> embedding_error(torch.eye(2), torch.eye(2))
        0.0
    """
    found, wanted = _alike("moved", moved, "of_moved", of_moved)
    if _collapsed(found):
        return math.nan
    return float((found - wanted).norm(dim=1).mean() / found.norm(dim=1).mean())


def _collapsed(latents: Float[Tensor, "n dim"]) -> bool:
    """Return whether all rows are one, but for rounding."""
    spread = (latents - latents[:1]).norm(dim=1).max()
    return bool(spread <= _ROUNDING * latents.norm(dim=1).max())


def _alike(
    name: str, value: _Vectors, other_name: str, other: _Vectors
) -> tuple[Float[Tensor, "n dim"], Float[Tensor, "n dim"]]:
    first = as_axes(name, value, "n ... dim", dtype=torch.float64, least=2)
    second = as_axes(other_name, other, "n ... dim", dtype=torch.float64).to(first.device)
    if first.shape != second.shape:
        raise OrbitLensError(
            f"`{other_name}`",
            expected=f"the shape of `{name}`, {list(first.shape)}",
            received=list(second.shape),
            remedy="give one row for each episode, and for each its twin, in one order",
        )
    return first.flatten(1), second.flatten(1)
