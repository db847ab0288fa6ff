"""Atoms of an orbit SAE to look at: one row of images for each orientation of the atom."""

import torch

from orbitlens.metrics.labels import SymmetryLabel, atom_labels, orientation_codes
from orbitlens.report.features import (
    FeatureCard,
    ImagesOf,
    check_counts,
    latents_to_show,
    moved_images,
)
from orbitlens.sae._stabilisers import cosets
from orbitlens.sae.model import SAE, orbit_dictionary
from orbitlens.typing import Float, Tensor


def orbit_feature_cards(
    codes: Float[Tensor, "n moved latents"],
    images_of: ImagesOf,
    model: SAE,
    *,
    sae: str,
    n_features: int,
    n_images: int = 6,
) -> list[FeatureCard]:
    """Choose the atoms of an orbit SAE to show, and their top images in each orientation.

    How strong atom c is in orientation g on a sample x, wherever the group takes x,

        s[x, g, c] = max over m of z(mx)[g, c],

    is laid out as [n, element, atom], and atoms and samples are chosen from it as `feature_cards`
    does from codes. A picture in row g is the sample moved by the m of its maximum, as the network
    saw it, so the rows show the same content in different orientations: row g is row e moved by g,
    as far as the network is equivariant. Orientations of an atom that are the same share a row.

    Args:
        codes: z(mx) of held-out samples x moved by elements m = 0, 1, ..., shape
            [n, moved, |G| * n_atoms]. Give whole orbits, as to `feature_cards`, so that every
            orientation is seen; `codes[:, :1]` shows samples as they are found alone.
        images_of: Returns the images of some samples, moved by one group element, values in [0, 1].
        model: The orbit SAE; the label of each atom is read from its dictionary.
        sae: Name of the SAE.
        n_features: Atoms to show, at most; fewer where fewer fire.
        n_images: Images per orientation, default 6; fewer where there are fewer samples.

    Returns:
        One card per atom, largest energy first. Firing rates are of samples as they are found.

    Raises:
        OrbitLensError: If the model is no orbit SAE, `n_images` is below 1, `n_features` is below
            0, or `images_of` does not give one image for each sample asked for.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae import OrbitDictionary, TopK
        >>> from orbitlens.sae.orbit import compose_orbit
        >>> atoms = OrbitDictionary(1, isotypic_basis(regular(cyclic(4))))
        >>> model = compose_orbit(TopK(1), atoms, hidden=None, seed=0)
        >>> picture_of = lambda samples, element: torch.rand(len(samples), 1, 8, 8)
        >>> codes = torch.eye(4).expand(5, 4, 4)
        >>> card, = orbit_feature_cards(codes, picture_of, model, sae="orbit", n_features=1)
        >>> card.orientations, card.firing_rates.tolist(), card.images.shape[:2]
        ((0, 1, 2, 3), [1.0, 0.0, 0.0, 0.0], torch.Size([4, 5]))
    """
    check_counts(n_features, n_images)
    strongest, moves = orientation_codes(model, codes).max(dim=1)
    atoms = latents_to_show(strongest, n_features)
    if not atoms:
        return []
    ranked = strongest[:, :, atoms].sort(dim=0, descending=True, stable=True)
    activations, samples = ranked.values[:n_images], ranked.indices[:n_images]
    images = moved_images(images_of, samples, moves[:, :, atoms].gather(0, samples))
    dictionary = orbit_dictionary(model)
    same = cosets(dictionary.group, dictionary.stabilisers.cpu())
    labels = atom_labels(model, codes[:, 0])
    return [
        _card(
            sae,
            atom,
            labels[atom],
            same[:, atom].unique().tolist(),
            images[:, :, i],
            activations[:, :, i],
        )
        for i, atom in enumerate(atoms)
    ]


def _card(
    sae: str,
    atom: int,
    label: SymmetryLabel,
    orientations: list[int],
    images: Float[Tensor, "rank group channels height width"],
    activations: Float[Tensor, "rank group"],
) -> FeatureCard:
    return FeatureCard(
        sae=sae,
        latent=atom,
        firing_rates=torch.tensor(label.firing_rates)[orientations],
        images=images[:, orientations].transpose(0, 1),
        activations=activations[:, orientations].T.float(),
        label=label.sentence,
        orientations=tuple(orientations),
    )
