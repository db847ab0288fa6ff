"""The transport of an orbit SAE: one choice for Python and for the command line."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.groups import cyclic
from orbitlens.reps import regular
from orbitlens.transport import METHODS, fit_exact, serves_orbit_saes

TURNS = np.array([[0, 1, 2, 3, 4], [0, 2, 4, 1, 3], [0, 4, 3, 2, 1], [0, 3, 1, 4, 2]])


def turning(n: int = 60, copies: int = 2) -> ActivationStore:
    """Orbits that C4 turns exactly."""
    matrices = regular(cyclic(4)).matrices.float()
    x = torch.randn(n, copies, 4, generator=torch.Generator().manual_seed(0))
    return store_from_array(torch.einsum("gij,ncj->ngci", matrices, x).flatten(2), group=cyclic(4))


def grid(*, class_token: bool) -> ActivationStore:
    """Four places that C4 turns, with or without a token before them."""
    rows = torch.randn(30, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    if class_token:
        return replace(store_from_array(rows, group=cyclic(4)), moves=TURNS)
    places = store_from_array(rows[:, :, 1:], group=cyclic(4))
    return replace(places, moves=TURNS[:, 1:] - 1)


@pytest.mark.parametrize(
    ("store", "method"),
    [
        (turning(), "exact"),
        (turning(10, copies=16), "low_rank"),
        (grid(class_token=True), "exact"),
        (grid(class_token=False), "spatial"),
    ],
    ids=["vectors", "wider than its samples", "class token and places", "places"],
)
def test_which_exact_transport_is_fitted_follows_from_the_layer(
    store: ActivationStore, method: str
) -> None:
    rho = fit_exact(store)
    assert rho.method == method
    assert serves_orbit_saes(rho)
    assert ol.OrbitSAE(d_in=store.dim, n_atoms=2, k=1, transport=rho).d_in == store.dim


def test_the_kind_follows_from_the_samples_that_it_is_fitted_on() -> None:
    store = turning(60, copies=2)
    # Three orbits of four elements determine six directions of eight, four orbits all of them.
    for n, method in ((3, "low_rank"), (4, "exact")):
        assert fit_exact(store, split=(np.arange(n), np.arange(n, 60))).method == method


def planes(n: int = 40) -> ActivationStore:
    """Orbits that C8 turns by 45 degrees in two planes."""
    angles = 2 * torch.pi * torch.arange(8) / 8
    turns = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1)
    x = torch.randn(n, 2, 2, generator=torch.Generator().manual_seed(0))
    rows = torch.einsum("gij,ncj->ngci", turns.unflatten(1, (2, 2)), x)
    return store_from_array(rows.flatten(2), group=cyclic(8))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "spatial"])
def test_only_representations_serve(method: str) -> None:
    settings = {"low_rank": {"rank": 2}, "gradient": {"epochs": 1}}.get(method, {})
    rho = ol.fit_transport(planes(), method, **settings)
    assert serves_orbit_saes(rho) == (method in ("exact", "low_rank", "lie"))


def test_one_motion_of_class_token_and_places_does_not_serve() -> None:
    assert not serves_orbit_saes(ol.fit_transport(grid(class_token=True), "spatial"))
    assert serves_orbit_saes(ol.fit_transport(grid(class_token=False), "spatial"))
