"""The choice of a group: candidates ranked on held-out orbits against their controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import zarr

from orbitlens.activations import ActivationStore
from orbitlens.activations.store import check_store
from orbitlens.errors import OrbitLensError
from orbitlens.transport.layer import LayerEquivariance, measure_layer

_EQUAL = 0.02
_COMPARED = 8
"""Inputs whose activations are compared."""
_ROUNDING = 0.02
"""Of activations that were computed in other batches, and kept in half precision."""


@dataclass(frozen=True, repr=False)
class GroupChoice:
    """The ranking of some groups on one layer.

    Args:
        ranking: The figures under each candidate, best first. Groups that act come by falling R^2;
            values within 0.02 of the best count as equal, and then the larger group comes first,
            then the smaller relation error. Groups that do not act come last.
        chosen: The name of the first group, None if no group acts.
        unranked: The figures under the groups with an R^2 below 0, in the order given. They
            explain less than the mean does, so none of them is better than another.
    """

    ranking: tuple[LayerEquivariance, ...]
    chosen: str | None
    unranked: tuple[LayerEquivariance, ...] = ()

    def __repr__(self) -> str:
        shown = [f"{each.group} {each.r2:.4g}" for each in (*self.ranking, *self.unranked)]
        return f"GroupChoice({self.chosen or 'none'} chosen, R^2 {', '.join(shown)})"


def choose_group(stores: Sequence[ActivationStore], *, seed: int = 0) -> GroupChoice:
    """Rank candidate groups on one layer; among equals, prefer the larger group.

    A group acts if its verdict on the layer is not "none", see `LayerEquivariance.verdict`. If a
    group acts, so do its subgroups. A group with an R^2 below 0 has no place in the ranking.
    Measure after a nonlinearity: an invertible linear layer W carries every group rho of its inputs
    to its outputs, as W rho(g) W^-1, so that they name no group.

    Args:
        stores: One store per candidate: the same inputs and layer, harvested under that group.
        seed: Seed of the controls.

    Returns:
        The ranking and the chosen group.

    Raises:
        OrbitLensError: If there is no candidate, if one comes twice, or if the layers, or what is
            known of the weights, differ.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
        >>> half = ol.store_from_array(toy.orbits[:, [0, 2]], group=ol.groups.cyclic(2))
        >>> choose_group([half, ol.store_from_array(toy.orbits, group=toy.group)]).chosen
        'C4'
    """
    _check_candidates(stores)
    return rank_groups([measure_layer(store, seed=seed) for store in stores])


def rank_groups(measured: Sequence[LayerEquivariance]) -> GroupChoice:
    """Rank groups by the figures of one layer under each, as `choose_group` does."""
    acting = [figures for figures in measured if figures.acts]
    ranked: list[LayerEquivariance] = []
    while acting:
        best = max(figures.r2 for figures in acting)
        equals = [figures for figures in acting if figures.r2 >= best - _EQUAL]
        front = min(equals, key=lambda figures: (-figures.order, figures.relation_error))
        ranked.append(front)
        acting.remove(front)
    still = [figures for figures in measured if not figures.acts and figures.r2 >= 0]
    still.sort(key=lambda figures: -figures.r2)
    return GroupChoice(
        ranking=(*ranked, *still),
        chosen=ranked[0].group if ranked else None,
        unranked=tuple(figures for figures in measured if figures.r2 < 0),
    )


def _check_candidates(stores: Sequence[ActivationStore]) -> None:
    if not isinstance(stores, list | tuple):
        raise OrbitLensError(
            "candidate groups",
            expected="a list of stores, one for each group",
            received=type(stores).__name__,
            remedy="give one store for each group, such as C2, C4 and D4",
        )
    names = [check_store(store).group.name for store in stores]
    if not names or len(set(names)) < len(names):
        raise OrbitLensError(
            "candidate groups",
            expected="at least one, each once",
            received=", ".join(names) or "none",
            remedy="give one store for each group, such as C2, C4 and D4",
        )
    sources = {(store.model, store.layer, store.digest) for store in stores}
    # The digest of a store from an array is one of its activations, which differ between groups.
    layers = {source[:2] for source in sources}
    if len(layers) > 1 or (len(sources) > 1 and all(s.action != "given" for s in stores)):
        raise OrbitLensError(
            "stores of the candidate groups",
            expected="the same inputs, model and layer under each group",
            received=", ".join(sorted(f"{model}:{layer}" for model, layer, _ in sources)),
            remedy="harvest them from the same inputs",
        )
    for one, other in pairwise(stores):
        if not _same_weights(one, other):
            raise OrbitLensError(
                "stores of the candidate groups",
                expected=f"one network {one.model!r} under each group",
                received=f"other weights, or other activations of unmoved inputs, under "
                f"{other.group.name} than under {one.group.name}",
                remedy="harvest them with the same network and settings",
            )


def _same_weights(one: ActivationStore, other: ActivationStore) -> bool:
    """Tell whether two stores may be of one network: by their notes, and by unmoved inputs.

    The identity moves nothing, so that activations under it are the same in both. Directions that
    were kept of a layer, and arrays that were given, may be anything.
    """
    notes = {_weights_digest(one), _weights_digest(other)} - {None}
    if len(notes) > 1:
        return False
    shapes = [(each.n, each.positions, each.dim, each.layout) for each in (one, other)]
    if shapes[0] != shapes[1] or one.layout is None or one.layout.get("channels") != one.dim:
        return True
    few = np.arange(min(one.n, _COMPARED))
    first, second = (each.orbits(few)[:, 0].double() for each in (one, other))
    return bool((first - second).norm() <= _ROUNDING * first.norm())


def _weights_digest(store: ActivationStore) -> str | None:
    """Return the digest of the weights that a store on disk notes."""
    settings = zarr.open_group(store.array.store, mode="r").attrs.get("settings")
    return settings.get("weights digest") if isinstance(settings, dict) else None
