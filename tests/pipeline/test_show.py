"""The page of an SAE from Python, for given arrays and for harvested stores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import orbitlens as ol
from orbitlens.activations import ActivationStore
from orbitlens.data import Inputs
from orbitlens.errors import OrbitLensError
from orbitlens.pipeline import _show
from orbitlens.sae import topk_sae

C4 = ol.groups.cyclic(4)
TURN = ol.actions.images(C4)
IMAGES = torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(0))
FILES = tuple(f"cells/{i:02}.png" for i in range(60))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8))


def given(**settings: Any) -> ActivationStore:
    with torch.no_grad():
        orbits = torch.stack([network()(TURN(IMAGES, g)) for g in range(4)], dim=1)
    return ol.store_from_array(orbits, group=C4, **settings)


def harvested(inputs: Any = IMAGES, **settings: Any) -> ActivationStore:
    return ol.harvest(network(), layer="1", inputs=inputs, action=TURN, **settings)


@pytest.fixture(scope="module")
def store() -> ActivationStore:
    return given(files=FILES)


@pytest.fixture(scope="module")
def orbit(store: ActivationStore) -> ol.FitResult:
    rho = ol.fit_transport(store, "exact")
    return ol.fit(ol.OrbitSAE(d_in=8, n_atoms=6, k=2, transport=rho), store, epochs=3)


@pytest.fixture(scope="module")
def plain(store: ActivationStore) -> ol.FitResult:
    return ol.fit(topk_sae(8, 12, 2), store, epochs=3)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The record of the last page."""
    kept: dict[str, Any] = {}
    write = _show.write_page

    def noting(path: Path, metrics: Any, histories: Any, cards: Any) -> Path:
        kept.update(metrics, histories=histories, cards=cards)
        json.dumps(metrics)
        return write(path, metrics, histories, cards)

    monkeypatch.setattr(_show, "write_page", noting)
    return kept


def test_names_stand_where_there_are_no_images(
    orbit: ol.FitResult, store: ActivationStore, record: dict[str, Any], tmp_path: Path
) -> None:
    page = ol.show(orbit, store, out=tmp_path / "page.html")
    text = page.read_text()
    assert page == tmp_path / "page.html"
    assert "data:image" not in text.split('id="features"')[1]
    assert record["cards"][0].names[0][0].split(" ")[0] in FILES
    assert f'<span class="name">{record["cards"][0].names[0][0]}' in text
    assert record["saes"]["orbit"]["moved_codes"] is not None
    assert record["transport"]["method"] == "orbit_dictionary"
    assert record["histories"]["orbit"]["loss"] == orbit.history.loss
    assert "Activations under C4" in text


def test_numbers_stand_where_there_are_no_names(
    orbit: ol.FitResult, record: dict[str, Any]
) -> None:
    page = ol.show(orbit.sae, given())
    assert page.name == "index.html"
    assert record["cards"][0].names[0][0].startswith("input ")
    assert record["histories"] == {}


def test_pictures_are_the_inputs_as_the_network_saw_them(
    plain: ol.FitResult, store: ActivationStore, record: dict[str, Any], tmp_path: Path
) -> None:
    ol.show(plain, store, IMAGES, action=TURN, out=tmp_path / "page.html")
    for card in record["cards"]:
        for g in range(4):
            shown = int(card.names[g][0][6:8])
            assert torch.equal(card.images[g][0], TURN(IMAGES[shown : shown + 1], g)[0])
            best = [
                each for each in ol.top_images(plain, store, card.latent, n=60) if each.element == g
            ]
            if best and best[0].index in store.split()[1]:
                assert card.activations[g][0] >= best[0].strength - 1e-6
    assert record["action"] == {"name": "images", **TURN.config}


@pytest.mark.parametrize("kind", ["tensor", "list", "inputs"])
def test_a_harvested_store_knows_action_and_images(
    kind: str, record: dict[str, Any], tmp_path: Path
) -> None:
    inputs: Any = IMAGES if kind == "tensor" else list(IMAGES)
    if kind == "inputs":
        inputs = Inputs("blood", IMAGES, np.arange(60) % 2, ("a", "b"), FILES)
    store = harvested(inputs, out=tmp_path / "acts")
    result = ol.fit(topk_sae(8, 12, 2), store, epochs=2)
    page = ol.show(result, ol.open_store(tmp_path / "acts"), inputs, out=tmp_path / "page.html")
    assert ("blood under C4" in page.read_text()) == (kind == "inputs")
    assert record["cards"][0].images is not None
    assert record["model"]["layer"] == "1"
    with pytest.raises(OrbitLensError, match="those that were harvested, digest"):
        ol.show(result, store, IMAGES.flip(0))


