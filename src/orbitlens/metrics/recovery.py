"""Feature recovery: the match between the rows of a dictionary and the true features.

Sources: the toy experiment of Erdogan & Lucic, arXiv 2511.09432 (MMCS after Hungarian matching);
Chen et al., arXiv 2506.14002 (feature recovery rate, and similarity between runs).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_number
from orbitlens.errors import missing_extra, out_of_range
from orbitlens.typing import Numbers

_CHUNK = 1024  # features whose cosines are held at once
_ROUNDING = 1e-9  # the cosine of equal directions may end just below 1


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
    similarity = _similarity(*_checked(W_dec, features, matrices))
    rows, columns = linear_sum_assignment(similarity.numpy(), maximize=True)
    matched_latents, matched_features = torch.from_numpy(rows), torch.from_numpy(columns)
    latents = torch.full((len(features),), -1, dtype=torch.long)
    latents[matched_features] = matched_latents
    similarities = torch.zeros(len(features), dtype=torch.float64)
    similarities[matched_features] = similarity[matched_latents, matched_features]
    return Recovery(similarities.mean().item(), latents, similarities)


def feature_recovery_rate(
    W_dec: Numbers,
    features: Numbers,
    *,
    threshold: float | int,
    matrices: Numbers | None = None,
) -> float:
    """Return the share of true features that some latent points to.

        FRR(tau) = (1 / features) |{f : max_j cos(W_dec[j], v_f) >= tau}|

    Nothing is matched one to one: several latents may point to a feature, and others to nothing.
    A wide dictionary of random directions therefore has an FRR above 0 at small tau.

    Source: Chen et al., arXiv 2506.14002.

    Args:
        W_dec: Dictionary, one row per latent, shape [latents, dim], as in `feature_recovery`.
        features: True features, shape [features, dim].
        threshold: tau, a cosine above 0 and up to 1; the source has 0.8 and 0.9.
        matrices: rho(g) for every g, shape [group, dim, dim]: cos becomes
            max_g cos(W_dec[j], rho(g) v_f). None for no group.

    Returns:
        The share, from 0 to 1.

    Raises:
        OrbitLensError: If there is no feature, a value is not finite, or tau is out of range.

    Example:
        >>> feature_recovery_rate(torch.eye(3)[:2], torch.eye(3), threshold=0.9)
        0.6666666666666666
    """
    if not 0 < as_number("threshold", threshold, "above 0 and up to 1") <= 1:
        raise out_of_range("threshold", "above 0 and up to 1", threshold)
    nearest = _nearest(*_checked(W_dec, features, matrices))
    return float((nearest >= threshold - _ROUNDING).double().mean())


def max_cosine_similarity(
    W_dec: Numbers, other: Numbers, *, matrices: Numbers | None = None
) -> Float[Tensor, " latents"]:
    """Return how near each latent is to the nearest latent of another run.

        MCS[j] = max_k cos(W_dec[j], other[k])

    The share of latents with an MCS above 0.9 says how consistent two seeds are. It is not
    symmetric in the two runs. Source: Chen et al., arXiv 2506.14002, Figure on consistency.

    Args:
        W_dec: Dictionary, one row per latent, shape [latents, dim]. The MCS of a zero row is 0.
        other: The dictionary of another run, shape [others, dim].
        matrices: rho(g) for every g, shape [group, dim, dim]: cos becomes
            max_g cos(rho(g) W_dec[j], other[k]), as an orbit SAE needs. None for no group.

    Returns:
        One cosine for each latent, shape [latents], float64.

    Raises:
        OrbitLensError: If a dictionary has no row, or a value is not finite.

    Example:
        >>> max_cosine_similarity(torch.eye(2), torch.tensor([[0.0, 3.0]])).tolist()
        [0.0, 1.0]
    """
    names = ("other", "W_dec")
    return _nearest(*_checked(other, W_dec, matrices, names=names, least=1))


def _checked(
    W_dec: Numbers,
    features: Numbers,
    matrices: Numbers | None,
    *,
    names: tuple[str, str] = ("W_dec", "features"),
    least: int = 0,
) -> tuple[Tensor, Tensor, Tensor | None]:
    W_dec = as_axes(names[0], W_dec, "latents dim", least=least)
    sizes = {"dim": W_dec.shape[1]}
    features = as_axes(names[1], features, "features dim", sizes=sizes, least=1)
    if matrices is not None:
        matrices = as_axes("matrices", matrices, "group dim dim", sizes=sizes, least=1)
    return W_dec.detach().cpu().double(), features.detach().cpu().double(), matrices


def _nearest(
    W_dec: Float[Tensor, "latents dim"],
    features: Float[Tensor, "features dim"],
    matrices: Float[Tensor, "group dim dim"] | None,
) -> Float[Tensor, " features"]:
    """Return the largest cosine of each feature with a latent, 0 without latents."""
    if len(W_dec) == 0:
        return torch.zeros(len(features), dtype=torch.float64)
    parts = features.split(_CHUNK)
    return torch.cat([_similarity(W_dec, part, matrices).amax(0) for part in parts])


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
    # Squares of very long or short rows would leave the range of numbers.
    largest = rows.abs().amax(-1, keepdim=True)
    rows = rows / torch.where(largest == 0, 1.0, largest)
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / torch.where(norms == 0, 1.0, norms)
