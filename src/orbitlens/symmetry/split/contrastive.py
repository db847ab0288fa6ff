"""The contrastive loss of world models: near what follows, far from what is unrelated.

Source: Park et al. 2022, arXiv 2204.11371, after Kipf, van der Pol & Welling 2020, arXiv
1911.12247, *Contrastive Learning of Structured World Models*.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_number
from orbitlens.errors import out_of_range
from orbitlens.symmetry.split._doors import as_like, as_values

_Latents = Float[Tensor, "n objects dim"]


class ContrastiveLoss(NamedTuple):
    """The two terms of the loss, for each transition."""

    near: Float[Tensor, " n"]
    """Distance of the prediction from what follows."""
    far: Float[Tensor, " n"]
    """How much an unrelated state is too near to the present one."""


def latent_distance(u: _Latents, v: _Latents, *, sigma: float = 0.5) -> Float[Tensor, " n"]:
    """Return the distance of latents, one value for each pair.

        d(u, v) = 1 / (2 sigma^2) sum over dim of mean over objects of (u - v)^2

    Source: the code of Park et al. 2022, arXiv 2204.11371.

    Args:
        u: Latents.
        v: Others, of the same shape.
        sigma: Unit of length, default 0.5.

    Returns:
        Distances, shape [n].

    Raises:
        OrbitLensError: If the shapes differ, or sigma is not above 0.

    Example:
        >>> import torch
        >>> latent_distance(torch.zeros(1, 2, 3), torch.ones(1, 2, 3))
        tensor([6.])
    """
    if as_number("sigma", sigma) <= 0:
        raise out_of_range("sigma", "above 0", sigma)
    u = as_values("u", u, "n objects dim")
    return (u - as_like("v", v, "u", u)).square().mean(1).sum(1) / (2 * sigma**2)


def contrastive_loss(
    predicted: _Latents,
    following: _Latents,
    state: _Latents,
    other: _Latents,
    *,
    margin: float = 1.0,
    sigma: float = 0.5,
) -> ContrastiveLoss:
    """Return the loss of a prediction in latents, whose terms are to be added.

        near = d(z + T(z, a), z')        far = max(0, margin - d(z, z~))

    Without the second term all latents might be the same. The paper's formula has the prediction in
    its second term; its code has the present state, and so has this function.

    Source: Park et al. 2022, arXiv 2204.11371, and its code.

    Args:
        predicted: z + T(z, a), shape [n, objects, dim].
        following: z', the latents of the next images.
        state: z, those of the present ones.
        other: z~, those of unrelated states, such as the present ones in another order.
        margin: The distance from which on states are far enough; default 1.
        sigma: Unit of length, default 0.5.

    Returns:
        Both terms, shape [n] each.

    Raises:
        OrbitLensError: If the shapes differ, sigma is not above 0, or the margin is below 0.

    Example:
        >>> import torch
        >>> z = torch.zeros(1, 1, 2)
        >>> loss = contrastive_loss(z + 1, z, z, z + 0.5)
        >>> loss.near, loss.far
        (tensor([4.]), tensor([0.]))
    """
    if as_number("margin", margin) < 0:
        raise out_of_range("margin", "0 or more", margin)
    state = as_like("state", state, "predicted", as_values("predicted", predicted, "n objects dim"))
    near = latent_distance(predicted, following, sigma=sigma)
    far = (margin - latent_distance(state, other, sigma=sigma)).relu()
    return ContrastiveLoss(near, far)
