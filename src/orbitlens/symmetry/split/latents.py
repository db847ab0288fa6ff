"""Normal latents of the topographic VAE, frame by frame, and the terms of its bound."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.symmetry.split._doors import drawn_on

_Latents = Float[Tensor, "n frames capsules slots"]


class Gaussian(NamedTuple):
    """Independent normal latents, per frame."""

    mean: _Latents
    log_variance: _Latents


class Posterior(NamedTuple):
    """q(z | x) and q(u | x)."""

    z: Gaussian
    u: Gaussian | None
    """None without coherence."""


class Elbo(NamedTuple):
    """The terms of the bound for each frame, in nats: log_likelihood - kl_z - kl_u."""

    log_likelihood: Float[Tensor, "n frames"]
    kl_z: Float[Tensor, "n frames"]
    kl_u: Float[Tensor, "n frames"]
    """0 without coherence."""


def _draw(q: Gaussian, generator: torch.Generator | None) -> tuple[_Latents, Float[Tensor, " n"]]:
    """Return a sample and log p - log q of it, summed over the latents of a sequence."""
    device = drawn_on(generator, q.mean.device)
    noise = torch.randn(q.mean.shape, generator=generator, dtype=q.mean.dtype, device=device)
    noise = noise.to(q.mean.device)
    value = q.mean + (q.log_variance / 2).exp() * noise
    ratio = (noise.square() - value.square() + q.log_variance) / 2
    return value, ratio.flatten(1).sum(1)


def _kl(q: Gaussian) -> Float[Tensor, "n frames"]:
    """Return KL(q | N(0, I)) of each frame."""
    each = q.mean.square() + q.log_variance.exp() - 1 - q.log_variance
    return each.flatten(2).sum(2) / 2
