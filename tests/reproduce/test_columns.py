"""The columns of the paper's tables."""

import pytest
import torch

import orbitlens as ol
from orbitlens import objectives
from orbitlens.errors import OrbitLensError
from orbitlens.reproduce import COLUMNS, build_column, column_objective
from orbitlens.sae import (
    ArchetypalDictionary,
    CrosscoderDictionary,
    FreeDictionary,
    MLPEncoder,
    OrbitDictionary,
    OrbitLinearEncoder,
    TopK,
)
from orbitlens.transport import Transport

KINDS = {
    "free": FreeDictionary,
    "archetypal": ArchetypalDictionary,
    "crosscoder": CrosscoderDictionary,
}


NAMES = [name for name in COLUMNS if name != "orbit"]


@pytest.fixture(scope="module")
def transport() -> Transport:
    toy = ol.data.toy(n_features=6, orbit_size=4, dim=6, n_samples=200, seed=0)
    return ol.fit_transport(ol.store_from_array(toy.orbits, group=toy.group), "exact")


@pytest.mark.parametrize("name", NAMES)
def test_every_column_has_its_dictionary_and_width(name: str) -> None:
    column = COLUMNS[name]
    sae = build_column(
        column, 6, 8, 3, hidden=5, group_order=4, candidates=torch.randn(9, 6), seed=0
    )
    assert isinstance(sae.dictionary, KINDS[column.dictionary])
    assert isinstance(sae.encoder, MLPEncoder)
    assert isinstance(sae.sparsity, TopK)
    assert (sae.d_in, sae.d_sae, sae.encoder.hidden, sae.sparsity.k) == (
        6, 32 if name.endswith("_wide") else 8, 5, 3,
    )  # fmt: skip
    if isinstance(sae.dictionary, CrosscoderDictionary):
        assert sae.dictionary.group_order == 4


def test_the_orbit_column_has_an_atom_for_each_latent_and_a_linear_encoder(
    transport: Transport,
) -> None:
    sae = build_column(
        COLUMNS["orbit"], 6, 8, 3, hidden=5, group_order=4, transport=transport, seed=0
    )
    assert isinstance(sae.dictionary, OrbitDictionary)
    assert isinstance(sae.encoder, OrbitLinearEncoder)
    assert (sae.dictionary.n_atoms, sae.d_sae, sae.sparsity.k) == (8, 32, 3)


def test_an_orbit_column_without_a_transport_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`transport`.*orbit is built"):
        build_column(COLUMNS["orbit"], 6, 8, 3, hidden=5, group_order=4)


@pytest.mark.parametrize(
    ("name", "weight", "expected"),
    [
        ("orbit", 0.0, objectives.reconstruction),
        ("vanilla", 3.0, objectives.reconstruction),
        ("equivariant_canonical", 3.0, objectives.canonical),
    ],
)
def test_a_weight_is_that_of_the_orbit_column_alone(name: str, weight: float, expected) -> None:
    assert column_objective(COLUMNS[name], weight) is expected


def test_the_weight_of_an_orbit_column_is_bound_to_its_objective() -> None:
    found = column_objective(COLUMNS["orbit"], 3.0)
    assert (found.func, found.keywords) == (objectives.orbit_invariance, {"weight": 3.0})


def test_a_transport_follows_the_equivariant_columns_alone() -> None:
    assert all(
        column.transported == name.startswith("equivariant") for name, column in COLUMNS.items()
    )
    assert {column.objective for column in COLUMNS.values() if column.transported} == {
        objectives.canonical, objectives.latent_invariance, objectives.output_invariance,
    }  # fmt: skip


def test_an_archetypal_column_without_candidates_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`candidates`.*archetypal_wide is built"):
        build_column(COLUMNS["archetypal_wide"], 6, 8, 3, hidden=5, group_order=4)
