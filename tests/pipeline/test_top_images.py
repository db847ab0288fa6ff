"""From a feature to its inputs and back, on codes that are known by hand."""

from typing import Any

import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.pipeline import TopImage, active_features, top_images
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import SAE, OrbitDictionary, TopK, compose, topk_sae

C4 = ol.groups.cyclic(4)
RHO = regular(C4).matrices.float()
NAMES = ("zero.png", "one.png", "two.png", "three.png")


def oriented(atom: torch.Tensor | None = None) -> SAE:
    """One atom, by default the first unit vector, which the group moves to every other."""
    sae = compose(TopK(1), OrbitDictionary(1, isotypic_basis(regular(C4))))
    dictionary = sae.dictionary
    assert isinstance(dictionary, OrbitDictionary)
    with torch.no_grad():
        atom = torch.eye(4)[:1] if atom is None else atom[None]
        dictionary.atoms.copy_(dictionary.coordinates(atom))
        dictionary.settle_()
        sae.encoder.W_enc.copy_(dictionary.atoms)
    return sae.eval()


def free() -> SAE:
    """Four latents, the coordinates of an activation."""
    sae = topk_sae(4, 4, 1)
    with torch.no_grad():
        sae.encoder.W_enc.copy_(torch.eye(4))
        sae.W_dec.copy_(torch.eye(4))
    return sae.eval()


def store_of(x: torch.Tensor, **given: Any) -> ActivationStore:
    """Orbits of activations [n, (positions,) 4] under the regular representation."""
    orbits = torch.einsum("gij,n...j->ng...i", RHO, x)
    return ol.store_from_array(orbits, group=C4, **given)


ROWS = torch.tensor([[2.0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])


def test_an_atom_is_found_in_the_orientation_of_each_input() -> None:
    found = top_images(oriented(), store_of(ROWS, files=NAMES), 0)
    seen = [(each.index, each.file, each.element, each.element_name) for each in found]
    assert seen == [(1, "one.png", 1, "r"), (0, "zero.png", 0, "e"), (2, "two.png", 3, "r^3")]
    assert [each.strength for each in found] == pytest.approx([3.0, 2.0, 1.0], rel=1e-5)


def test_a_latent_is_found_under_the_move_that_activates_it() -> None:
    found = top_images(free(), store_of(ROWS), 0)
    assert found == [
        TopImage(1, "", 3, "r^3", 3.0, 0),
        TopImage(0, "", 0, "e", 2.0, 0),
        TopImage(2, "", 1, "r", 1.0, 0),
    ]


def test_the_strongest_position_counts() -> None:
    x = torch.stack([ROWS, 2 * ROWS.roll(1, 0), torch.zeros(4, 4)], dim=1)
    best, *_ = top_images(free(), store_of(x), 1)
    assert (best.index, best.position, best.strength) == (2, 1, 6.0)


def test_batches_and_samples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    store = store_of(x)
    whole = top_images(free(), store, 2, n=50)
    monkeypatch.setattr("orbitlens.pipeline._top_images._NUMBERS", 7)
    assert top_images(free(), store, 2, n=50) == whole
    chosen = np.array([40, 3, 17])
    some = [each for each in whole if each.index in chosen]
    assert top_images(free(), store, 2, samples=chosen) == some
    assert top_images(free(), store, 2, samples=np.isin(np.arange(50), chosen)) == some
    assert top_images(free(), store, 2, samples=[]) == []


def test_features_of_an_input_are_those_whose_inputs_it_is() -> None:
    store = store_of(ROWS, files=NAMES)
    (atom,) = active_features(oriented(), store, "two.png")
    assert (atom.feature, atom.element, atom.element_name) == (0, 3, "r^3")
    latents = active_features(free(), store, 1)
    assert {(each.feature, each.element) for each in latents} == {(1, 0), (2, 1), (3, 2), (0, 3)}
    assert active_features(free(), store, 3) == []


def test_orientations_that_are_the_same_are_one() -> None:
    still = oriented(torch.tensor([1.0, 0, 1.0, 0]))  # a half turn leaves it unchanged
    store = store_of(torch.tensor([[1.0, 0, 1.0, 0], [0, 1.0, 0, 1.0]]))
    assert [each.element for each in active_features(still, store, 0)] == [0]
    assert [each.element for each in active_features(still, store, 1)] == [1]
    assert [each.element for each in top_images(still, store, 0)] == [0, 1]


def test_modes_and_results_of_fit() -> None:
    store = store_of(torch.rand(30, 4, generator=torch.Generator().manual_seed(0)))
    result = ol.fit(topk_sae(4, 8, 2), store, epochs=1)
    sae = result.sae.train()
    assert top_images(result, store, 0) == top_images(sae, store, 0)
    assert sae.training


def test_a_diverged_sae_activates_nothing() -> None:
    sae = free()
    with torch.no_grad():
        sae.encoder.W_enc.fill_(torch.nan)
    assert top_images(sae, store_of(ROWS), 0) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: top_images(free(), s, 4), "`atom`: expected from 0 to 3, received 4"),
        (lambda s: top_images(oriented(), s, 1), "`atom`: expected from 0 to 0, received 1"),
        (lambda s: top_images(free(), s, -1), "`atom`"),
        (lambda s: top_images(free(), s, 0, n=0), "`n`"),
        (lambda s: top_images(free(), s, 0, samples=[7]), "`samples`"),
        (lambda s: top_images(topk_sae(5, 4, 1), s, 0), "one for activations of width 4"),
        (lambda s: top_images(s, free(), 0), "`sae`: expected a trained SAE"),
        (lambda s: top_images(free(), ROWS, 0), "an activation store"),
        (lambda s: active_features(free(), s, 9), "`i`"),
        (lambda s: active_features(free(), s, "four.png"), "none among 4 files"),
        (lambda s: active_features(free(), store_of(ROWS), "one.png"), "a store without files"),
        (
            lambda s: active_features(free(), store_of(ROWS, files=["a"] * 4), "a"),
            "4 of them, inputs 0, 1, 2, 3",
        ),
        (
            lambda s: top_images(
                oriented(), ol.store_from_array(torch.ones(3, 2, 4), group="C2"), 0
            ),
            "group",
        ),
    ],
)
def test_wrong_input_is_one_line(call: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(OrbitLensError) as caught:
        call(store_of(ROWS, files=NAMES))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_orbit_sae_of_another_layer_is_refused() -> None:
    toy = ol.data.toy(n_features=4, orbit_size=4, n_samples=60, seed=0)
    own, other = (
        ol.store_from_array(toy.orbits, group=toy.group, layer=layer) for layer in ("a", "b")
    )
    rho = ol.fit_transport(own, "exact")
    sae = ol.OrbitSAE(d_in=own.dim, n_atoms=3, k=2, transport=rho)
    assert ol.top_images(sae, own, 0) is not None
    for ask in (ol.top_images, ol.active_features):
        with pytest.raises(OrbitLensError, match="`sae`: expected an SAE of array:b, as the store"):
            ask(sae, other, 0)
