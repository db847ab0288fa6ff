"""The table of features is written with an SAE, read for its page, and refused if it is another."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import orbitlens as ol
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import DamageError, OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.pipeline._features import read_features, with_turning, write_features
from orbitlens.report import FeatureCard
from orbitlens.reps import regular
from orbitlens.training import FitResult, fit
from orbitlens.transport import Transport
from orbitlens.typing import Tensor

Trained = tuple[FitResult, ActivationStore, Tensor, Transport]


@pytest.fixture(scope="module")
def trained() -> Trained:
    """An orbit SAE of orbits that C4 turns exactly."""
    matrices = regular(cyclic(4)).matrices.float()
    x = torch.randn(60, 2, 4, generator=torch.Generator().manual_seed(0))
    array = torch.einsum("gij,ncj->ngci", matrices, x).flatten(2)
    store = store_from_array(array, group="C4", action="images")
    rho = ol.fit_transport(store, "exact")
    return fit(ol.OrbitSAE(8, 5, 3, rho), store, epochs=3), store, store.orbits(), rho


def test_what_is_written_is_read(tmp_path: Path, trained: Trained) -> None:
    figures = write_features(*trained, tmp_path)
    counts = [figures[f"{name}_features"] for name in ("turning", "invariant", "other", "rare")]
    assert sum(counts) == 5
    rows = read_features(tmp_path, figures)
    assert [row["feature"] for row in rows] == list(range(5))
    assert sum(row["word"] == "turns with the image" for row in rows) == counts[0] > 0
    turning = [row for row in rows if row["word"] == "turns with the image"]
    assert all(row["share"] > 0.99 and row["low"] <= row["high"] for row in turning)
    assert {type(row["inputs"]) for row in rows} == {int}
    names = (tmp_path / "features.csv").read_text().splitlines()[0].split(",")
    assert names[:5] == ["feature", "word", "share", "low", "high"]
    assert set(names) == set(rows[0])


def test_inputs_that_are_no_images_move(tmp_path: Path, trained: Trained) -> None:
    result, store, *rest = trained
    other = replace(store, action="reverse_complement")
    figures = write_features(result, other, *rest, tmp_path)
    words = [row["word"] for row in read_features(tmp_path, figures)]
    assert words.count("moves with the input") == figures["turning_features"] > 0
    assert "turns with the image" not in words


def test_another_table_is_refused(tmp_path: Path, trained: Trained) -> None:
    figures, path = write_features(*trained, tmp_path), tmp_path / "features.csv"
    path.write_text(path.read_text().replace("turns with the image", "invariant", 1))
    with pytest.raises(DamageError, match=r"features.csv: expected .* received another table"):
        read_features(tmp_path, figures)
    path.unlink()
    with pytest.raises(OrbitLensError, match=r"features.csv: expected a place that can be read"):
        read_features(tmp_path, figures)


def test_a_run_of_an_earlier_version_has_no_table(tmp_path: Path) -> None:
    assert read_features(tmp_path, {"l0": 3.0}) == []


def test_an_sae_that_diverged_has_no_features(tmp_path: Path, trained: Trained) -> None:
    result, *rest = trained
    diverged = FitResult(result.sae, result.history, "diverged", result.scale)
    figures = write_features(diverged, *rest, tmp_path)
    assert set(figures.values()) == {None}
    assert not list(tmp_path.iterdir())
    assert read_features(tmp_path, figures) == []


def test_cards_get_the_row_of_their_feature() -> None:
    card = FeatureCard("orbit", 1, torch.ones(1), torch.zeros(1, 1, 1, 2, 2), torch.ones(1, 1))
    rows = [{"feature": 0}, {"feature": 1}]
    assert [each.turning for each in with_turning([card], rows)] == [{"feature": 1}]
    assert with_turning([card], []) == [card]
