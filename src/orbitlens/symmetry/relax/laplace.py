"""The Laplace evidence: how much of each parameter the data determine, without a validation set.

Source: van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, *Learning Layer-wise
Equivariances Automatically using Gradients*; Immer et al. 2021, arXiv 2104.04975, *Scalable
Marginal Likelihood Estimation for Model Selection in Deep Learning*.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import OrbitLensError, out_of_range

_Spectra = Sequence[Float[Tensor, " _"]]  # each of its own size


def map_loss(
    losses: Float[Tensor, " batch"],
    squares: Float[Tensor, " tensors"],
    log_precisions: Float[Tensor, " tensors"],
    n: int,
) -> Float[Tensor, ""]:
    """Return the loss of a batch whose minimum is the most probable network.

        mean loss + 1 / (2 N) sum_l delta_l ||theta_l||^2

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131.

    Args:
        losses: -log p(y | x) of each sample, shape [batch].
        squares: ||theta_l||^2 of each parameter tensor, shape [tensors].
        log_precisions: log delta_l of each tensor, shape [tensors].
        n: N, the number of training samples, not of those in the batch: it scales the prior.

    Raises:
        OrbitLensError: If `n` is below the size of the batch, or the lists differ in length.

    Example:
        >>> map_loss(torch.tensor([1.0, 3.0]), torch.tensor([4.0]), torch.zeros(1), n=10)
        tensor(2.2000)
    """
    if n < len(losses):
        raise out_of_range(
            "n",
            f"at least the {len(losses)} samples of the batch",
            n,
            "give the number of all training samples, which scales the prior",
        )
    _check_squares(squares, log_precisions)
    return losses.mean() + (log_precisions.exp() * squares).sum() / (2 * n)


def negative_log_evidence(
    loss: Float[Tensor, ""],
    squares: Float[Tensor, " tensors"],
    spectra: _Spectra,
    log_precisions: Float[Tensor, " tensors"],
) -> Float[Tensor, ""]:
    """Return the Laplace approximation of -log Z about the present weights.

        -log Z = loss + 1/2 sum_l [delta_l ||theta_l||^2 - P_l log delta_l
                                   + sum_i log(h_li + delta_l)]

    It is exact for linear layers with Gaussian noise at their most probable weights, if h are the
    eigenvalues of the whole curvature.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131.

    Args:
        loss: -log p(y | x) summed over all training samples.
        squares: ||theta_l||^2 of each parameter tensor, shape [tensors].
        spectra: Eigenvalues h_l of the curvature of each tensor, summed over the data, shape [P_l].
        log_precisions: log delta_l, shape [tensors].

    Returns:
        -log Z, which can be differentiated in everything.

    Raises:
        OrbitLensError: If an eigenvalue is negative or not finite, or the lists differ in length.

    Example:
        >>> h, log_delta = torch.tensor([3.0, 0.0]), torch.zeros(1)
        >>> negative_log_evidence(torch.tensor(1.0), torch.tensor([2.0]), [h], log_delta)
        tensor(2.6931)
    """
    _check_spectra(spectra, log_precisions)
    _check_squares(squares, log_precisions)
    sizes = torch.tensor([len(each) for each in spectra]).to(log_precisions)
    precisions = log_precisions.exp()
    pairs = zip(spectra, precisions, strict=True)
    determinants = torch.stack([torch.log(h + delta).sum() for h, delta in pairs])
    prior = precisions * squares - sizes * log_precisions
    return loss + (prior + determinants).sum() / 2


def effective_dimensions(
    spectra: _Spectra, log_precisions: Float[Tensor, " tensors"]
) -> Float[Tensor, " tensors"]:
    """Return how many parameters of each tensor the data determine.

        gamma_l = sum_i h_li / (h_li + delta_l)        from 0 to P_l

    Source: MacKay 1992, *Bayesian interpolation*.

    Args:
        spectra: Eigenvalues h_l of the curvature of each tensor, shape [P_l].
        log_precisions: log delta_l, shape [tensors].

    Raises:
        OrbitLensError: If an eigenvalue is negative or not finite, or the lists differ in length.

    Example:
        >>> effective_dimensions([torch.tensor([3.0, 0.0])], torch.zeros(1))
        tensor([0.7500])
    """
    _check_spectra(spectra, log_precisions)
    pairs = zip(spectra, log_precisions.exp(), strict=True)
    return torch.stack([(h / (h + delta)).sum() for h, delta in pairs])


def _check_squares(squares: Tensor, log_precisions: Tensor) -> None:
    if squares.shape != log_precisions.shape:
        raise OrbitLensError(
            "`squares`",
            expected=f"one for each of {log_precisions.numel()} precisions",
            received=f"shape {list(squares.shape)}",
            remedy="give the squared norm of every tensor that has a prior",
        )


def _check_spectra(spectra: _Spectra, log_precisions: Float[Tensor, " tensors"]) -> None:
    if not spectra or len(spectra) != len(log_precisions):
        raise OrbitLensError(
            "`spectra`",
            expected=f"the eigenvalues of {len(log_precisions)} tensors, one for each precision",
            received=f"those of {len(spectra)}",
            remedy="give the eigenvalues of every tensor that has a prior",
        )
    for number, h in enumerate(spectra):
        if not bool(((h >= 0) & h.isfinite()).all()):
            raise OrbitLensError(
                f"`spectra`, tensor {number}",
                expected="finite eigenvalues, 0 or more",
                received=f"values in {float(h.min()):.3g}..{float(h.max()):.3g}",
                remedy="measure them by kronecker_curvature, in float64, at finite weights",
            )
