"""The latents and images that a page shows are the ones planted."""

import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.report import feature_cards
from orbitlens.typing import Float, Int, Tensor


def labelled(samples: Int[Tensor, " k"], element: int) -> Float[Tensor, "k 1 2 2"]:
    """An image whose pixels say which sample and which element it shows."""
    values = samples.float() / 100 + element / 1000
    return values[:, None, None, None].expand(-1, 1, 2, 2)


def planted() -> Float[Tensor, "n group latents"]:
    codes = torch.zeros(10, 2, 5)
    codes[:4, 0, 3] = torch.tensor(
        [1.0, 4.0, 2.0, 3.0]
    )  # fires on four samples, in one orientation
    codes[4:, 1, 1] = torch.tensor([1.0, 9.0, 1.0, 1.0, 8.0, 1.0])  # the largest energy
    codes[:3, :, 2] = 100.0  # strongest of all, on too few samples
    codes[:, :, 4] = 50.0
    codes[9, 1, 4] = float("nan")
    return codes


def test_the_planted_latents_are_shown_by_energy() -> None:
    cards = feature_cards(planted(), labelled, sae="vanilla", n_features=6)
    assert [(card.sae, card.latent) for card in cards] == [("vanilla", 1), ("vanilla", 3)]
    assert cards[1].firing_rates.tolist() == pytest.approx([0.4, 0.0])


def test_each_row_shows_its_own_samples_strongest_first_moved_by_its_own_element() -> None:
    strong, _ = feature_cards(planted(), labelled, sae="vanilla", n_features=6, n_images=3)
    assert strong.activations.tolist() == [[0, 0, 0], [9, 8, 1]]
    shown = strong.images[:, :, 0, 0, 0]
    assert shown[1].tolist() == pytest.approx([0.051, 0.081, 0.041])
    assert shown[0].tolist() == pytest.approx([0.0, 0.01, 0.02])


def test_samples_of_a_row_are_distinct() -> None:
    codes = torch.ones(8, 3, 1)
    (card,) = feature_cards(codes, labelled, sae="vanilla", n_features=1, n_images=8)
    for row in card.images[:, :, 0, 0, 0]:
        assert len(set(row.tolist())) == 8


def test_equal_latents_come_by_their_index_and_no_more_than_asked_for() -> None:
    cards = feature_cards(torch.ones(5, 2, 7), labelled, sae="vanilla", n_features=3)
    assert [card.latent for card in cards] == [0, 1, 2]


def test_fewer_samples_than_images_give_fewer_images() -> None:
    (card,) = feature_cards(torch.ones(4, 2, 1), labelled, sae="vanilla", n_features=1, n_images=6)
    assert card.images.shape == (2, 4, 1, 2, 2)


def test_a_dead_or_unwanted_sae_has_no_cards() -> None:
    assert feature_cards(torch.zeros(9, 2, 3), labelled, sae="vanilla", n_features=3) == []
    assert feature_cards(torch.ones(9, 2, 3), labelled, sae="vanilla", n_features=0) == []


def test_images_are_asked_for_once_per_element() -> None:
    asked = []

    def images_of(samples: Int[Tensor, " k"], element: int) -> Float[Tensor, "k 1 2 2"]:
        asked.append((element, len(samples)))
        return labelled(samples, element)

    feature_cards(torch.ones(9, 4, 8), images_of, sae="vanilla", n_features=5, n_images=6)
    assert asked == [(element, 30) for element in range(4)]


def test_each_latent_keeps_its_label() -> None:
    labels = [f"label {i}" for i in range(5)]
    cards = feature_cards(planted(), labelled, sae="vanilla", n_features=6, labels=labels)
    assert [card.label for card in cards] == ["label 1", "label 3"]
    with pytest.raises(OrbitLensError, match="`labels`: expected one for each of the 5 latents, r"):
        feature_cards(planted(), labelled, sae="vanilla", n_features=6, labels=labels[:4])


@pytest.mark.parametrize(("n_features", "n_images"), [(-1, 6), (3, 0)])
def test_numbers_out_of_range_are_rejected(n_features: int, n_images: int) -> None:
    codes = torch.ones(5, 2, 3)
    with pytest.raises(OrbitLensError, match=r"expected at least \d, received -?\d"):
        feature_cards(codes, labelled, sae="a", n_features=n_features, n_images=n_images)


def test_images_of_the_wrong_shape_are_rejected() -> None:
    def flat(samples: Int[Tensor, " k"], _: int) -> Float[Tensor, "k 4"]:
        return torch.zeros(len(samples), 4)

    with pytest.raises(OrbitLensError, match=r"`images_of`: expected .* received shape \[5, 4\]"):
        feature_cards(torch.ones(5, 1, 1), flat, sae="a", n_features=1)


def test_rows_and_activations_of_a_latent_by_hand() -> None:
    codes = torch.zeros(5, 2, 3)
    codes[:, 0, 1] = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0])
    (card,) = feature_cards(codes, labelled, sae="vanilla", n_features=4, n_images=2)
    assert (card.latent, card.firing_rates.tolist()) == (1, [1.0, 0.0])
    assert card.activations.tolist() == [[5.0, 4.0], [0.0, 0.0]]
