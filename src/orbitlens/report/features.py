"""Features to look at: which latents to show, and the images they fire on in each orientation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.typing import Float, Int, Tensor

MIN_SAMPLES = 4
ImagesOf = Callable[[Int[Tensor, " k"], int], Float[Tensor, "k channels height width"]]


@dataclass(frozen=True, eq=False)
class FeatureCard:
    """One latent of one SAE, or one atom of an orbit SAE, as held-out samples show it.

    There is a row for each group element, for the samples moved by it. Of an atom there is a row
    for each of its orientations instead, see `orbit_feature_cards`.

    Args:
        sae: Name of the SAE, such as "vanilla" or "equivariant_canonical".
        latent: Index of the latent, or of the atom.
        firing_rates: Share of held-out samples on which it fires, per row, shape [group].
        images: Its top images in each row, strongest first, values in [0, 1], shape
            [group, rank, channels, height, width].
        activations: Its activation on each of them, shape [group, rank].
        label: What the group does to its direction, in words; None where that is not known.
        orientations: For an atom, the element of each row; None for a latent.
    """

    sae: str
    latent: int
    firing_rates: Float[Tensor, " group"]
    images: Float[Tensor, "group rank channels height width"]
    activations: Float[Tensor, "group rank"]
    label: str | None = None
    orientations: tuple[int, ...] | None = None


def feature_cards(
    codes: Float[Tensor, "n group latents"],
    images_of: ImagesOf,
    *,
    sae: str,
    n_features: int,
    n_images: int = 6,
    labels: Sequence[str] | None = None,
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
        labels: What the group does to each latent, in words, such as the sentences of
            `orbitlens.metrics.symmetry_labels`, shape [latents]; None (default) for none.

    Returns:
        One card per latent, largest energy first.

    Raises:
        OrbitLensError: If `n_images` is below 1, `n_features` below 0, there is not one label for
            each latent, or `images_of` does not give one image [channels, height, width] for each
            sample asked for.

    Example:
        >>> codes = torch.zeros(5, 2, 3)
        >>> codes[:, 0, 1] = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0])
        >>> picture_of = lambda samples, element: torch.rand(len(samples), 1, 8, 8)
        >>> card, = feature_cards(codes, picture_of, sae="vanilla", n_features=4, n_images=2)
        >>> card.latent, card.firing_rates.tolist(), card.activations.tolist()
        (1, [1.0, 0.0], [[5.0, 4.0], [0.0, 0.0]])
    """
    check_counts(n_features, n_images)
    if labels is not None and len(labels) != codes.shape[-1]:
        raise OrbitLensError(
            "`labels`",
            expected=f"one for each of the {codes.shape[-1]} latents",
            received=len(labels),
            remedy="label all directions of this SAE",
        )
    codes = codes.detach().cpu()
    latents = latents_to_show(codes, n_features)
    if not latents:
        return []
    shown = codes[:, :, latents]
    ranked = shown.sort(dim=0, descending=True, stable=True)
    activations, samples = ranked.values[:n_images], ranked.indices[:n_images]
    moves = torch.arange(codes.shape[1])[:, None].expand_as(samples)
    images = moved_images(images_of, samples, moves)
    return [
        FeatureCard(
            sae=sae,
            latent=latent,
            firing_rates=(shown[:, :, i] > 0).float().mean(dim=0),
            images=images[:, :, i].transpose(0, 1),
            activations=activations[:, :, i].T.float(),
            label=None if labels is None else labels[latent],
        )
        for i, latent in enumerate(latents)
    ]


def latents_to_show(codes: Float[Tensor, "n group latents"], n_features: int) -> list[int]:
    """Choose the latents with the largest energy among those that fire on a few samples.

    Args:
        codes: Activations of each latent, shape [n, group, latents].
        n_features: Latents to choose, at most.

    Returns:
        Their indices, largest energy first.
    """
    fires = (codes > 0).any(dim=1).sum(dim=0) >= MIN_SAMPLES
    energy = codes.square().sum(dim=(0, 1), dtype=torch.float64)
    order = energy.sort(descending=True, stable=True).indices
    eligible = (fires & energy.isfinite())[order]
    return [int(latent) for latent in order[eligible][:n_features]]


def moved_images(
    images_of: ImagesOf, samples: Int[Tensor, "*places"], moves: Int[Tensor, "*places"]
) -> Float[Tensor, "*places channels height width"]:
    """Collect images, asking once for all of each element: moving images may be slow.

    Args:
        images_of: Returns the images of some samples, moved by one group element.
        samples: Index of the sample of each image, of any shape.
        moves: The element that it is moved by, of the same shape.

    Returns:
        The images, laid out as the samples are.

    Raises:
        OrbitLensError: If `images_of` does not give one image for each sample asked for.
    """
    found: dict[int, Tensor] = {}
    for element in moves.unique().tolist():
        asked = samples[moves == element]
        images = images_of(asked, element)
        if images.ndim != 4 or len(images) != len(asked):
            raise OrbitLensError(
                "`images_of`",
                expected=f"images of shape [{len(asked)}, channels, height, width]",
                received=f"shape {list(images.shape)}",
                remedy="return one image for each sample asked for",
            )
        found[element] = images.detach().cpu().float()
    first = next(iter(found.values()))
    together = first.new_empty(*samples.shape, *first.shape[1:])
    for element, images in found.items():
        together[moves == element] = images
    return together


def check_counts(n_features: int, n_images: int) -> None:
    """Check how much is asked for.

    Raises:
        OrbitLensError: If there are fewer than 0 features or 1 image.
    """
    for name, least, value in (("n_features", 0, n_features), ("n_images", 1, n_images)):
        if value < least:
            raise OrbitLensError(
                f"`{name}`",
                expected=f"at least {least}",
                received=value,
                remedy="give the number to show",
            )
