"""Objectives: pure functions of tensors, one value per sample; the caller averages.

The arguments of an objective name the tensors that it needs. `fit` computes these and no others:

    x         psi(x), the canonical sample       x_moved         psi(gx), g drawn at random
    codes     E(psi(x))                          codes_moved     E(psi(gx))
    x_hat     D(E(psi(x)))                       x_hat_moved     D(E(psi(gx)))
    orbit     psi(gx) for every g                x_hat_orbit     its reconstruction from E(psi(x))
    pooled    sum_g of an orbit SAE's codes      pooled_moved    the same of E(psi(gx))

Weights are keyword-only; bind another one with `functools.partial`. Source of the three invariance
objectives: Erdogan & Lucic, arXiv 2511.09432. Its lambda is 1.
"""

import torch

from orbitlens.checks import as_floats, as_number
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.metrics import squared_error
from orbitlens.typing import Activations, Codes, Orbits, PerSample

__all__ = [
    "canonical",
    "dead_latent_revival",
    "l1_reconstruction",
    "latent_invariance",
    "orbit_invariance",
    "orbit_reconstruction",
    "output_invariance",
    "reconstruction",
]


def reconstruction(x_moved: Activations, x_hat_moved: Activations) -> PerSample:
    """The ordinary SAE on augmented data, || psi(gx) - D(E(psi(gx))) ||^2.

    Args:
        x_moved: psi(gx), shape [batch, dim].
        x_hat_moved: D(E(psi(gx))), shape [batch, dim].

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> reconstruction(torch.ones(1, 3), torch.zeros(1, 3)).tolist()
        [3.0]
    """
    return squared_error(x_moved, x_hat_moved)


def l1_reconstruction(
    x_moved: Activations, x_hat_moved: Activations, codes_moved: Codes, *, weight: float = 1.0
) -> PerSample:
    """The classical SAE, || psi(gx) - D(E(psi(gx))) ||^2 + lambda || E(psi(gx)) ||_1.

    It is for the sparsity rule ReLU with directions of unit length.

    Args:
        x_moved: psi(gx), shape [batch, dim].
        x_hat_moved: D(E(psi(gx))), shape [batch, dim].
        codes_moved: E(psi(gx)), shape [batch, latents].
        weight: lambda, default 1.

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> ones, zeros = torch.ones(1, 3), torch.zeros(1, 3)
        >>> l1_reconstruction(ones, zeros, ones, weight=2.0).tolist()
        [9.0]
    """
    penalty = as_floats("codes_moved", codes_moved).abs().sum(-1)
    return squared_error(x_moved, x_hat_moved) + _weight(weight) * penalty


def canonical(x: Activations, x_hat_moved: Activations) -> PerSample:
    """Reconstruct the canonical sample from any other, || psi(x) - D(E(psi(gx))) ||^2.

    Args:
        x: psi(x), shape [batch, dim].
        x_hat_moved: D(E(psi(gx))), shape [batch, dim].

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> canonical(torch.ones(1, 3), torch.zeros(1, 3)).tolist()
        [3.0]
    """
    return squared_error(x, x_hat_moved)


def latent_invariance(
    x: Activations,
    x_hat: Activations,
    codes: Codes,
    codes_moved: Codes,
    *,
    weight: float = 1.0,
) -> PerSample:
    """Equal codes, || psi(x) - D(E(psi(x))) ||^2 + lambda || E(psi(x)) - E(psi(gx)) ||^2.

    Transformed inputs train the encoder alone.

    Args:
        x: psi(x), shape [batch, dim].
        x_hat: D(E(psi(x))), shape [batch, dim].
        codes: E(psi(x)), shape [batch, latents].
        codes_moved: E(psi(gx)), shape [batch, latents].
        weight: lambda, default 1.

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> ones, zeros = torch.ones(1, 3), torch.zeros(1, 3)
        >>> latent_invariance(ones, zeros, ones, zeros, weight=2.0).tolist()
        [9.0]
    """
    return squared_error(x, x_hat) + _weight(weight) * squared_error(codes, codes_moved)


