"""Features to look at: which latents to show, and the images they fire on in each orientation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.typing import Float, Int, Tensor

MIN_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class FeatureCard:
    """One latent of one SAE, as held-out samples show it.

    Args:
        sae: Name of the SAE, such as "vanilla" or "equivariant_canonical".
        latent: Index of the latent.
        firing_rates: Share of held-out samples on which it fires, per group element, shape [group].
        images: Its top images in each orientation, strongest first, values in [0, 1], shape
            [group, rank, channels, height, width].
        activations: Its activation on each of them, shape [group, rank].
    """

    sae: str
    latent: int
    firing_rates: Float[Tensor, " group"]
    images: Float[Tensor, "group rank channels height width"]
    activations: Float[Tensor, "group rank"]


def feature_cards(
    codes: Float[Tensor, "n group latents"],
    images_of: Callable[[Int[Tensor, " k"], int], Float[Tensor, "k channels height width"]],
    *,
    sae: str,
    n_features: int,
    n_images: int = 6,
) -> list[FeatureCard]:
    """Choose the latents of an SAE to show, and their top images in each orientation.

    Of the latents that fire (z > 0) on at least 4 samples in some orientation, the ones with the
    largest energy

    sum over x and g of z_i(gx)^2

    are shown, largest first; equal ones by their index. A latent with a value that is not finite is
    passed over. For every group element the images are those of the distinct samples with the
    largest z_i(gx); where a latent fires on fewer, the rest have activation 0.

    Args:
        codes: z(gx) of held-out samples along their orbits, shape [n, group, latents].
        images_of: Returns the images of some samples, moved by one group element, values in [0, 1].
        sae: Name of the SAE.
        n_features: Latents to show, at most; fewer where fewer fire.
        n_images: Images per orientation, default 6; fewer where there are fewer samples.

    Returns:
        One card per latent, largest energy first.

    Raises:
        OrbitLensError: If `n_images` is below 1, `n_features` below 0, or `images_of` does not give
            one image [channels, height, width] for each sample asked for.

    Example:
        >>> codes = torch.zeros(5, 2, 3)
        >>> codes[:, 0, 1] = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0])
        >>> picture_of = lambda samples, element: torch.rand(len(samples), 1, 8, 8)
        >>> card, = feature_cards(codes, picture_of, sae="vanilla", n_features=4, n_images=2)
        >>> card.latent, card.firing_rates.tolist(), card.activations.tolist()
        (1, [1.0, 0.0], [[5.0, 4.0], [0.0, 0.0]])
    """
    _check_at_least("`n_features`", 0, n_features)
    _check_at_least("`n_images`", 1, n_images)
    codes = codes.detach().cpu()
    latents = _latents_to_show(codes, n_features)
    if not latents:
        return []
    shown = codes[:, :, latents]
    ranked = shown.sort(dim=0, descending=True, stable=True)
    activations, samples = ranked.values[:n_images], ranked.indices[:n_images]
    images = torch.stack(
        [_images(images_of, samples[:, element], element) for element in range(codes.shape[1])]
    )
    return [
        FeatureCard(
            sae=sae,
            latent=latent,
            firing_rates=(shown[:, :, i] > 0).float().mean(dim=0),
            images=images[:, :, i],
            activations=activations[:, :, i].T.float(),
        )
        for i, latent in enumerate(latents)
    ]


def _latents_to_show(codes: Float[Tensor, "n group latents"], n_features: int) -> list[int]:
    fires = (codes > 0).any(dim=1).sum(dim=0) >= MIN_SAMPLES
    energy = codes.square().sum(dim=(0, 1), dtype=torch.float64)
    order = energy.sort(descending=True, stable=True).indices
    eligible = (fires & energy.isfinite())[order]
    return [int(latent) for latent in order[eligible][:n_features]]


def _images(
    images_of: Callable[[Int[Tensor, " k"], int], Float[Tensor, "k channels height width"]],
    samples: Int[Tensor, "rank feature"],
    element: int,
) -> Float[Tensor, "rank feature channels height width"]:
    """Ask once for all images of one orientation: moving images may be slow."""
    flat = samples.flatten()
    images = images_of(flat, element)
    if images.ndim != 4 or len(images) != len(flat):
        raise OrbitLensError(
            "`images_of`",
            expected=f"images of shape [{len(flat)}, channels, height, width]",
            received=f"shape {list(images.shape)}",
            remedy="return one image for each sample asked for",
        )
    return images.detach().cpu().float().reshape(*samples.shape, *images.shape[1:])


def _check_at_least(name: str, least: int, value: int) -> None:
    if value < least:
        raise OrbitLensError(
            name,
            expected=f"at least {least}",
            received=value,
            remedy="give the number to show",
        )
