"""Sparse mixtures of more directions than dimensions: a ground truth for feature recovery.

Source: the synthetic data of Chen et al., arXiv 2506.14002; coefficients here are 0 and 1 alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.errors import OrbitLensError, out_of_range

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class SparseMixtures:
    """Sums of known directions, scaled to norm one.

    Args:
        values: The rows of H V, each over its norm, shape [n, dim], float32.
        features: The true unit directions, the rows of V, shape [features, dim], float32.
        present: H: whether direction j is in sample i, shape [n, features].
    """

    values: Float[Tensor, "n dim"]
    features: Float[Tensor, "features dim"]
    present: Bool[Tensor, "n features"]

    @property
    def frequency(self) -> float:
        """f, the mean share of samples that a direction is in."""
        return float(self.present.double().mean())


def sparse_mixtures(
    n_samples: int,
    *,
    n_features: int = 128,
    dim: int = 42,
    active: Sequence[int] = (3,),
    seed: int,
) -> SparseMixtures:
    """Draw sums of s out of n random directions, and scale each to norm one.

        X = H V,   V[j] ~ N(0, I) / |.|,   H[i] has s ones at random places,   x_i = X[i] / |X[i]|

    With several s the samples take them in turn, in equal shares: (3, 20) is the imbalanced mixture
    of the source, in which half of the samples are sums of 3 directions and half of 20. After
    scaling, a direction is strong only in the sums of few.

    Source: Chen et al., arXiv 2506.14002, synthetic experiments.

    Args:
        n_samples: Number of samples.
        n_features: n, the number of directions.
        dim: Dimension of a sample, at least 2.
        active: s, or several, each from 1 to n.
        seed: The same seed gives the same bits. Directions do not depend on `n_samples`.

    Returns:
        Samples, directions, and which are in which.

    Raises:
        OrbitLensError: If a number is out of range.

    Example:
        >>> data = sparse_mixtures(1000, active=(3, 20), seed=0)
        >>> data.present.sum(1)[:4].tolist(), round(data.frequency, 4)
        ([3, 20, 3, 20], 0.0898)
    """
    n_samples, n_features = as_count("n_samples", n_samples), as_count("n_features", n_features)
    given: object = active
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise OrbitLensError(
            "`active`",
            expected="at least one number of directions in a sample",
            received=repr(active),
            remedy="give a list such as (3, 20)",
        )
    counts = np.array([as_count("active", each, most=n_features) for each in active])
    if as_count("dim", dim) < 2:
        raise out_of_range("dim", "at least 2, since two directions of a line cancel", dim)
    size = n_samples * (n_features + 4 * dim)
    check_memory(f"{n_samples} mixtures of {n_features} directions", size, "choose fewer samples")
    rng = np.random.default_rng(as_seed(seed))
    features = rng.standard_normal((n_features, dim))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    present = np.zeros((n_samples, n_features), dtype=bool)
    values = np.empty((n_samples, dim), dtype=np.float32)
    for start in range(0, n_samples, _CHUNK):
        own = slice(start, min(start + _CHUNK, n_samples))
        present[own] = _some(counts[np.arange(own.start, own.stop) % len(counts)], n_features, rng)
        sums = present[own] @ features
        values[own] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return SparseMixtures(
        values=torch.from_numpy(values),
        features=torch.from_numpy(features.astype(np.float32)),
        present=torch.from_numpy(present),
    )


def _some(
    counts: np.ndarray, n_features: int, rng: np.random.Generator
) -> Bool[np.ndarray, "n features"]:
    """Choose the given number of directions for each sample, each choice equally likely."""
    ranks = rng.random((len(counts), n_features)).argsort(axis=1).argsort(axis=1)
    chosen: np.ndarray = ranks < counts[:, None]
    return chosen
