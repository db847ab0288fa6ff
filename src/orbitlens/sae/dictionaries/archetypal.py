"""The archetypal dictionary: directions as mixtures of data.

The relaxed form of Fel et al. 2025, "Archetypal SAE", arXiv 2502.12892: each row is a convex
combination of candidates (data or their k-means centroids) and a small free part.
"""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import nn
from torch.nn.functional import normalize, one_hot

from orbitlens.checks import as_axes, as_count, as_number, as_seed, check_weights, usual_torch
from orbitlens.errors import OrbitLensError, missing_extra, out_of_range
from orbitlens.kernels import matrix_product
from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.typing import Float, Numbers, Tensor

_LARGEST_SEED = 2**32 - 1
"""The largest that scikit-learn takes."""


@final
class ArchetypalDictionary(Dictionary):
    """Convex combinations of candidates and a bounded free part, brought to unit length.

        D_i = v_i / ||v_i||,   v = W C + Lambda,   W >= 0,   W 1 = 1,   ||Lambda_i|| <= delta

    C are the candidates minus their mean, scaled to a root-mean-square norm of 1. An SAE subtracts
    its bias before it encodes, so directions are differences from the mean; the unit of the
    activations does not change them. `weights` is W: row i holds the mixture of direction i. Unit
    length limits no reconstruction, as codes are free to grow, and gives codes the unit that they
    have in other SAEs. If the candidates surround their mean on all sides, some mixture points in
    every direction: the form then decides how training starts and moves, and no direction is out of
    reach.

    Source: Fel et al., arXiv 2502.12892, equation 4. As in the authors' implementation, negative
    entries of W are cut off and its rows divided by their sum. There the candidates are neither
    centred nor scaled, and all rows share one learned factor.

    Args:
        candidates: Data or centroids, shape [candidates, dim], in any unit.
        d_sae: Number of latents. Row i starts at one candidate, drawn without repetition; rows
            beyond the number of candidates start halfway between two.
        delta: Largest norm of a row of Lambda, in the unit of the scaled candidates; default 1, the
            number of the authors' implementation. 0 leaves mixtures of data alone.
        seed: Seed of the candidates that rows start at, default 0.

    Raises:
        OrbitLensError: If all candidates are the same, or delta is negative.

    Example:
        >>> dictionary = ArchetypalDictionary(torch.tensor([[5.0, 1.0], [3.0, 1.0]]), 2)
        >>> dictionary.directions.sort(dim=0).values
        tensor([[-1., 0.], [ 1., 0.]], grad_fn=...)
        >>> dictionary.weights.sum(-1)
        tensor([1., 1.], grad_fn=...)
    """

    name = "archetypal"
    candidates: Tensor

    @usual_torch()
    def __init__(
        self,
        candidates: Numbers,
        d_sae: int,
        *,
        delta: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        span = "at least 0, which leaves mixtures of data alone"
        delta = as_number("delta", delta, span)
        if not delta >= 0:
            raise out_of_range("delta", span, delta)
        rows = as_axes("candidates", candidates, "candidates dim", least=1)
        count, self.d_in = rows.shape
        d_sae = self.d_sae = as_count("d_sae", d_sae)
        check_weights(d_sae, count + self.d_in)
        self.delta = delta
        self.register_buffer("candidates", _standardised(rows))
        generator = torch.Generator().manual_seed(as_seed(seed))
        order, row = torch.randperm(count, generator=generator), torch.arange(d_sae)
        # Equal rows would stay equal: each further round mixes other pairs.
        first, second = order[row % count], order[(row + row // count) % count]
        self.weights = nn.Parameter((one_hot(first, count) + one_hot(second, count)) / 2)
        self.relaxation = nn.Parameter(torch.zeros(d_sae, self.d_in))
        self.b_dec = nn.Parameter(torch.zeros(self.d_in))

    def settings(self) -> dict[str, Any]:
        """Return the number of candidates and delta."""
        count = len(self.candidates)
        return {**super().settings(), "n_candidates": count, "delta": self.delta}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "ArchetypalDictionary":
        """Build the dictionary on placeholders; the candidates are in the file."""
        placeholders = torch.arange(float(settings["n_candidates"]))[:, None]
        return cls(
            placeholders.expand(-1, settings["d_in"]), settings["d_sae"], delta=settings["delta"]
        )

    @property
    def directions(self) -> Float[Tensor, "*stack latents dim"]:
        """The rows of W C + Lambda at unit length, shape [d_sae, d_in]."""
        mixtures = matrix_product(self.weights, self.candidates) + self.relaxation
        return normalize(mixtures, dim=-1)

    @torch.no_grad()
    def project_(self) -> None:
        """Cut off negative weights, divide by the sum, and shorten the rows of Lambda."""
        kept = torch.relu(self.weights)
        totals = kept.sum(dim=-1, keepdim=True)
        # A row of zeros starts again at equal parts.
        self.weights.copy_(torch.where(totals > 0, kept / totals, 1 / kept.shape[-1]))
        norms = self.relaxation.norm(dim=-1, keepdim=True)
        self.relaxation.mul_((self.delta / norms.clamp_min(1e-12)).clamp_max(1.0))


@usual_torch()
def kmeans_candidates(x: Numbers, n: int, *, seed: int = 0) -> Float[Tensor, "candidates dim"]:
    """Return k-means centroids of activations, the candidates of an archetypal dictionary.

    They minimise sum_j min_i ||x_j - c_i||^2, from one start by k-means++, in at most 100 rounds of
    Lloyd on one core: 16,000 samples of width 256 and 1024 centroids take under a minute. Fel et
    al., arXiv 2502.12892, take centroids instead of all data; Erdogan & Lucic, arXiv 2511.09432,
    take 256 for the toy model, 2048 for Shapes, and 1024 for galaxies and blood cells.

    Args:
        x: Activations to train on, shape [batch, dim]; all orientations, if the SAE sees them all.
        n: Number of centroids.
        seed: Seed of the start, default 0.

    Returns:
        The centroids, shape [n, dim], float32, on the CPU.

    Raises:
        OrbitLensError: If there are fewer distinct samples than centroids, a value is not finite,
            or scikit-learn is not installed.

    Example:
        >>> x = torch.tensor([[0.0], [0.5], [9.0], [9.5]])
        >>> kmeans_candidates(x, 2).sort(dim=0).values
        tensor([[0.2500],
                [9.2500]])
    """
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        raise missing_extra("scikit-learn", extra="metrics") from None
    data = as_axes("x", x, "batch dim", dtype=torch.float32).detach().cpu()
    n, seed = as_count("n", n, least=0), as_seed(seed, most=_LARGEST_SEED)
    distinct = len(data.unique(dim=0))
    if not 1 <= n <= distinct:
        raise out_of_range(
            "n",
            f"1 to {distinct} clusters, the number of distinct samples",
            n,
            "ask for fewer clusters or give more samples",
        )
    kmeans = KMeans(n, n_init=1, max_iter=100, random_state=seed)
    # Several threads add up in the order in which they finish: not the same bits every time.
    with threadpool_limits(1):
        return torch.from_numpy(kmeans.fit(data.numpy()).cluster_centers_)


def _standardised(candidates: Tensor) -> Tensor:
    """Centre the candidates and bring their root-mean-square norm to 1."""
    exact = candidates.detach().double().cpu()
    centred = exact - exact.mean(0)
    size = centred.square().sum(-1).mean().sqrt()
    # Below this share of their size, differences are float32 rounding.
    if not size > 1e-6 * exact.square().sum(-1).mean().sqrt():
        raise OrbitLensError(
            "`candidates`",
            expected="rows that differ from each other",
            received=f"{len(candidates)} equal ones",
            remedy="take centroids of activations with `kmeans_candidates`",
        )
    return (centred / size).float()
