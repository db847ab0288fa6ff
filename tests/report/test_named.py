"""Cards whose samples have names, with pictures or without."""

import re
from pathlib import Path

import torch

from orbitlens.groups import cyclic
from orbitlens.report import feature_cards, orbit_feature_cards, write_page
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import OrbitDictionary, TopK, compose

NAMES = [f"<b>{i}</b>.png" for i in range(6)]
CODES = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0))


def pictures(samples: torch.Tensor, element: int) -> torch.Tensor:
    return torch.zeros(len(samples), 1, 2, 2)


def test_each_image_has_the_name_of_its_sample() -> None:
    cards = feature_cards(CODES, pictures, sae="vanilla", n_features=3, n_images=4, names=NAMES)
    for card in cards:
        ranked = CODES[:, :, card.latent].sort(dim=0, descending=True).indices[:4]
        assert card.names == tuple(tuple(NAMES[i] for i in row) for row in ranked.T.tolist())


def test_a_page_shows_names_where_there_are_no_images(tmp_path: Path) -> None:
    metrics = {"group": {"name": "C4", "elements": ["e", "r", "r^2", "r^3"]}}
    for images_of in (None, pictures):
        cards = feature_cards(CODES, images_of, sae="vanilla", n_features=1, names=NAMES)
        text = write_page(tmp_path / "page.html", metrics, {}, cards).read_text()
        shown = re.findall(r'<span class="name">([^<]*)</span>', text)
        titles = re.findall(r'title="([^"]*)"', text)
        wanted = [
            name.replace("<", "&lt;").replace(">", "&gt;") for name in sum(cards[0].names, ())
        ]
        assert shown == ([] if images_of else wanted)
        assert titles == (wanted if images_of else [])
        assert (cards[0].images is None) == (images_of is None)


def test_names_in_an_orientation_say_what_moved_the_sample() -> None:
    sae = compose(TopK(1), OrbitDictionary(1, isotypic_basis(regular(cyclic(4)))))
    codes = torch.zeros(6, 4, 4)
    codes[:, 2, 1] = torch.arange(6.0, 0, -1)  # fires in orientation r, once moved by r^2
    (card,) = orbit_feature_cards(
        codes, None, sae, sae="orbit", n_features=1, n_images=2, names=NAMES
    )
    assert card.images is None
    assert card.names[1] == (f"{NAMES[0]} under r²", f"{NAMES[1]} under r²")
    assert card.names[0] == (NAMES[0], NAMES[1])
