"""Reconstruction: errors and explained variance, with one definition for all parts of OrbitLens.

Explained variance is a ratio of two sums over the whole set, about the mean of the whole set. A
mean of ratios per sample or per batch would depend on the batch size, and a variance about zero on
the offset of the data.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

from orbitlens.checks import as_axes, as_floats
from orbitlens.errors import OrbitLensError
from orbitlens.typing import Numbers

_ROWS_AT_ONCE = 8192


def squared_error(
    x: Float[Tensor, "batch dim"], x_hat: Float[Tensor, "batch dim"]
) -> Float[Tensor, " batch"]:
    """Return ||x_i - x_hat_i||^2 of each sample; nothing is broadcast."""
    x, x_hat = as_floats("x", x), as_floats("x_hat", x_hat)
    _check_same_shape(x, x_hat)
    # One pass, and one for the gradient, where a difference and its square take six.
    return mse_loss(x_hat, x, reduction="none").sum(dim=-1)


def mse(x: Numbers, x_hat: Numbers) -> Float[Tensor, " batch"]:
    """Return the mean squared error of each sample.

    mse[i] = ||x_i - x_hat_i||^2 / dim

    Args:
        x: Activations, shape [batch, dim].
        x_hat: Reconstructions, same shape.

    Returns:
        One value per sample, shape [batch]; the caller averages.

    Raises:
        OrbitLensError: If the shapes differ; nothing is broadcast.

    Example:
        >>> mse(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).item()
        12.5
    """
    x, x_hat = _rows(x, x_hat)
    return squared_error(x, x_hat) / x.shape[-1]


def explained_variance(x: Numbers, x_hat: Numbers) -> Float[Tensor, ""]:
    """Return the share of the variance of a whole set that its reconstructions explain.

    1 - sum_i ||x_i - x_hat_i||^2 / sum_i ||x_i - mean(x)||^2

    Constant activations have no variance: the value is 1 for an exact reconstruction, else minus
    infinity.

    Args:
        x: Activations of the whole set, shape [n, dim].
        x_hat: Reconstructions, same shape.

    Returns:
        A float64 scalar: 1 for a perfect reconstruction, 0 for the mean, below 0 for worse. No
        gradient flows through it.

    Raises:
        OrbitLensError: If the shapes differ or the set is empty.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0]])
        >>> explained_variance(x, torch.tensor([[1.0], [2.0], [2.0]])).item()
        0.5
    """
    return _stats_of(x, x_hat).explained_variance


def normalised_mse(x: Numbers, x_hat: Numbers) -> Float[Tensor, ""]:
    """Return the fraction of variance unexplained (FVU), 1 - explained variance.

    sum_i ||x_i - x_hat_i||^2 / sum_i ||x_i - mean(x)||^2

    Args:
        x: Activations of the whole set, shape [n, dim].
        x_hat: Reconstructions, same shape.

    Returns:
        A float64 scalar: 0 for a perfect reconstruction, 1 for the mean. Constant activations give
        0 for an exact reconstruction, else infinity.

    Raises:
        OrbitLensError: If the shapes differ or the set is empty.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0]])
        >>> normalised_mse(x, torch.full((3, 1), 2.0)).item()
        1.0
    """
    return _stats_of(x, x_hat).normalised_mse


@final
class ReconstructionStats:
    """The same figures for a set larger than memory, batch by batch.

    Sums run in float64 about the first sample. Means and scatters of batches are merged by the
    update of Chan, Golub & LeVeque (1979). So the figures depend neither on the batches nor on the
    distance of the mean from zero.

    Example:
        >>> stats = ReconstructionStats()
        >>> stats.update(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]]))
        >>> stats.update(torch.tensor([[3.0]]), torch.tensor([[2.0]]))
        >>> stats.n, stats.explained_variance.item()
        (3, 0.5)
    """

    def __init__(self) -> None:
        self.n = 0
        self._origin: Tensor | None = None
        self._mean = self._scatter = self._error = torch.zeros((), dtype=torch.float64)

    def update(self, x: Numbers, x_hat: Numbers) -> None:
        """Add a batch.

        Args:
            x: Activations, shape [batch, dim], at least one.
            x_hat: Reconstructions, same shape.

        Raises:
            OrbitLensError: If the shapes differ, the batch is empty or `dim` has changed.
        """
        x, x_hat = _rows(x, x_hat)
        _check_batch(x, self._origin)
        x, x_hat = x.detach().double(), x_hat.detach().double()
        if self._origin is None:
            self._origin = x[0].clone()
            self._mean = torch.zeros_like(self._origin)
            self._scatter = self._error = x.new_zeros(())
        # About the first sample constant data has a scatter of exactly zero.
        shifted = x - self._origin
        mean = shifted.mean(dim=0)
        step = mean - self._mean
        n = self.n + len(x)
        between = step.square().sum() * (self.n * len(x) / n)
        self._scatter = self._scatter + (shifted - mean).square().sum() + between
        self._mean = self._mean + step * (len(x) / n)
        self._error = self._error + squared_error(x, x_hat).sum()
        self.n = n

    @property
    def residual(self) -> Float[Tensor, ""]:
        """The sum of ||x - x_hat||^2 over everything seen."""
        return self._error

    @property
    def total(self) -> Float[Tensor, ""]:
        """The sum of ||x - mean(x)||^2 over everything seen."""
        return self._scatter

    @property
    def mse(self) -> Float[Tensor, ""]:
        """The squared error, averaged over samples and dimensions."""
        return self._error / (self.n * len(self._seen()))

    @property
    def normalised_mse(self) -> Float[Tensor, ""]:
        """The fraction of variance unexplained, 1 - explained variance."""
        self._seen()
        exact_constant = (self._error == 0) & (self._scatter == 0)
        return torch.where(exact_constant, 0.0, self._error / self._scatter)

    @property
    def explained_variance(self) -> Float[Tensor, ""]:
        """1 - sum ||x - x_hat||^2 / sum ||x - mean(x)||^2 over everything seen."""
        return 1 - self.normalised_mse

    def _seen(self) -> Tensor:
        """Return the first sample; there must be one."""
        if self._origin is None:
            raise OrbitLensError(
                "ReconstructionStats",
                expected="at least one sample",
                received=0,
                remedy="call update(x, x_hat) first",
            )
        return self._origin


def _stats_of(x: Numbers, x_hat: Numbers) -> ReconstructionStats:
    """Accumulate a set in memory, a part at a time so that the float64 copies stay small."""
    x, x_hat = _rows(x, x_hat)
    stats = ReconstructionStats()
    for part, part_hat in zip(
        torch.split(x, _ROWS_AT_ONCE), torch.split(x_hat, _ROWS_AT_ONCE), strict=True
    ):
        stats.update(part, part_hat)
    return stats


def _rows(x: Numbers, x_hat: Numbers) -> tuple[Tensor, Tensor]:
    """Return activations and reconstructions at the door; NaN shows in every figure of them."""
    x, x_hat = (
        as_axes(name, value, "batch dim", finite=False)
        for name, value in (("x", x), ("x_hat", x_hat))
    )
    _check_same_shape(x, x_hat)
    return x, x_hat


def _check_same_shape(x: Tensor, x_hat: Tensor) -> None:
    if x.shape != x_hat.shape:
        raise OrbitLensError(
            "`x_hat`",
            expected=f"the shape of `x`, {tuple(x.shape)}",
            received=tuple(x_hat.shape),
            remedy="reconstruct every sample; nothing is broadcast",
        )


def _check_batch(x: Tensor, origin: Tensor | None) -> None:
    if len(x) == 0:
        raise OrbitLensError(
            "`x`",
            expected="at least one sample",
            received=tuple(x.shape),
            remedy="leave empty batches out",
        )
    if origin is not None and x.shape[-1] != len(origin):
        raise OrbitLensError(
            "`x`",
            expected=f"{len(origin)} dimensions, as before",
            received=tuple(x.shape),
            remedy="use one ReconstructionStats for each set",
        )
