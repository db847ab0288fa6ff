"""F1 of a binary prediction."""

from orbitlens.checks import as_axes, as_flags
from orbitlens.typing import Numbers


def binary_f1(predicted: Numbers, labels: Numbers) -> float:
    """Return the F1 of the positive class.

    F1 = 2 TP / (2 TP + FP + FN)

    The tasks of the Shapes experiment have up to 97% negatives, so accuracy would reward a probe
    that never finds anything.

    Args:
        predicted: The predictions, shape [n].
        labels: The truth, shape [n].

    Returns:
        A number from 0 to 1; 0 if nothing is positive and nothing is predicted to be.

    Example:
        >>> import torch
        >>> predicted = torch.tensor([True, True, False, False])
        >>> binary_f1(predicted, torch.tensor([True, False, True, False]))
        0.5
    """
    n = len(as_axes("labels", labels, "n"))
    predicted = as_flags("predicted", predicted, "n", size=n)
    labels = as_flags("labels", labels, "n", size=n).to(predicted.device)
    positives = int(predicted.sum()) + int(labels.sum())
    return 2 * int((predicted & labels).sum()) / positives if positives else 0.0