def test_the_objective_names_the_sae_and_its_transport(
    plain: ol.FitResult, store: ActivationStore, record: dict[str, Any]
) -> None:
    ol.show(plain, store, objective="canonical")
    assert record["saes"]["equivariant_canonical"]["transported_mse"] is not None
    ol.show(plain, store)
    assert record["saes"]["vanilla"]["transported_mse"] is None
    assert record["transport"]["method"] == "exact"

    def mine(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        return (x - x_hat).abs().sum(-1)

    ol.show(plain, store, objective=mine)
    assert list(record["saes"]) == ["mine"]


def test_a_given_transport_measures_it(
    orbit: ol.FitResult, store: ActivationStore, record: dict[str, Any]
) -> None:
    rho = ol.fit_transport(store, "exact")
    ol.show(orbit, store, transport=rho)
    assert record["transport"]["r2"] == rho.r2
    with_it = record["saes"]["orbit"]["equivariance_error"]
    ol.show(orbit, store)
    assert record["transport"]["r2"] == pytest.approx(rho.r2, abs=1e-4)
    assert record["saes"]["orbit"]["equivariance_error"] == pytest.approx(with_it, rel=1e-3)
    assert record["transport"]["relation_error"] < 1e-5


def test_the_sae_stays_as_it_was(plain: ol.FitResult, store: ActivationStore) -> None:
    sae = plain.sae.train()
    before = {name: own.clone() for name, own in sae.state_dict().items()}
    ol.show(sae, store)
    assert sae.training
    assert all(torch.equal(own, before[name]) for name, own in sae.state_dict().items())
    sae.eval()


def test_a_diverged_sae_has_a_page_that_says_so(
    store: ActivationStore, record: dict[str, Any]
) -> None:
    sae = topk_sae(8, 12, 2).eval()
    with torch.no_grad():
        sae.encoder.W_enc.fill_(torch.nan)
    text = ol.show(sae, store).read_text()
    assert record["saes"]["vanilla"]["status"] == "diverged"
    assert record["cards"] == []
    assert "training diverged" in text


def test_inputs_without_drawings_are_shown_by_their_names(
    record: dict[str, Any], tmp_path: Path
) -> None:
    cycle = ol.actions.own(C4, lambda x, g: x.roll(2 * g, -1))
    waves = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    store = ol.harvest(nn.Sequential(nn.Linear(8, 6)), layer="0", inputs=waves, action=cycle)
    ol.show(ol.fit(topk_sae(6, 8, 2), store, epochs=2), store, waves, out=tmp_path / "p.html")
    assert record["cards"][0].images is None
    assert any("have no pictures" in note for note in record["notes"])


def test_positions_of_maps_share_a_card(record: dict[str, Any]) -> None:
    torch.manual_seed(0)
    maps = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1))
    settings: dict[str, Any] = {"inputs": IMAGES, "action": TURN, "positions": "all"}
    store = ol.harvest(maps, layer="0", **settings)
    ol.show(ol.fit(topk_sae(4, 6, 2), store, epochs=1), store, IMAGES)
    assert record["transport"]["method"] == "spatial"
    assert record["cards"][0].images.shape[2:] == (1, 6, 6)


@pytest.mark.parametrize(
    ("images", "shown"),
    [
        (torch.tensor([0.0, 0.5, 1.0]), [0.0, 0.5, 1.0]),
        (torch.tensor([-1.0, 0.0, 3.0]), [0.0, 0.25, 1.0]),
        (torch.tensor([0, 51, 255], dtype=torch.uint8), [0.0, 0.2, 1.0]),
        (torch.tensor([7.0, 7.0, 7.0]), [0.0, 0.0, 0.0]),
    ],
)
def test_pictures_have_values_from_0_to_1(images: torch.Tensor, shown: list[float]) -> None:
    pictures = _show.MovedImages(images.view(1, 1, 1, 3), np.arange(1), ol.actions.images("C2"))
    assert pictures(torch.tensor([0]), 0).flatten().tolist() == pytest.approx(shown)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": IMAGES[:7], "action": TURN}, "`images`: expected the 60 inputs"),
        ({"images": IMAGES}, "`action`: expected how C4 moved the images"),
        ({"images": IMAGES, "action": ol.actions.images("C2")}, "`action`"),
        ({"images": IMAGES, "action": "turn"}, "action"),
        ({"images": 7, "action": TURN}, "`inputs`"),
        ({"images": torch.rand(60, 4), "action": TURN}, "images"),
        ({"out": "page.txt"}, "`out`: expected an HTML file to write"),
        ({"out": "."}, "a folder"),
        ({"out": 7}, "`out`"),
        ({"objective": "none"}, "`objective`"),
        ({"features": -1}, "`features`"),
        ({"name": 7}, "`name`"),
        ({"transport": "exact"}, "`transport`"),
        ({"sae": topk_sae(9, 4, 1)}, "one for activations of width 8"),
        ({"sae": "orbit"}, "`sae`"),
    ],
)
def test_wrong_input_is_one_line(
    settings: dict[str, Any],
    message: str,
    plain: ol.FitResult,
    store: ActivationStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(OrbitLensError) as caught:
        ol.show(**{"sae": plain, "store": store, **settings})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_worked_example_ends_in_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: dict[str, Any]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    program = text.split("## Your own arrays, to a page")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(program.replace("epochs=100", "epochs=2"), names)  # noqa: S102  # the program is ours
    assert names["page"] == tmp_path / "digits.html"
    assert "Digits under C4" in names["page"].read_text()
    assert record["transport"]["r2"] > 0.999
