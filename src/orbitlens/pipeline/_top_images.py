"""From a feature to its inputs, and from an input to its features.

Strengths of the atoms of an orbit SAE are those in each orientation, on inputs as they are. Those
of the latents of another SAE are on inputs moved by each element.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.activations.store import check_store
from orbitlens.checks import as_count, as_samples
from orbitlens.errors import OrbitLensError
from orbitlens.metrics import orientation_codes
from orbitlens.models import evaluating
from orbitlens.pipeline._loading import check_layer_of
from orbitlens.sae import SAE, OrbitDictionary
from orbitlens.sae._stabilisers import cosets
from orbitlens.training import FitResult
from orbitlens.typing import Bool, Float, Int, Numbers

__all__ = ["ActiveFeature", "TopImage", "active_features", "top_images"]

_NUMBERS = 2**23
"""Codes in memory at once."""


@final
@dataclass(frozen=True)
class TopImage:
    """An input that activates a feature.

    Args:
        index: The input's number in the store.
        file: Its file, or another name; empty if the store has none.
        element: For an atom, its orientation in the input; for a latent, the element that moved it.
        element_name: The name of the element, such as "r" or "e".
        strength: The code.
        position: The place or token with this code; 0 where inputs have one vector.
    """

    index: int
    file: str
    element: int
    element_name: str
    strength: float
    position: int


@final
@dataclass(frozen=True)
class ActiveFeature:
    """A feature that an input activates.

    Args:
        feature: The index of the atom of an orbit SAE, or of the latent of another SAE.
        element: For an atom, its orientation in the input; for a latent, the element that moved the
            input.
        element_name: The name of the element, such as "r" or "e".
        strength: The code.
        position: The place or token with this code; 0 where inputs have one vector.
    """

    feature: int
    element: int
    element_name: str
    strength: float
    position: int


def top_images(
    sae: SAE | FitResult,
    store: ActivationStore,
    atom: int,
    *,
    n: int = 10,
    samples: Numbers | None = None,
) -> list[TopImage]:
    """Return the inputs that activate a feature most, strongest first.

    For atom c of an orbit SAE the strength of an input x is max over g of z(x)[g, c], and the
    element is that g: the orientation in which the input shows the atom. For latent i of another
    SAE it is max over g of z(gx)[i], and the element is the move g under which the input activates
    it most. Both are maxima over the positions of an input.

    Args:
        sae: A trained SAE, or the result of `fit`.
        store: The activations that it was trained on, or others of this layer; read in batches.
        atom: The atom of an orbit SAE, or the latent of another SAE.
        n: Inputs to return, default 10; fewer if the feature fires on fewer.
        samples: Inputs to look at, as indices, shape [n], or a boolean mask; None (the default) for
            all.

    Returns:
        One record for each input. `pandas.DataFrame` makes a table of them.

    Raises:
        OrbitLensError: If the SAE is of another width or another group than the store, or there is
            no such atom or sample.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=200, seed=0)
        >>> names = [f"{i:03}.png" for i in range(200)]
        >>> store = ol.store_from_array(toy.orbits, group=toy.group, files=names)
        >>> result = ol.fit(ol.sae.topk_sae(d_in=16, d_sae=8, k=2), store, epochs=3)
        >>> best, *others = top_images(result, store, 0, n=3)
        >>> best.file == f"{best.index:03}.png", best.strength >= others[0].strength
        (True, True)
    """
    sae = check_sae(sae, store)
    atom = as_count("atom", atom, least=0, most=_features_of(sae) - 1)
    n = as_count("n", n)
    chosen = np.arange(store.n) if samples is None else as_samples(samples, store.n)
    with evaluating(sae):
        found = [part[..., atom].flatten(1) for part in _strengths(sae, store, chosen)]
    if not found:
        return []
    strengths = torch.cat(found)
    best, places = strengths.max(1).values, strengths.argmax(1)
    order = best.sort(descending=True, stable=True).indices[:n].tolist()
    images = []
    for row in order:
        position, element = divmod(int(places[row]), store.group.order)
        if not best[row] > 0:
            break
        index = int(chosen[row])
        images.append(
            TopImage(
                index=index,
                file=store.files[index] if store.files else "",
                element=element,
                element_name=store.group.element_names[element],
                strength=_plain(best[row]),
                position=position,
            )
        )
    return images


def active_features(
    sae: SAE | FitResult, store: ActivationStore, i: int | str
) -> list[ActiveFeature]:
    """Return the features that an input activates, strongest first.

    There is one record for each atom of an orbit SAE in each orientation that the input shows, and
    one for each latent of another SAE under each element that moves the input; element 0 is the
    input as it is. Strengths are maxima over the positions of the input.

    Args:
        sae: A trained SAE, or the result of `fit`.
        store: The activations that it was trained on, or others of this layer.
        i: The number of the input, or its file as in `store.files`.

    Returns:
        One record for each pair of a feature and an element with a code above 0.

    Raises:
        OrbitLensError: If the SAE is of another width or another group than the store, or there is
            no such input, or several with this name.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=200, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> rho = ol.fit_transport(store, "exact")
        >>> sae = ol.OrbitSAE(d_in=16, n_atoms=8, k=3, transport=rho)
        >>> len(active_features(ol.fit(sae, store, epochs=3), store, 17))
        3
    """
    sae = check_sae(sae, store)
    chosen = np.array([_number(store, i)])
    with evaluating(sae):
        (strengths,) = _strengths(sae, store, chosen)
    best, positions = strengths[0].max(0)
    features = [
        ActiveFeature(
            feature=feature,
            element=element,
            element_name=store.group.element_names[element],
            strength=_plain(best[element, feature]),
            position=int(positions[element, feature]),
        )
        for element, feature in (best > 0).nonzero().tolist()
    ]
    return sorted(features, key=lambda each: -each.strength)


def check_sae(sae: SAE | FitResult, store: ActivationStore) -> SAE:
    """Return the SAE, or that of a training; refuse one that does not fit the store."""
    sae = sae.sae if isinstance(sae, FitResult) else sae
    if not isinstance(sae, SAE):
        raise OrbitLensError(
            "`sae`",
            expected="a trained SAE, or the result of `fit`",
            received=type(sae).__name__,
            remedy="train one with `fit`, or read one with `load`; the store comes after it",
        )
    if check_store(store).dim != sae.d_in:
        raise OrbitLensError(
            "`sae`",
            expected=f"one for activations of width {store.dim}, as in {store}",
            received=f"d_in = {sae.d_in}",
            remedy="give the SAE and the store of one layer",
        )
    if sae.dictionary.group is not None:
        store.require(group=sae.dictionary.group)
    check_layer_of(sae, store, "`sae`")
    return sae


def _features_of(sae: SAE) -> int:
    dictionary = sae.dictionary
    return dictionary.n_atoms if isinstance(dictionary, OrbitDictionary) else sae.d_sae


def _strengths(
    sae: SAE, store: ActivationStore, samples: Int[np.ndarray, " n"]
) -> Iterator[Float[torch.Tensor, "few position group features"]]:
    """Yield the strengths of all features on a few samples at a time; none where not finite."""
    first = _first_orientations(sae)
    moved = store.group.order if first is None else 1
    for rows in store.chunks(samples, max(1, _NUMBERS // (moved * sae.d_sae))):
        codes = sae.encode(rows[:, :moved]).cpu()
        strengths = codes if first is None else first * orientation_codes(sae, codes[:, 0])
        few = strengths.nan_to_num(nan=0.0, posinf=0.0)
        yield few.unflatten(0, (-1, store.positions))


def _first_orientations(sae: SAE) -> Bool[torch.Tensor, "group atoms"] | None:
    """Return whether each orientation of an atom is the first of those that are the same.

    None unless it is an orbit SAE.
    """
    dictionary = sae.dictionary
    if not isinstance(dictionary, OrbitDictionary):
        return None
    same = cosets(dictionary.group, dictionary.stabilisers.cpu())
    return same == torch.arange(dictionary.group.order)[:, None]


def _plain(strength: Float[torch.Tensor, ""]) -> float:
    """Return a number without the digits that float32 does not have."""
    return float(str(np.float32(strength.item())))


def _number(store: ActivationStore, i: int | str) -> int:
    """Return the number of an input that is given by its number or its file."""
    if not isinstance(i, str):
        return as_count("i", i, least=0, most=store.n - 1)
    found = [number for number, file in enumerate(store.files) if file == i]
    if len(found) != 1:
        named = f"{len(found)} of them, inputs {', '.join(map(str, found[:5]))}"
        none = f"none among {len(store.files)} files" if store.files else "a store without files"
        raise OrbitLensError(
            f"`i`, the input {i!r}",
            expected="the file of one input",
            received=named if found else none,
            remedy="give its number" + (", or a file as in store.files" if store.files else ""),
        )
    return found[0]
