"""What training says about biases that feedback steers: targets too rare to see, and drift."""

from collections.abc import Sequence

from orbitlens.errors import warn
from orbitlens.sae import SAE, BiasAdaptation
from orbitlens.training._member import History

_TOLD_APART = 5
"""Expected firings from which hardly any count is zero by chance, 1 in 150."""
_FEW_LATENTS = 0.01
_ENOUGH_TO_DRIFT = 10
"""Epochs from which a fifth of them is a mean of several."""
_STEEP = 0.05


def warn_of_few_firings(sae: SAE, samples: int) -> None:
    """Warn if counts are too small for the lowest target, or end before biases first change."""
    rule = sae.sparsity
    if not isinstance(rule, BiasAdaptation):
        return
    expected = rule.samples * rule.ltf
    if expected < _TOLD_APART:
        warn(
            f"bias adaptation to the target {rule.ltf:.3g}",
            found=f"{expected:.3g} firings are expected in the {rule.samples} samples between two "
            "changes of the biases, too few to measure a frequency",
            remedy=f"count at least {round(_TOLD_APART / rule.ltf)} samples, or raise ltf",
        )
    if samples < rule.samples:
        warn(
            "bias adaptation in a short training",
            found=f"its {samples} samples are fewer than the {rule.samples} after which biases "
            "first change",
            remedy="train for more epochs, or count fewer `samples`",
        )


def warn_of_drift(sae: SAE, history: History) -> None:
    """Warn if figures rose at the end, when biases have long settled."""
    if not isinstance(sae.sparsity, BiasAdaptation):
        return
    figures = {
        "the loss": drifts_upward(history.loss),
        "l0": drifts_upward(history.l0),
        "the number of dead latents": drifts_upward(
            history.dead_latents, least=_FEW_LATENTS * sae.d_sae
        ),
    }
    rising = [name for name, rises in figures.items() if rises]
    if rising:
        moves = sae.dictionary.bias_weights.requires_grad
        free = 'keep b_dec where it is (`centre="auto"`), ' if moves else ""
        warn(
            "bias adaptation",
            found=f"{' and '.join(rising)} kept rising in the last epochs",
            remedy=f"{free}stop earlier, or let the learning rate fall (`lr_decay`)",
        )


def drifts_upward(values: Sequence[float | int], *, least: float | int = 0.0) -> bool:
    """Whether a figure of the epochs kept rising at the end.

    It is so if the mean of the last fifth of the epochs is above that of the fifth before, that
    above the one before it, and the whole rise more than 5% of the first of the three and `least`.
    Fewer than 10 epochs say nothing.

    Example:
        >>> drifts_upward([2.0 - epoch / 10 for epoch in range(10)] + [1.0 + epoch / 5 for epoch in
        ... range(10)])
        True
        >>> drifts_upward([1 / (1 + epoch) for epoch in range(20)])
        False
    """
    n = len(values)
    if n < _ENOUGH_TO_DRIFT:
        return False
    fifth = n // 5
    first, second, last = (
        sum(values[n - part * fifth : n - (part - 1) * fifth]) / fifth for part in (3, 2, 1)
    )
    return first < second < last and last - first > max(_STEEP * abs(first), least)
