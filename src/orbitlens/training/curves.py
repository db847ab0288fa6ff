"""What the figures of a training's epochs say about its end."""

import math
from collections.abc import Sequence

_ENOUGH = 20
"""Epochs from which a tenth of them is a mean of several."""
_STEEP = 0.05
_BLOWN_UP = 2.0
_WORSE_THAN_MEAN = -1.0
_FAR_WORSE = -1000.0
_SETTLED = 10


def still_falling(losses: Sequence[float]) -> bool:
    """Whether more epochs would make the loss clearly smaller.

    It is so if the mean loss of the last tenth of the epochs is more than 5% below that of the
    tenth before. Fewer than 20 epochs say nothing.

    Example:
        >>> still_falling([1 / (1 + epoch) for epoch in range(40)])
        True
        >>> still_falling([1 + 1 / (1 + epoch) for epoch in range(40)])
        False
    """
    n = len(losses)
    if n < _ENOUGH:
        return False
    tenth = n // 10
    last, before = sum(losses[n - tenth :]), sum(losses[n - 2 * tenth : n - tenth])
    return math.isfinite(before) and last < (1 - _STEEP) * before


def blew_up(losses: Sequence[float], explained_variance: Sequence[float] = ()) -> bool:
    """Whether training ended in numbers that mean nothing.

    It is so if the last loss is not finite, or more than twice the first; or if the
    reconstructions are worse than the mean activation by more than the variance, an explained
    variance below -1. In the first 10 epochs an SAE may still come from there, so the limit is then
    -1000.

    Args:
        losses: The loss of each epoch.
        explained_variance: The explained variance of each epoch, default unknown.

    Example:
        >>> blew_up([1.0, 0.3, 0.2]), blew_up([1.0, 7.0]), blew_up([1.0, 0.9], [0.1, -2e6])
        (False, True, True)
    """
    if not losses:
        return False
    last = losses[-1]
    if not math.isfinite(last) or last > _BLOWN_UP * losses[0]:
        return True
    # Minus infinity is that of activations without variance.
    if not explained_variance or not math.isfinite(explained_variance[-1]):
        return False
    settled = len(losses) >= _SETTLED
    return explained_variance[-1] < (_WORSE_THAN_MEAN if settled else _FAR_WORSE)
