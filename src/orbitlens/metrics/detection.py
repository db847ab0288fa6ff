"""Feature detection: how well a few latents show that a true feature is present.

Source: the toy experiment of Erdogan & Lucic, arXiv 2511.09432 (top-m detection).
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_flags, as_seed
from orbitlens.errors import OrbitLensError
from orbitlens.typing import Numbers


def feature_detection(
    codes: Numbers,
    present: Numbers,
    *,
    m: int,
    seed: int = 0,
) -> float:
    """Return the F1 with which m latents detect a feature, averaged over the features.

    Samples are cut into two random halves. For each feature, the first half chooses the m latents
    with the largest absolute difference of mean code between samples with and without the feature,
    and fits a logistic probe on them. The second half gives F1. A feature that is never or always
    present in one of the halves is left out of the average.

    Args:
        codes: Codes of a set of samples, shape [n, latents].
        present: Which features are in each sample, shape [n, features].
        m: Latents per probe, from 1 to `latents`; the paper has 1 and 4.
        seed: Seed of the cut into halves; the same for all features.

    Returns:
        The mean F1, from 0 to 1.

    Raises:
        OrbitLensError: If `m` is out of range, or no feature can be scored.
        MissingExtraError: If scikit-learn is not installed.

    Example:
        >>> present = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) < 0.3
        >>> feature_detection(present.float(), present, m=1)
        1.0
    """
    # Imported here: the probes are an optional room, and this is the one metric that needs them.
    from orbitlens.probe._selection import as_kept_count, rank_latents
    from orbitlens.probe.logistic import logistic_predictions
    from orbitlens.probe.scores import binary_f1

    codes = as_axes("codes", codes, "n latents").detach().cpu()
    present = as_flags("present", present, "n features", size=len(codes)).cpu()
    m = as_kept_count("`m`", m, codes.shape[1])
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(as_seed(seed)))
    train, test = order[: len(codes) // 2], order[len(codes) // 2 :]
    ranking = rank_latents(codes[train], present[train])
    scores = []
    for feature in _scorable(present[train], present[test]).tolist():
        predicted = logistic_predictions(
            codes[train], present[train, feature].long(), codes[test], kept=ranking[feature, :m]
        )
        scores.append(binary_f1(predicted == 1, present[test, feature]))
    return float(np.mean(scores))


def _scorable(
    train: Bool[Tensor, "train features"], test: Bool[Tensor, "test features"]
) -> Int[Tensor, " scorable"]:
    """Return the features that are both present and absent in each half."""
    varies = [half.any(dim=0) & ~half.all(dim=0) for half in (train, test)]
    found = (varies[0] & varies[1]).nonzero().flatten()
    if len(found) == 0:
        raise OrbitLensError(
            "`present`",
            expected="a feature that is present in some samples of each half and absent in others",
            received=f"none among {train.shape[1]} features of {len(train) + len(test)} samples",
            remedy="draw more samples",
        )
    return found
