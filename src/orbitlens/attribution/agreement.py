"""Agreement between an attribution and an ablation."""

from typing import NamedTuple

import torch

from orbitlens.checks import as_number, as_tensor
from orbitlens.errors import OrbitLensError, missing_extra, out_of_range
from orbitlens.typing import Float, Tensor


class Agreement(NamedTuple):
    """Rank correlations between attributed and measured effects.

    Attributes:
        everywhere: Over all edges.
        above: Over the edges on which one of the two is above the threshold.
        n: Number of all edges.
        n_above: Number of those above the threshold.
    """

    everywhere: float
    above: float
    n: int
    n_above: int


def agreement(
    attribution: Float[Tensor, "*axes"],
    effects: Float[Tensor, "..."],
    *,
    threshold: float | int = 1e-4,
) -> Agreement:
    """Return Spearman's rank correlation between attributed and measured effects.

    Edges without either effect are ties, which raise or lower the figure by chance. So there are
    two figures: over all edges, and over those with |attribution| or |effect| above the threshold
    times the largest of all.

    Args:
        attribution: Attributed effects, of any shape.
        effects: Measured effects, of the same shape.
        threshold: Share of the largest absolute value, default 1e-4.

    Returns:
        Both correlations, with their numbers of edges.

    Raises:
        OrbitLensError: If the shapes differ, the threshold is out of range, or fewer than two edges
            are above it.
        MissingExtraError: If scipy is not installed.

    Example:
        >>> agreement(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 5.0, 4.0]))
        Agreement(everywhere=0.8, above=0.5, n=4, n_above=3)
    """
    try:
        from scipy.stats import spearmanr
    except ImportError:
        raise missing_extra("scipy", extra="metrics") from None
    attribution, effects = (
        as_tensor(name, value, dtype=torch.float64).detach().cpu()
        for name, value in (("attribution", attribution), ("effects", effects))
    )
    if attribution.shape != effects.shape:
        raise OrbitLensError(
            "`effects`",
            expected=f"shape {list(attribution.shape)}, as the attribution",
            received=list(effects.shape),
            remedy="give the attribution of the atoms that were ablated, [:, effects.atoms]",
        )
    threshold = as_number("threshold", threshold, "from 0 to below 1")
    if not 0 <= threshold < 1:
        raise out_of_range("threshold", "from 0 to below 1", threshold)
    a, b = (values.flatten() for values in (attribution, effects))
    size = torch.maximum(a.abs(), b.abs())
    above = size > threshold * size.max()
    if above.sum() < 2:
        raise OrbitLensError(
            "`attribution`",
            expected="at least two edges above the threshold",
            received=int(above.sum()),
            remedy="give more inputs, or atoms that are active on them",
        )
    everywhere, among = (
        round(float(spearmanr(a[own].numpy(), b[own].numpy()).statistic), 12)
        for own in (torch.ones_like(above), above)
    )
    return Agreement(everywhere, among, len(a), int(above.sum()))