def output_invariance(
    x: Activations, x_hat: Activations, x_hat_moved: Activations, *, weight: float = 1.0
) -> PerSample:
    """Equal outputs, || psi(x) - D(E(psi(x))) ||^2 + lambda || D(E(psi(x))) - D(E(psi(gx))) ||^2.

    Transformed inputs train encoder and dictionary.

    Args:
        x: psi(x), shape [batch, dim].
        x_hat: D(E(psi(x))), shape [batch, dim].
        x_hat_moved: D(E(psi(gx))), shape [batch, dim].
        weight: lambda, default 1.

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> ones, zeros = torch.ones(1, 3), torch.zeros(1, 3)
        >>> output_invariance(ones, zeros, ones, weight=2.0).tolist()
        [9.0]
    """
    return squared_error(x, x_hat) + _weight(weight) * squared_error(x_hat, x_hat_moved)


def orbit_reconstruction(orbit: Orbits, x_hat_orbit: Orbits) -> PerSample:
    """Reconstruct a whole orbit from its canonical sample, mean_g || psi(gx) - D_g(E(psi(x))) ||^2.

    The objective of the group crosscoder: the dictionary has one block for each element. A mean
    over g, not a sum, keeps the unit of the other objectives. Source: Gorton, arXiv 2410.24184.

    Args:
        orbit: psi(gx) for every g, shape [batch, |G|, dim].
        x_hat_orbit: D_g(E(psi(x))), shape [batch, |G|, dim].

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> orbit_reconstruction(torch.ones(1, 2, 3), torch.zeros(1, 2, 3)).tolist()
        [3.0]
    """
    orbit, x_hat_orbit = as_floats("orbit", orbit), as_floats("x_hat_orbit", x_hat_orbit)
    if orbit.ndim != 3 or orbit.shape != x_hat_orbit.shape:
        raise OrbitLensError(
            "`x_hat_orbit`",
            expected=f"shape [batch, |G|, dim], as the orbit, {list(orbit.shape)}",
            received=list(x_hat_orbit.shape),
            remedy="reconstruct every sample of each orbit",
        )
    return (
        squared_error(orbit.flatten(0, 1), x_hat_orbit.flatten(0, 1)).view(orbit.shape[:2]).mean(-1)
    )


def orbit_invariance(
    x_moved: Activations,
    x_hat_moved: Activations,
    pooled: Codes,
    pooled_moved: Codes,
    *,
    weight: float = 1.0,
) -> PerSample:
    """Reconstruct the moved sample with pooled codes that do not move.

    || psi(gx) - D(E(psi(gx))) ||^2 + lambda || sum_h z(x)[h, .] - sum_h z(gx)[h, .] ||^2

    The second term is zero where the transport predicts orbits exactly. Elsewhere it makes the sum
    of an atom's |G| codes independent of the pose; which of them fires still shows the pose.

    Args:
        x_moved: psi(gx), shape [batch, dim].
        x_hat_moved: D(E(psi(gx))), shape [batch, dim].
        pooled: Codes of psi(x) summed over the group, shape [batch, atoms].
        pooled_moved: The same of psi(gx), shape [batch, atoms].
        weight: lambda, default 1.

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> ones, zeros = torch.ones(1, 3), torch.zeros(1, 3)
        >>> orbit_invariance(ones, zeros, ones, zeros, weight=2.0).tolist()
        [9.0]
    """
    return squared_error(x_moved, x_hat_moved) + _weight(weight) * squared_error(
        pooled, pooled_moved
    )


def dead_latent_revival(residual: Activations, explained: Activations) -> PerSample:
    """Let dead latents explain the residual of the others (the AuxK loss).

    || r - sum_{i in top k_aux dead} a_i D_i ||^2 / || r ||^2 with the residual r held fixed and no
    bias. No ReLU: a latent whose pre-activation is negative everywhere still gets a gradient.
    Source: Gao et al., arXiv 2406.04093, Appendix A.2.

    Args:
        residual: Target minus reconstruction, shape [batch, dim]; detached here.
        explained: Its reconstruction by dead latents, sum_i a_i D_i, shape [batch, dim].

    Returns:
        One value per sample, shape [batch].

    Example:
        >>> dead_latent_revival(torch.ones(1, 2), torch.tensor([[-2.0, 0.0]]))
        tensor([5.])
    """
    residual = as_floats("residual", residual).detach()
    power = residual.square().sum(-1).clamp_min(torch.finfo(residual.dtype).tiny)
    return squared_error(residual, explained) / power


def _weight(weight: float) -> float:
    """Return the weight of a term, a number from 0."""
    weight = as_number("weight", weight, "0 or more")
    if not weight >= 0:
        raise out_of_range("weight", "0 or more", weight)
    return weight
