"""Features to look at: which latents or atoms a page shows, and their top images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from orbitlens.checks import as_axes, as_count
from orbitlens.errors import OrbitLensError
from orbitlens.metrics.labels import atom_labels, orientation_codes
from orbitlens.report._notation import element_label
from orbitlens.sae._stabilisers import cosets
from orbitlens.sae.model import SAE, orbit_dictionary
from orbitlens.typing import Float, Int, Numbers, Tensor

_MIN_SAMPLES = 4
_ImagesOf = Callable[[Int[Tensor, " k"], int], Float[Tensor, "k channels height width"]]


@dataclass(frozen=True, eq=False)
class FeatureCard:
    """One latent of an SAE, or one atom of an orbit SAE, on held-out samples.

    A latent has one row per group element, for the samples moved by it. An atom has one row per
    orientation, see `orbit_feature_cards`.

    Args:
        sae: Name of the SAE, such as "vanilla" or "equivariant_canonical".
        latent: Index of the latent, or of the atom.
        firing_rates: Share of held-out samples on which it fires, per row, shape [group].
        images: Its top images in each row, strongest first, values in [0, 1], shape
            [group, rank, channels, height, width]; None where samples have none.
        activations: Its activation on each of them, shape [group, rank].
        label: The effect of the group on its direction, in words; None where it is unknown.
        orientations: For an atom, the element of each row; None for a latent.
        names: The name of the sample of each image, by row and rank; empty where they have none.
        turning: Its row of features.csv, see `metrics.Turning`; None where it was not measured.
        letters: How often A, C, G and T stand around the places where it is strongest, for a logo
            of each row, shape [group, 4, column]; 0 in rows without one, None where there are none.
    """

    sae: str
    latent: int
    firing_rates: Float[Tensor, " group"]
    images: Float[Tensor, "group rank channels height width"] | None
    activations: Float[Tensor, "group rank"]
    label: str | None = None
    orientations: tuple[int, ...] | None = None
    turning: Mapping[str, Any] | None = None
    names: tuple[tuple[str, ...], ...] = ()
    letters: Float[Tensor, "group 4 column"] | None = None


def feature_cards(
    codes: Numbers,
    images_of: _ImagesOf | None,
    *,
    sae: str,
    n_features: int,
    n_images: int = 6,
    labels: Sequence[str] | None = None,
    names: Sequence[str] = (),
) -> list[FeatureCard]:
    """Choose the latents of an SAE to show, and their top images in each orientation.

    Candidates are the latents that fire (z > 0) on at least 4 samples in some orientation and have
    finite values. They are ranked by their energy

        sum over x and g of z_i(gx)^2,

    equal ones by their index. For every group element the images are those of the distinct samples
    with the largest z_i(gx). Where a latent fires on fewer samples, the rest have activation 0.
    `codes` are z(gx) of held-out samples along their orbits, [n, group, latents].
    `images_of(samples, element)` returns the images of some samples, moved by one element, with
    values in [0, 1]; None shows the names alone. `labels` says in words what the group does to each
    latent. `names` are those of the samples.
    """
    _check_counts(n_features, n_images)
    codes = as_axes("codes", codes, "n group latents", finite=False)
    if labels is not None and len(labels) != codes.shape[-1]:
        raise OrbitLensError(
            "`labels`",
            expected=f"one for each of the {codes.shape[-1]} latents",
            received=len(labels),
            remedy="label all directions of this SAE",
        )
    codes = codes.detach().cpu()
    latents = _choose_latents(codes, n_features)
    if not latents:
        return []
    shown = codes[:, :, latents]
    ranked = shown.sort(dim=0, descending=True, stable=True)
    activations, samples = ranked.values[:n_images], ranked.indices[:n_images]
    moves = torch.arange(codes.shape[1])[:, None].expand_as(samples)
    images = _moved_images(images_of, samples, moves)
    return [
        FeatureCard(
            sae=sae,
            latent=latent,
            firing_rates=(shown[:, :, i] > 0).float().mean(dim=0),
            images=None if images is None else images[:, :, i].transpose(0, 1),
            activations=activations[:, :, i].T.float(),
            label=None if labels is None else labels[latent],
            names=_names_of(samples[:, :, i].T, names),
        )
        for i, latent in enumerate(latents)
    ]


def orbit_feature_cards(
    codes: Numbers,
    images_of: _ImagesOf | None,
    model: SAE,
    *,
    sae: str,
    n_features: int,
    n_images: int = 6,
    names: Sequence[str] = (),
    words: Sequence[str] = (),
) -> list[FeatureCard]:
    """Choose the atoms of an orbit SAE to show, and their top images in each orientation.

    The strength of atom c in orientation g on a sample x is its maximum over the orbit of x,

        s[x, g, c] = max over m of z(mx)[g, c].

    Atoms and samples are chosen from these strengths [n, element, atom] as `feature_cards` chooses
    from codes. A picture in row g is the sample moved by the m of its maximum, as the network saw
    it, so the rows show the same content in different orientations: row g is row e moved by g, as
    far as the network is equivariant. Orientations of an atom that are the same share a row. Firing
    rates are those of unmoved samples. `codes` are z(mx) of held-out samples x moved by elements m
    = 0, 1, ..., shape [n, moved, latents]; give whole orbits, so that every orientation is seen.
    `codes[:, :1]` shows only unmoved samples. `words` say what each element does.
    """
    _check_counts(n_features, n_images)
    codes = as_axes("codes", codes, "n moved latents", finite=False)
    strongest, moves = orientation_codes(model, codes).max(dim=1)
    atoms = _choose_latents(strongest, n_features)
    if not atoms:
        return []
    ranked = strongest[:, :, atoms].sort(dim=0, descending=True, stable=True)
    activations, samples = ranked.values[:n_images], ranked.indices[:n_images]
    moved_by = moves[:, :, atoms].gather(0, samples)
    images = _moved_images(images_of, samples, moved_by)
    dictionary = orbit_dictionary(model)
    same = cosets(dictionary.group, dictionary.stabilisers.cpu())
    labels = atom_labels(model, codes[:, 0], words=words)
    symbols = [element_label(element) for element in dictionary.group.element_names]
    cards = []
    for i, atom in enumerate(atoms):
        rows = same[:, atom].unique().tolist()
        cards.append(
            FeatureCard(
                sae=sae,
                latent=atom,
                firing_rates=torch.tensor(labels[atom].firing_rates)[rows],
                images=None if images is None else images[:, rows, i].transpose(0, 1),
                activations=activations[:, rows, i].T.float(),
                label=labels[atom].sentence,
                orientations=tuple(rows),
                names=_names_of(samples[:, rows, i].T, names, moved_by[:, rows, i].T, symbols),
            )
        )
    return cards


def _choose_latents(codes: Float[Tensor, "n group latents"], n_features: int) -> list[int]:
    """Return the latents with the largest energy among those that fire on a few samples."""
    fires = (codes > 0).any(dim=1).sum(dim=0) >= _MIN_SAMPLES
    energy = codes.square().sum(dim=(0, 1), dtype=torch.float64)
    order = energy.sort(descending=True, stable=True).indices
    eligible = (fires & energy.isfinite())[order]
    return [int(latent) for latent in order[eligible][:n_features]]


def _names_of(
    samples: Int[Tensor, "group rank"],
    names: Sequence[str],
    moves: Int[Tensor, "group rank"] | None = None,
    symbols: Sequence[str] = (),
) -> tuple[tuple[str, ...], ...]:
    """Name some samples, and the element that moved each unless their row says it."""
    if not names:
        return ()
    if moves is None:
        return tuple(tuple(names[i] for i in row) for row in samples.tolist())
    return tuple(
        tuple(
            f"{names[i]} under {symbols[g]}" if g else names[i] for i, g in zip(*row, strict=True)
        )
        for row in zip(samples.tolist(), moves.tolist(), strict=True)
    )


def _moved_images(
    images_of: _ImagesOf | None, samples: Int[Tensor, "*places"], moves: Int[Tensor, "*places"]
) -> Float[Tensor, "*places channels height width"] | None:
    """Collect images of samples moved by elements, with one call per element: it may be slow."""
    if images_of is None:
        return None
    found: dict[int, Tensor] = {}
    for element in moves.unique().tolist():
        asked = samples[moves == element]
        images = images_of(asked, element)
        if images.ndim != 4 or len(images) != len(asked):
            raise OrbitLensError(
                "`images_of`",
                expected=f"images of shape [{len(asked)}, channels, height, width]",
                received=f"shape {list(images.shape)}",
                remedy="return one image per sample",
            )
        found[element] = images.detach().cpu().float()
    first = next(iter(found.values()))
    together = first.new_empty(*samples.shape, *first.shape[1:])
    for element, images in found.items():
        together[moves == element] = images
    return together


def _check_counts(n_features: int, n_images: int) -> None:
    for name, least, value in (("n_features", 0, n_features), ("n_images", 1, n_images)):
        as_count(name, value, least=least)
