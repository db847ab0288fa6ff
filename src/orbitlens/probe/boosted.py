"""The boosted probe: XGBoost with the settings of the Shapes experiment."""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from orbitlens.errors import missing_extra
from orbitlens.probe.scores import binary_f1

_TREES = 100
_SETTINGS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 6,
    "learning_rate": 0.3,
    "reg_lambda": 1.0,
}


def boosted_f1(
    train_x: Float[Tensor, "train dim"],
    train_y: Bool[Tensor, " train"],
    test_x: Float[Tensor, "test dim"],
    test_y: Bool[Tensor, " test"],
    *,
    seed: int = 0,
    threads: int = 1,
) -> float:
    """Fit boosted trees to a binary task and return the F1 of the positive class.

    100 trees of depth 6, learning rate 0.3, L2 penalty 1 on the leaves (Erdogan & Lucic,
    arXiv 2511.09432), histogram method with 256 bins.

    Samples with equal features, such as all those for which no kept latent fires, enter once, with
    their number as weight and the mean of their labels as label. The gradient sums from which
    XGBoost grows its trees stay the same, and the fit takes half of the time where codes are
    sparse.

    Args:
        train_x: Features of the training samples, shape [train, dim].
        train_y: Their labels, shape [train].
        test_x: Features of the test samples, shape [test, dim].
        test_y: Their labels, shape [test].
        seed: Seed of XGBoost.
        threads: Threads of one fit. For many fits, run them side by side with one thread each:
            a second thread hardly speeds up a fit of a few thousand samples.

    Returns:
        F1 on the test samples at threshold 1/2. It is 0 where the training labels are all equal,
        for then there is nothing to learn, and where nothing is positive or found to be.

    Raises:
        MissingExtraError: If xgboost is not installed.

    Example:
        >>> import torch
        >>> x = torch.arange(40.0)[:, None]
        >>> boosted_f1(x, x[:, 0] > 12, x, x[:, 0] > 12)
        1.0
    """
    try:
        import xgboost
    except ImportError:
        raise missing_extra("xgboost", extra="probe") from None
    if train_y.all() or not train_y.any():
        return 0.0
    features, label, weight = _merge_equal(_numpy(train_x), train_y.cpu().numpy())
    data = xgboost.QuantileDMatrix(features, label=label, weight=weight, nthread=threads)
    booster = xgboost.train({**_SETTINGS, "seed": seed, "nthread": threads}, data, _TREES)
    predicted = booster.inplace_predict(_numpy(test_x)) > 0.5
    return binary_f1(test_y.new_tensor(predicted), test_y)


def _merge_equal(
    features: Float[np.ndarray, "train dim"], labels: Bool[np.ndarray, " train"]
) -> tuple[
    Float[np.ndarray, "distinct dim"],
    Float[np.ndarray, " distinct"],
    Float[np.ndarray, " distinct"],
]:
    """Return the distinct rows with their mean label and their number."""
    rows = features.view(np.dtype((np.void, features.strides[0]))).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    count = np.bincount(inverse)
    return features[first], np.bincount(inverse, labels) / count, count.astype(np.float64)


def _numpy(features: Float[Tensor, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """Return a contiguous float32 array in which -0 is 0, so that equal rows are equal bytes."""
    return np.ascontiguousarray(features.detach().cpu().float().numpy() + np.float32(0))
