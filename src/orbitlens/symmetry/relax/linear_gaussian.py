"""The exact evidence of a dense and a convolutional path on circular signals: a known answer.

Source: van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, *Learning Layer-wise
Equivariances Automatically using Gradients*, for the model; Rasmussen & Williams 2006, *Gaussian
Processes for Machine Learning*, section 2.2, for its evidence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from orbitlens.checks import as_axes, as_count, as_number, as_texts, check_memory
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.symmetry.relax._evidence_loop import MOST
from orbitlens.typing import Numbers

_PATHS = ("fc", "conv")


@final
@dataclass(frozen=True, eq=False)
class LinearGaussianFit:
    """The posterior mean of a linear map and its evidence.

    Args:
        dense: Posterior mean of the dense path, shape [d, d]; zero without it.
        taps: Posterior mean of the filter of the convolution, shape [d]; zero without it.
        log_precisions: log delta of the prior of each path, by its name.
        noise: Standard deviation of the noise.
        negative_log_evidence: -log Z, exactly, for all observations.
    """

    dense: Float[Tensor, "d d"]
    taps: Float[Tensor, " d"]
    log_precisions: dict[str, float]
    noise: float
    negative_log_evidence: float

    def matrix(self) -> Float[Tensor, "d d"]:
        """Return the whole map: the dense path and the circulant matrix of the taps."""
        return self.dense + circulant(self.taps)


def circulant(taps: Float[Tensor, " d"]) -> Float[Tensor, "d d"]:
    """Return the matrix C of a circular convolution, C[i, j] = taps[(i - j) mod d].

    Example:
        >>> circulant(torch.tensor([1.0, 2.0, 3.0])).tolist()
        [[1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [3.0, 2.0, 1.0]]
    """
    places = torch.arange(len(taps), device=taps.device)
    return taps[(places[:, None] - places) % len(taps)]


def exact_negative_log_evidence(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    log_precisions: Float[Tensor, " paths"],
    log_variance: Float[Tensor, ""],
    paths: Sequence[str] = _PATHS,
) -> Float[Tensor, ""]:
    """Return -log p(y | x) of y = (W_fc + C(w)) x + noise, with both paths integrated out.

        vec y ~ N(0, 1/delta_fc (X X^T (x) I) + 1/delta_conv P P^T + s^2 I)

    with P[(n, i), t] = x[n, (i - t) mod d] and every weight of a path ~ N(0, 1 / delta). The
    Fourier transform over places makes it one n x n matrix for each of the d frequencies:

        1/delta_fc X X^T + 1/delta_conv x^_k x^_k^* + s^2 I

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131, for the two paths.

    Args:
        x: Circular signals, shape [n, d].
        y: Their images, shape [n, d].
        log_precisions: log delta of each path, shape [paths].
        log_variance: log s^2, a tensor without axes.
        paths: "fc", "conv" or both (the default), in the order of the precisions.

    Returns:
        -log Z, which can be differentiated in precisions and variance.

    Raises:
        OrbitLensError: If a path is unknown, or the covariance is singular.

    Example:
        >>> x = torch.eye(2, dtype=torch.float64)
        >>> zero = torch.zeros(1, dtype=torch.float64)
        >>> exact_negative_log_evidence(x, 0 * x, zero, zero[0], ["fc"]).item()  # 2 log(4 pi)
        5.062...
    """
    root = _root(x, log_precisions, log_variance, paths)
    observed = torch.fft.fft(y, norm="ortho").T[..., None]
    white = torch.linalg.solve_triangular(root, observed, upper=False)
    determinant = 2 * root.diagonal(dim1=-2, dim2=-1).real.log().sum()
    constant = y.numel() * math.log(2 * math.pi)
    return (white.abs().square().sum() + determinant + constant) / 2


def fit_linear_gaussian(
    x: Numbers,
    y: Numbers,
    paths: Sequence[str] = _PATHS,
    *,
    learn: bool = True,
    noise: float = 1.0,
    steps: int = 150,
    lr: float = 0.1,
) -> LinearGaussianFit:
    """Fit a linear map of circular signals by its exact evidence.

    Adam descends `exact_negative_log_evidence` in the logarithms of the precisions and of the noise
    variance, from precisions one, in float64. Each stays within +-15, so that signals without noise
    have an end. Without `learn` they stay: the MAP baseline.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131, for the two paths.

    Args:
        x: Circular signals, shape [n, d].
        y: Their images, shape [n, d].
        paths: "fc", "conv" or both (the default).
        learn: Whether precisions and noise are learned, default True.
        noise: Standard deviation of the noise, above 0, at the start; default 1.
        steps: Steps of Adam, default 150.
        lr: Learning rate of Adam, default 0.1.

    Returns:
        The posterior mean, precisions, noise and -log Z.

    Raises:
        OrbitLensError: If shapes differ, a path is unknown or comes twice, a number is out of
            range, or the covariance of all observations does not fit into memory or is singular.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = torch.randn(20, 6, generator=generator, dtype=torch.float64)
        >>> y = x @ circulant(torch.arange(6.0, dtype=torch.float64)).T
        >>> found = fit_linear_gaussian(x, y + 0.1 * torch.randn(x.shape, generator=generator))
        >>> found.log_precisions["fc"] > 4 > 0 > found.log_precisions["conv"]
        True
    """
    signals = as_axes("x", x, "n d", dtype=torch.float64, least=1)
    sizes = dict(zip(("n", "d"), signals.shape, strict=True))
    images = as_axes("y", y, "n d", dtype=torch.float64, sizes=sizes)
    names = _as_paths(paths)
    if not as_number("noise", noise) > 0:
        raise out_of_range("noise", "a number above 0", noise)
    if not as_number("lr", lr) > 0:
        raise out_of_range("lr", "a number above 0", lr)
    needed = 64 * signals.shape[1] * len(signals) ** 2
    check_memory(f"the covariance of {len(signals):,} signals", needed, "give fewer signals")
    log_precisions = torch.zeros(len(names), dtype=torch.float64)
    log_variance = torch.tensor(2 * math.log(noise), dtype=torch.float64)
    if learn:
        with torch.enable_grad():
            hyper = [log_precisions.requires_grad_(), log_variance.requires_grad_()]
            adam = torch.optim.Adam(hyper, lr=lr)
            for _ in range(as_count("steps", steps)):
                adam.zero_grad(set_to_none=True)
                loss = exact_negative_log_evidence(
                    signals, images, log_precisions, log_variance, names
                )
                loss.backward()
                adam.step()
                with torch.no_grad():
                    log_precisions.clamp_(-MOST, MOST)
                    log_variance.clamp_(-MOST, MOST)
    with torch.no_grad():
        return _posterior(signals, images, log_precisions.detach(), log_variance.detach(), names)


def _posterior(
    x: Tensor, y: Tensor, log_precisions: Tensor, log_variance: Tensor, paths: Sequence[str]
) -> LinearGaussianFit:
    """Return the posterior means: prior covariance times design times K^-1 y."""
    root = _root(x, log_precisions, log_variance, paths)
    observed = torch.fft.fft(y, norm="ortho").T[..., None]
    alpha = torch.cholesky_solve(observed, root)[..., 0].T
    taps = torch.fft.ifft((torch.fft.fft(x).conj() * alpha).sum(0), norm="ortho").real
    weights = torch.fft.ifft(alpha, norm="ortho").real
    scale = dict(zip(paths, torch.exp(-log_precisions), strict=True))
    zero = torch.zeros((), dtype=x.dtype)
    return LinearGaussianFit(
        dense=scale.get("fc", zero) * weights.T @ x,
        taps=scale.get("conv", zero) * taps,
        log_precisions=dict(zip(paths, log_precisions.tolist(), strict=True)),
        noise=math.exp(float(log_variance) / 2),
        negative_log_evidence=float(
            exact_negative_log_evidence(x, y, log_precisions, log_variance, paths)
        ),
    )


def _root(
    x: Float[Tensor, "n d"], log_precisions: Tensor, log_variance: Tensor, paths: Sequence[str]
) -> Complex[Tensor, "d n n"]:
    """Return the Cholesky factors of the covariances."""
    try:
        return torch.linalg.cholesky(_covariances(x, log_precisions, log_variance, paths))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        noise = torch.exp(log_variance.detach() / 2).item()
        raise OrbitLensError(
            "the covariance of `y`",
            expected="one that is positive definite in float64",
            received=f"one with noise {noise:.3g} beside signals of up to {x.abs().max():.3g}",
            remedy="give a larger noise, or scale signals and images to about 1",
        ) from None


def _covariances(
    x: Float[Tensor, "n d"], log_precisions: Tensor, log_variance: Tensor, paths: Sequence[str]
) -> Complex[Tensor, "d n n"]:
    """Return the covariance of the images at each frequency, between which there is none."""
    spectrum = torch.fft.fft(x).T
    grams = {"fc": (x @ x.T)[None], "conv": spectrum[:, :, None] * spectrum[:, None].conj()}
    noise = torch.exp(log_variance) * torch.eye(len(x), dtype=x.dtype, device=x.device)
    pairs = zip(_as_paths(paths), torch.exp(-log_precisions), strict=True)
    return sum((scale * grams[name] for name, scale in pairs), noise) + 0 * spectrum[:, :1, None]


def _as_paths(paths: Sequence[str]) -> tuple[str, ...]:
    names = as_texts("paths", paths)
    for name in names:
        if name not in _PATHS:
            raise unknown_name("`paths`", name, _PATHS)
    if not names or len(set(names)) < len(names):
        raise OrbitLensError(
            "`paths`",
            expected='"fc", "conv" or both, each once',
            received=list(names),
            remedy="name each path once",
        )
    return names
