"""Feature recovery: the match between the rows of a dictionary and the true features.

Source: the toy experiment of Erdogan & Lucic, arXiv 2511.09432 (MMCS after Hungarian matching).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes
from orbitlens.errors import missing_extra
from orbitlens.typing import Numbers


@dataclass(frozen=True, eq=False)
class Recovery:
    """The match between a dictionary and the true features.

    Args:
        score: Mean of `similarities`; 1 for a dictionary that holds every feature.
        latents: The latent matched to each feature, -1 for none, shape [features].
        similarities: Cosine of each feature and its latent, 0 for none, shape [features], float64.
    """

    score: float
    latents: Int[Tensor, " features"]
    similarities: Float[Tensor, " features"]


def feature_recovery(
    W_dec: Numbers,
    features: Numbers,
    matrices: Numbers | None = None,
) -> Recovery:
    """Match latents to true features one to one, and return the mean cosine similarity (MMCS).

    score = max over one-to-one matchings of  (1 / features) sum_f cos(W_dec[latent(f)], v_f)

    With `matrices` the matching is modulo the group: cos becomes max_g cos(W_dec[j], rho(g) v_f).
    A dictionary tied over the group needs this. Give `matrices` for every dictionary in such a
    comparison. The sign counts, because codes are not negative.

    Args:
        W_dec: Dictionary, one row per latent, shape [latents, dim]. Rows need no unit norm; the
            similarity of a zero row is 0.
        features: True features, shape [features, dim]. With fewer latents than features, the
            features without a latent count 0.
        matrices: rho(g) for every g, shape [group, dim, dim]; None for no group.

    Returns:
        The score with the matching that attains it.

    Raises:
        OrbitLensError: If there is no feature, or a value is not finite.
        MissingExtraError: If scipy is not installed.

    Example:
        >>> recovery = feature_recovery(torch.eye(3), torch.tensor([[0.0, 2.0, 0.0]]))
        >>> recovery.score, recovery.latents.tolist()
        (1.0, [1])
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise missing_extra("scipy", extra="metrics") from None
    W_dec = as_axes("W_dec", W_dec, "latents dim")
    features = as_axes("features", features, "features dim", sizes={"dim": W_dec.shape[1]}, least=1)
    if matrices is not None:
        sizes = {"dim": W_dec.shape[1]}
        matrices = as_axes("matrices", matrices, "group dim dim", sizes=sizes, least=1)
    similarity = _similarity(
        W_dec.detach().cpu().double(), features.detach().cpu().double(), matrices
    )
    rows, columns = linear_sum_assignment(similarity.numpy(), maximize=True)
    matched_latents, matched_features = torch.from_numpy(rows), torch.from_numpy(columns)
    latents = torch.full((len(features),), -1, dtype=torch.long)
    latents[matched_features] = matched_latents
    similarities = torch.zeros(len(features), dtype=torch.float64)
    similarities[matched_features] = similarity[matched_latents, matched_features]
    return Recovery(similarities.mean().item(), latents, similarities)


def _similarity(
    W_dec: Float[Tensor, "latents dim"],
    features: Float[Tensor, "features dim"],
    matrices: Float[Tensor, "group dim dim"] | None,
) -> Float[Tensor, "latents features"]:
    """Return all cosines, the best over the group where there is one."""
    rows = _unit(W_dec)
    if matrices is None:
        return rows @ _unit(features).T
    best = torch.full((len(W_dec), len(features)), -torch.inf, dtype=torch.float64)
    for rho in matrices.detach().cpu().double():
        best = torch.maximum(best, rows @ _unit(features @ rho.T).T)
    return best


def _unit(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Scale rows to norm 1 and leave zero rows at zero."""
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / torch.where(norms == 0, 1.0, norms)
