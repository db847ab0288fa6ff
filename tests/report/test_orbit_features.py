"""The atoms that a page shows appear in every orientation, in pictures as the network saw them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orbitlens.actions import describe_elements, images
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral
from orbitlens.report import FeatureCard, orbit_feature_cards, write_page
from orbitlens.reps import Representation, isotypic_basis, regular
from orbitlens.sae import SAE, OrbitDictionary, TopK, compose, topk_sae
from orbitlens.typing import Float, Int, Tensor

C4 = cyclic(4)


def pair_sae(group: Group, *atoms: list[float]) -> SAE:
    """An orbit SAE on the regular representation, with its encoder along the atoms."""
    dictionary = OrbitDictionary(len(atoms), isotypic_basis(regular(group)))
    with torch.no_grad():
        dictionary.atoms.copy_(dictionary.coordinates(torch.tensor(atoms)))
    dictionary.project_()
    dictionary.settle_()
    return compose(TopK(1), dictionary)


def labelled(samples: Int[Tensor, " k"], element: int) -> Float[Tensor, "k 1 2 2"]:
    """An image whose pixels say which sample and which element it shows."""
    values = samples.float() / 100 + element / 1000
    return values[:, None, None, None].expand(-1, 1, 2, 2)


def along_orbits(first: Float[Tensor, "n group atoms"], group: Group) -> Tensor:
    """The codes of an equivariant SAE: z(mx)[mg] = z(x)[g]."""
    relative = torch.from_numpy(group.table[group.inverses])
    return first[:, relative].flatten(2)


def test_each_row_shows_the_samples_moved_to_where_the_atom_has_its_orientation() -> None:
    first = torch.zeros(5, 4, 1)
    first[:, 1, 0] = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0])  # all of them in orientation r
    model = pair_sae(C4, [1.0, 0.0, 0.0, 0.0])
    (card,) = orbit_feature_cards(
        along_orbits(first, C4), labelled, model, sae="orbit", n_features=3, n_images=2
    )
    assert (card.sae, card.latent, card.orientations) == ("orbit", 0, (0, 1, 2, 3))
    assert card.activations.tolist() == [[5.0, 4.0]] * 4
    assert card.firing_rates.tolist() == [0, 1, 0, 0]
    assert card.label == "oriented, four-fold"
    # Row g shows samples 1 and 3 moved by m with m r = g.
    for g, row in enumerate(card.images[:, :, 0, 0, 0].tolist()):
        m = (g - 1) % 4 / 1000
        assert row == pytest.approx([0.01 + m, 0.03 + m])


def test_rows_are_one_picture_moved_by_the_group() -> None:
    group = dihedral(4)
    action = images(group)
    pictures = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    orbits = action.orbit(pictures).flatten(2)
    moves = torch.stack(
        [action.apply(torch.eye(9).view(9, 1, 3, 3), g).flatten(1).T for g in range(8)]
    )
    dictionary = OrbitDictionary(2, isotypic_basis(Representation(group, moves.double(), "pixels")))
    model = compose(TopK(2), dictionary)
    codes = model.encode(orbits.flatten(0, 1)).detach().unflatten(0, (6, 8))
    card, *_ = orbit_feature_cards(
        codes,
        lambda i, g: action.apply(pictures[i], g),
        model,
        sae="orbit",
        n_features=2,
        n_images=3,
    )
    assert len(card.orientations or ()) == 8
    for g in range(8):
        torch.testing.assert_close(card.images[g], action.apply(card.images[0], g))
        torch.testing.assert_close(card.activations[g], card.activations[0])


def test_samples_as_they_are_found_may_be_shown_alone() -> None:
    first = torch.zeros(6, 4, 1)
    first[:4, 1, 0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    first[4:, 2, 0] = 1.0
    model = pair_sae(C4, [1.0, 0.0, 0.0, 0.0])
    (card,) = orbit_feature_cards(
        first.flatten(1)[:, None], labelled, model, sae="orbit", n_features=1, n_images=2
    )
    assert card.activations.tolist() == [[0, 0], [4, 3], [1, 1], [0, 0]]
    assert card.images[1, :, 0, 0, 0].tolist() == pytest.approx([0, 0.01])
    assert card.images[2, :, 0, 0, 0].tolist() == pytest.approx([0.04, 0.05])


def test_orientations_that_are_the_same_share_a_row() -> None:
    model = pair_sae(C4, [1.0, 0.0, 1.0, 0.0], [1.0] * 4)
    first = torch.zeros(8, 4, 2)
    first[:4, 0, 0], first[4:6, 2, 0], first[:5, 3, 1] = 2.0, 3.0, 1.0
    twofold, invariant = orbit_feature_cards(
        along_orbits(first, C4),
        labelled,
        model,
        sae="orbit",
        n_features=2,
        words=describe_elements(C4, "images"),
    )
    assert (twofold.orientations, invariant.orientations) == ((0, 1), (0,))
    assert twofold.firing_rates.tolist() == [0.75, 0]
    assert twofold.activations[:, :2].tolist() == [[3, 3]] * 2
    assert twofold.label == "two-fold: unchanged by r^2 (half turn)"
    assert invariant.firing_rates.tolist() == [0.625]
    assert invariant.images.shape[:2] == (1, 6)


def test_atoms_come_by_energy_and_dead_ones_not_at_all() -> None:
    model = pair_sae(C4, [1.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.5])
    first = torch.zeros(5, 4, 3)
    first[:, 0, 2], first[:, 1, 1], first[:3, 0, 0] = 1.0, 2.0, 9.0
    codes = along_orbits(first, C4)
    make = lambda n: orbit_feature_cards(codes, labelled, model, sae="mine", n_features=n)  # noqa: E731
    assert [card.latent for card in make(5)] == [1, 2]
    assert [card.latent for card in make(1)] == [1]
    assert make(0) == []


def test_bad_input_is_rejected() -> None:
    model = pair_sae(C4, [1.0, 0.0, 0.0, 0.0])
    codes = torch.ones(5, 4, 4)

    def flat(samples: Int[Tensor, " k"], _: int) -> Float[Tensor, "k 4"]:
        return torch.zeros(len(samples), 4)

    with pytest.raises(OrbitLensError, match="`n_images`: expected at least 1, received 0"):
        orbit_feature_cards(codes, labelled, model, sae="o", n_features=1, n_images=0)
    with pytest.raises(OrbitLensError, match=r"`images_of`: .* received shape \[20, 4\]"):
        orbit_feature_cards(codes, flat, model, sae="o", n_features=1)
    with pytest.raises(OrbitLensError, match="expected an orbit SAE"):
        orbit_feature_cards(codes, labelled, topk_sae(4, 4, 1), sae="o", n_features=1)


def test_the_page_shows_atoms_with_their_orientations(
    tmp_path: Path, metrics: dict[str, Any], cards: list[FeatureCard], parse: Callable[[str], Any]
) -> None:
    atom = FeatureCard(
        sae="orbit",
        latent=3,
        firing_rates=torch.tensor([0.4, 0.1]),
        images=cards[0].images[:2],
        activations=cards[0].activations[:2],
        label="two-fold: unchanged by r^2",
        orientations=(0, 3),
        turning={"word": "invariant", "stays": 0.9, "low": 0.8, "high": 0.95, "inputs": 40},
    )
    path = write_page(tmp_path / "page.html", metrics, {}, [*cards, atom])
    page = parse(path.read_text(encoding="utf-8"))
    page.assert_well_formed(list(page.sections))
    assert "Atom 3" in page.text
    assert "fires mostly in orientation e" in page.text
    assert "two-fold: unchanged by r²" in page.text
    assert page.text.count("Invariant: 90.0% of its strength stays when the input moves") == 1
    turned, alt = "r³, quarter turn right, activation", page.attributes("alt")
    assert f"Image 1 for atom 3 in orientation {turned} 3.00" in alt
    assert f"Image 1 for latent 7 under {turned} 2.00" in alt
    assert page.text.count("One row per orientation") == 1
    assert page.text.count("One row per group element") == 2


def test_an_atom_has_a_row_for_each_orientation() -> None:
    model = compose(TopK(1), OrbitDictionary(1, isotypic_basis(regular(C4))))
    codes = torch.eye(4).expand(5, 4, 4)
    (card,) = orbit_feature_cards(codes, labelled, model, sae="orbit", n_features=1)
    assert card.orientations == (0, 1, 2, 3)
    assert card.firing_rates.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert card.images.shape[:2] == (4, 5)
