"""The logistic probe: scikit-learn with the settings of the GalaxyMNIST and MLL23 experiments."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_indices
from orbitlens.errors import OrbitLensError, missing_extra
from orbitlens.probe._selection import as_classes
from orbitlens.typing import Numbers

_MAX_STEPS = 3000


@dataclass(frozen=True)
class LogisticScores:
    """The scores of a logistic probe on test samples.

    Args:
        accuracy: Share of test samples whose class is right, from 0 to 1.
        macro_f1: F1 averaged over the classes with equal weight, from 0 to 1.
    """

    accuracy: float
    macro_f1: float


def logistic_scores(
    train_codes: Numbers,
    train_labels: Numbers,
    test_codes: Numbers,
    test_labels: Numbers,
    kept: Numbers,
) -> LogisticScores:
    """Fit a logistic probe to the kept latents and score it on test samples.

    Multinomial logistic regression, L-BFGS, at most 3000 steps (Erdogan & Lucic,
    arXiv 2511.09432), on codes standardised by the training samples.

    Args:
        train_codes: Codes of the training samples, shape [train, latents].
        train_labels: Their classes, shape [train], at least two of them.
        test_codes: Codes of the test samples, shape [test, latents].
        test_labels: Their classes, shape [test].
        kept: Indices of the latents that the probe sees, shape [kept].

    Returns:
        Accuracy and macro-F1. A class counts 0 in the macro-F1 if it occurs in the test samples
        alone, or in the predictions alone.

    Raises:
        OrbitLensError: If the training samples are all of one class.
        MissingExtraError: If scikit-learn is not installed.

    Example:
        >>> codes = torch.tensor([[0.0], [0.1], [0.9], [1.0]])
        >>> labels = torch.tensor([3, 3, 5, 5])
        >>> logistic_scores(codes, labels, codes, labels, torch.tensor([0]))
        LogisticScores(accuracy=1.0, macro_f1=1.0)
    """
    test_codes = as_axes("test_codes", test_codes, "test latents", least=1)
    true = as_classes("test_labels", test_labels, len(test_codes)).cpu().numpy()
    predicted = logistic_predictions(train_codes, train_labels, test_codes, kept).cpu().numpy()
    from sklearn.metrics import f1_score

    return LogisticScores(
        accuracy=float(np.mean(predicted == true)),
        macro_f1=float(f1_score(true, predicted, average="macro", zero_division=0)),
    )


def logistic_predictions(
    train_codes: Numbers,
    train_labels: Numbers,
    test_codes: Numbers,
    kept: Numbers,
) -> Int[Tensor, " test"]:
    """Fit a logistic probe to the kept latents and predict the class of test samples.

    Args:
        train_codes: Codes of the training samples, shape [train, latents].
        train_labels: Their classes, shape [train], at least two of them.
        test_codes: Codes of the test samples, shape [test, latents].
        kept: Indices of the latents that the probe sees, shape [kept].

    Returns:
        One class per test sample, shape [test].

    Raises:
        OrbitLensError: If the training samples are all of one class.
        MissingExtraError: If scikit-learn is not installed.

    Example:
        >>> codes = torch.tensor([[0.0], [0.1], [0.9], [1.0]])
        >>> labels = torch.tensor([3, 3, 5, 5])
        >>> logistic_predictions(codes, labels, codes, torch.tensor([0])).tolist()
        [3, 3, 5, 5]
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise missing_extra("scikit-learn", extra="probe") from None
    train_codes = as_axes("train_codes", train_codes, "train latents")
    latents = {"latents": train_codes.shape[1]}
    test_codes = as_axes("test_codes", test_codes, "test latents", sizes=latents, least=1)
    train_labels = as_classes("train_labels", train_labels, len(train_codes))
    kept = _as_kept(kept, train_codes.shape[1])
    _check_classes(train_labels)
    train, test = _standardised(train_codes[:, kept], test_codes[:, kept])
    probe = LogisticRegression(max_iter=_MAX_STEPS)
    with warnings.catch_warnings():
        # The paper's limit of steps is part of the probe; reaching it is no error.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train, train_labels.cpu().numpy())
    return torch.from_numpy(probe.predict(test)).to(train_labels)


def _standardised(
    train: Float[Tensor, "train kept"], test: Float[Tensor, "test kept"]
) -> tuple[Float[np.ndarray, "train kept"], Float[np.ndarray, "test kept"]]:
    """Give each training column mean 0 and variance 1; constant columns become 0."""
    train, test = train.detach().cpu().double(), test.detach().cpu().double()
    mean, scale = train.mean(dim=0), train.std(dim=0, correction=0)
    scale = torch.where(scale == 0, 1.0, scale)
    return ((train - mean) / scale).numpy(), ((test - mean) / scale).numpy()


def _as_kept(kept: Numbers, latents: int) -> Int[Tensor, " kept"]:
    """Return at least one latent, by index."""
    chosen = as_indices("kept", kept, "kept", most=latents - 1)
    if not len(chosen):
        raise OrbitLensError(
            "`kept`",
            expected="at least one latent",
            received="none",
            remedy="choose some, for example with `largest_between_class_variance`",
        )
    return chosen


def _check_classes(labels: Int[Tensor, " train"]) -> None:
    classes = torch.unique(labels).tolist()
    if len(classes) < 2:
        raise OrbitLensError(
            "`train_labels`",
            expected="at least two classes",
            received=f"only {classes}",
            remedy="split the samples so that the training part holds every class",
        )
