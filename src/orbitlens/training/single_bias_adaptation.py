"""Bias adaptation with one target and decoupled neurons: the variant that the theory is about.

Source: Chen et al., arXiv 2506.14002, the analysis of Bias Adaptation with a small output scale.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from orbitlens.checks import as_axes, as_count, as_number, as_seed
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.typing import Numbers

_FEWEST = 5  # samples of a batch that a neuron should fire for, so that its frequency is seen


def single_bias_adaptation(
    x: Numbers,
    neurons: int,
    *,
    frequency: float | int,
    iterations: int = 25,
    batch_size: int = 3000,
    seed: int,
) -> Float[Tensor, "neurons dim"]:
    """Find directions that fire with one target frequency, each neuron by itself.

        y = <w, x>,   b = -(1 - p) quantile of y,   w <- normalise(sum_x 1[y + b > 0] y x)

    The source lets the output scale of a tied autoencoder go to zero. Neurons then do not see one
    another, and gradient descent becomes ascent on the sphere. Here the bias is the quantile to
    which its feedback would steer it, and every step goes all the way. A neuron learns a direction
    if p is near the frequency of that direction (*resonance*).

    Source: Chen et al., arXiv 2506.14002, single-group Bias Adaptation.

    Args:
        x: Samples; each is scaled to norm one, shape [n, dim].
        neurons: M, several times as many as there are directions.
        frequency: p, the share of samples that a neuron fires for, between 0 and 1.
        iterations: Number of steps, default 25.
        batch_size: Samples of a step, drawn without replacement, default 3000; all if there are
            fewer.
        seed: Seed of the first directions and of the batches.

    Returns:
        Unit directions, shape [neurons, dim].

    Raises:
        OrbitLensError: If a sample is zero or not finite, p is out of range, or a batch is too
            small to show p.

    Example:
        >>> from orbitlens.data import sparse_mixtures
        >>> from orbitlens.metrics import feature_recovery_rate
        >>> data = sparse_mixtures(2000, n_features=24, dim=32, active=(2,), seed=0)
        >>> W = single_bias_adaptation(data.values, 192, frequency=data.frequency, seed=0)
        >>> feature_recovery_rate(W, data.features, threshold=0.9)
        1.0
    """
    x = _of_length_one(as_axes("x", x, "n dim", least=1).detach())
    neurons, iterations = as_count("neurons", neurons), as_count("iterations", iterations, least=0)
    batch_size = min(as_count("batch_size", batch_size), len(x))
    if not 0 < as_number("frequency", frequency, "between 0 and 1") < 1:
        raise out_of_range("frequency", "between 0 and 1", frequency)
    if batch_size * min(frequency, 1 - frequency) < _FEWEST:
        raise OrbitLensError(
            "`frequency`",
            expected=f"at least {_FEWEST} firing samples in a batch of {batch_size}",
            received=f"{batch_size * frequency:.3g} at p = {frequency:g}",
            remedy="give more samples, larger batches or another frequency",
        )
    firing = round(batch_size * frequency)
    generator = torch.Generator().manual_seed(as_seed(seed))
    W = normalize(torch.randn(neurons, x.shape[1], generator=generator))
    for _ in range(iterations):
        batch = x[torch.randperm(len(x), generator=generator)[:batch_size]]
        W = _ascended(W, batch, firing)
    return W


def _ascended(
    W: Float[Tensor, "neurons dim"], batch: Float[Tensor, "batch dim"], firing: int
) -> Float[Tensor, "neurons dim"]:
    """Move each direction to the mean of the samples that it fires for, weighted by y."""
    y = W @ batch.T
    threshold = y.kthvalue(len(batch) - firing, dim=1, keepdim=True).values
    ascent = torch.where(y > threshold, y, 0.0) @ batch
    # Where equal samples share the threshold, nothing may fire.
    return torch.where(ascent.any(1, keepdim=True), normalize(ascent), W)


def _of_length_one(x: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
    """Scale rows to norm one, first by their largest number, whose square may be out of range."""
    largest = x.abs().amax(1, keepdim=True)
    zero = largest[:, 0] == 0
    if bool(zero.any()):
        raise OrbitLensError(
            "`x`",
            expected="samples that are not zero, to be scaled to norm one",
            received=f"{int(zero.sum())} zero rows, first {int(zero.nonzero()[0])}",
            remedy="leave them out",
        )
    return normalize((x.double() / largest.double()).float())
