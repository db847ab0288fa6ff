"""Training of orbit SAEs: what is refused at the door, and what counts as dead."""

from dataclasses import replace

import pytest
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import SAE, OrbitDictionary, TopK, compose, orbit_sae, topk_sae
from orbitlens.training import fit
from orbitlens.transport import fit_transport


def store(layer: str = "array") -> ActivationStore:
    data = toy(n_features=4, orbit_size=4, dim=8, n_samples=80, seed=0)
    return store_from_array(data.orbits, group=data.group, layer=layer)


def orbit(n_atoms: int = 6) -> SAE:
    return orbit_sae(8, n_atoms, 2, fit_transport(store(), "exact"))


def test_a_store_of_another_layer_is_refused() -> None:
    message = "the transport of array:deeper, as the store, received one .* another layer, array:a"
    with pytest.raises(OrbitLensError, match=message):
        fit(orbit(), store("deeper"), epochs=1)


def test_a_transport_whose_layer_was_not_noted_is_taken() -> None:
    dictionary = OrbitDictionary(3, isotypic_basis(regular(cyclic(4))))
    sae = compose(TopK(2), dictionary)
    rows = store_from_array(torch.randn(20, 4, 4), group=cyclic(4))
    assert fit(sae, rows, epochs=1).status == "completed"


def test_pooled_codes_are_those_of_an_orbit_sae() -> None:
    for mine in (
        objectives.orbit_invariance,
        lambda x, x_hat, pooled: (x - x_hat).square().sum(-1) + pooled.sum(-1),
    ):
        with pytest.raises(OrbitLensError, match="expected an orbit SAE, whose codes are over"):
            fit(topk_sae(8, 12, 2), store(), objective=mine, epochs=1)


def test_orbits_of_a_larger_group_train_an_sae_of_a_smaller_one() -> None:
    matrices = regular(dihedral(4)).matrices.float()
    orbits = torch.einsum("gij,nj->ngi", matrices, torch.randn(60, 8))
    whole = store_from_array(orbits, group=dihedral(4))
    sae = orbit_sae(8, 6, 2, fit_transport(whole, "exact"), group=cyclic(4))
    assert fit(sae, whole, epochs=1).status == "completed"


def test_latents_are_dead_when_their_atom_fires_in_no_orientation() -> None:
    sae = orbit()
    with torch.no_grad():
        sae.encoder.b_enc[:2] = -100.0
    history = fit(sae, store(), epochs=2, lr=1e-9, revival_weight=0.0).history
    assert history.dead_latents == [2 * 4, 2 * 4]


def test_without_weight_the_invariance_term_changes_nothing() -> None:
    first, second = orbit(), orbit()
    plain = fit(first, store(), epochs=3).history.loss
    weighted = fit(
        second,
        store(),
        objective=lambda x_moved, x_hat_moved, pooled, pooled_moved: objectives.orbit_invariance(
            x_moved, x_hat_moved, pooled, pooled_moved, weight=0.0
        ),
        epochs=3,
    ).history.loss
    assert weighted == pytest.approx(plain, rel=1e-5)


def test_the_store_may_have_been_renamed_with_its_transport() -> None:
    rho = replace(fit_transport(store(), "exact"), source="array:deeper")
    sae = orbit_sae(8, 6, 2, rho)
    assert fit(sae, store("deeper"), epochs=1).status == "completed"
