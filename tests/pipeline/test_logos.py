"""Letters around the places where features of DNA fire."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import orbitlens as ol
from orbitlens.activations import ActivationStore
from orbitlens.models import evaluating
from orbitlens.pipeline._cards import cards_of_sae
from orbitlens.pipeline._drawings import MovedImages
from orbitlens.pipeline._logos import windows, with_logos
from orbitlens.report import FeatureCard
from orbitlens.sae import topk_sae

STRANDS = ol.actions.reverse_complement()
MOTIF, LENGTH = "GATTACA", 25


class Strands(nn.Module):
    """Kernels of both strands: exactly equivariant at every step that fits the length."""

    def __init__(self, step: int = 1, padding: int = 2) -> None:
        super().__init__()
        kernels = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
        self.kernels, self.settings = torch.cat([kernels, kernels.flip(1, 2)]), (step, padding)

    def forward(self, x: Tensor) -> Tensor:
        step, padding = self.settings
        return nn.functional.conv1d(x, self.kernels, None, step, padding).relu()


def one_hot(texts: Sequence[str]) -> Tensor:
    return torch.stack([torch.eye(4)[["ACGT".index(x) for x in text]].T for text in texts])


def planted(n: int) -> tuple[Tensor, list[int]]:
    """Return random sequences that hold the motif, and the place of its middle in each."""
    random = np.random.default_rng(0)
    texts, middles = [], []
    for start in random.integers(0, LENGTH - len(MOTIF), n).tolist():
        text = "".join(random.choice(list("ACGT"), LENGTH))
        texts.append(text[:start] + MOTIF + text[start + len(MOTIF) :])
        middles.append(start + len(MOTIF) // 2)
    return one_hot(texts), middles


def harvested(inputs: Tensor, network: nn.Module | None = None) -> ActivationStore:
    model = nn.Sequential(network or Strands())
    return ol.harvest(model, layer="0", inputs=inputs, action=STRANDS, positions="all")


@pytest.mark.parametrize(
    ("length", "places", "first", "last", "width"),
    [
        (40, 40, -7, 32, 15),  # padded: place p is letter p
        (40, 34, -4, 29, 15),  # a kernel of 7 without padding: place p is letter p + 3
        (40, 20, -6, 32, 14),  # pairs: place p is between letters 2p and 2p + 1
        (41, 21, -7, 33, 15),  # every other letter from the first
        (60, 20, -6, 51, 15),  # place p is letter 3p + 1
        (40, 4, -2, 28, 14),
        (5, 5, -2, 2, 5),
        (6, 6, -2, 3, 5),
        (9, 1, 0, 0, 9),
    ],
)
def test_windows_have_their_place_in_the_middle(
    length: int, places: int, first: int, last: int, width: int
) -> None:
    starts, found = windows(length, places)
    assert (int(starts[0]), int(starts[-1]), found) == (first, last, width)
    assert len(starts) == places
    assert torch.equal(length - starts.flip(0) - width, starts)


def test_rows_count_the_letters_around_the_strongest_place_of_each_input() -> None:
    inputs, middles = planted(60)
    store = harvested(inputs)
    codes = torch.zeros(60, LENGTH, 2, 3)
    for i, middle in enumerate(middles):
        codes[i, middle, :, 0] = 1 + i
        codes[i, (middle + 5) % LENGTH, :, 0] = 0.5
    codes[:4, 0, :, 1] = 1.0
    cards = [
        FeatureCard("vanilla", latent, torch.ones(2), None, torch.ones(2, 1)) for latent in (0, 1)
    ]
    drawn = MovedImages(inputs, np.arange(60), STRANDS)
    first, second = with_logos(cards, codes, topk_sae(6, 3, 1), store, drawn)
    assert first.letters is not None
    assert second.letters is not None
    assert first.letters.shape == (2, 4, 15)
    motif = one_hot([MOTIF])[0]
    torch.testing.assert_close(first.letters[0, :, 4:11], 50 * motif)
    torch.testing.assert_close(first.letters[1, :, 4:11], 50 * motif.flip(0, 1))
    # The window of a motif near an end is cut there.
    begin = sum(middle >= 7 for middle in middles[10:])
    assert first.letters[0, :, 0].sum() == begin
    # On fewer than 5 inputs there is nothing to see.
    assert not second.letters.any()


@pytest.mark.parametrize("network", [Strands(), Strands(padding=0), Strands(step=2)])
def test_the_other_strand_has_the_reverse_complement_of_the_logo(network: nn.Module) -> None:
    inputs, _ = planted(200)
    store = harvested(inputs, network)
    torch.manual_seed(0)
    transport = ol.fit_transport(store, "spatial")
    sae = ol.OrbitSAE(d_in=6, n_atoms=4, k=3, transport=transport)
    sae = ol.fit(sae, store, epochs=2).sae
    _, samples = store.split()
    drawn = MovedImages(inputs, samples, STRANDS)
    with evaluating(sae):
        cards = cards_of_sae(
            sae, store, samples, drawn, name="orbit", n_features=4, exact=None, words=()
        )
    letters = [card.letters for card in cards if card.letters is not None and card.letters.any()]
    assert len(letters) > 1
    for each in letters:
        assert len(each) == 2
        assert torch.equal(each[1], each[0].flip(0, 1))


def test_there_are_no_logos_without_places() -> None:
    inputs, _ = planted(60)
    pooled = ol.harvest(
        nn.Sequential(Strands()), layer="0", inputs=inputs, action=STRANDS, positions="mean"
    )
    curves = MovedImages(inputs, np.arange(60), ol.actions.cyclic_shift("C2"))
    drawn = MovedImages(inputs, np.arange(60), STRANDS)
    card = FeatureCard("vanilla", 0, torch.ones(2), None, torch.ones(2, 1))
    for store, images_of in ((pooled, drawn), (harvested(inputs), curves), (pooled, None)):
        codes = torch.ones(60, store.positions, 2, 3)
        (found,) = with_logos([card], codes, topk_sae(6, 3, 1), store, images_of)
        assert found.letters is None
