"""The feature cards of one SAE on the held-out orbits of a store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.metrics import symmetry_labels
from orbitlens.pipeline._drawings import MovedImages
from orbitlens.pipeline._logos import with_logos
from orbitlens.report import FeatureCard, feature_cards, orbit_feature_cards
from orbitlens.sae import SAE
from orbitlens.transport import Transport
from orbitlens.typing import Int


@torch.no_grad()
def cards_of_sae(
    sae: SAE,
    store: ActivationStore,
    samples: Int[np.ndarray, " shown"],
    images_of: MovedImages | None,
    *,
    name: str,
    n_features: int,
    exact: Transport | None,
    words: Sequence[str],
) -> list[FeatureCard]:
    """Choose the features of an SAE to show on some samples, strongest position of each.

    `images_of` is of these samples; None shows their names alone. The latents of an SAE that is no
    orbit SAE get labels from the matrices of `exact`. `words` say what each element does.
    """
    orbits = store.orbits(samples)
    shape = (len(samples), store.positions, store.group.order)
    codes = sae.encode(orbits.flatten(0, 1)).unflatten(0, shape)
    strongest = codes.amax(1)
    shown: dict[str, Any] = {
        "sae": name,
        "n_features": n_features,
        "names": sample_names(store, samples),
    }
    if sae.dictionary.group is not None:
        cards = orbit_feature_cards(strongest, images_of, sae, words=words, **shown)
    else:
        labels = None if exact is None else _labels(sae, store, exact, words)
        cards = feature_cards(strongest, images_of, labels=labels, **shown)
    return with_logos(cards, codes, sae, store, images_of)


def sample_names(store: ActivationStore, samples: Int[np.ndarray, " shown"]) -> list[str]:
    """Return the names of some samples: their files, or else their numbers."""
    return [store.files[i] if store.files else f"input {i}" for i in samples.tolist()]


def _labels(
    sae: SAE, store: ActivationStore, exact: Transport, words: Sequence[str]
) -> list[str] | None:
    directions = sae.W_dec.detach()
    try:
        labels = symmetry_labels(directions, store.group, exact.matrices, words=words)
    except OrbitLensError:
        # A page without labels is better than none.
        return None
    return [label.sentence for label in labels]
