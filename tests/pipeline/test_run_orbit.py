"""The orbit SAE in the pipeline: beside the others, measured and probed by its own rules."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens import objectives
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.pipeline import RunConfig, measure_sae, run, sae_objective, stages
from orbitlens.reps import regular
from orbitlens.sae import LinearEncoder, OrbitDictionary, OrbitLinearEncoder, orbit_sae

TINY: dict[str, Any] = {
    "n_samples": 40,
    "image_size": 16,
    "model_samples": 64,
    "model_epochs": 2,
    "d_sae": 16,
    "k": 4,
    "hidden": 16,
    "epochs": 3,
    "features": 2,
    "probe_samples": 24,
    "probe_every": 45,
}


def turning(n: int = 60, copies: int = 2) -> ActivationStore:
    """Orbits that C4 turns exactly."""
    matrices = regular(cyclic(4)).matrices.float()
    x = torch.randn(n, copies, 4, generator=torch.Generator().manual_seed(0))
    labels = np.arange(n) % 2
    orbits = torch.einsum("gij,ncj->ngci", matrices, x).flatten(2)
    return store_from_array(orbits, group=cyclic(4), labels=labels)


def test_it_is_trained_measured_and_shown_beside_the_others(tmp_path: Path) -> None:
    metrics = run(RunConfig.for_source("shapes", **TINY), tmp_path / "out")
    tied, vanilla = metrics["saes"]["orbit"], metrics["saes"]["vanilla"]
    assert set(tied) == set(vanilla)
    assert (tied["objective"], tied["d_sae"], tied["atoms"]) == ("orbit", 64, 16)
    assert 0 <= tied["moved_codes"] <= 1
    assert tied["transported_mse"] is None
    assert tied["spliced_mse"] > 0
    assert tied["dead_latents"] % 4 == 0
    assert tied["transport"]["relation_error"] < 1e-6
    assert (vanilla["atoms"], vanilla["moved_codes"], vanilla["transport"]) == (None, None, None)
    counts = ("turning_features", "invariant_features", "other_features", "rare_features")
    assert [sum(sae[name] for name in counts) for sae in (tied, vanilla)] == [16, 16]
    table = (tmp_path / "out" / "saes" / "orbit" / "features.csv").read_text()
    assert len(table.splitlines()) == 1 + 16
    readouts = {(row["readout"], row["orientation"]) for row in tied["probe"]["rows"]}
    assert readouts == {("invariant", "none"), ("oriented", "none")}
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert all(words in page for words in ("Orbit", "16 atoms", "Codes moved", "oriented"))
    sae = ol.load(tmp_path / "out" / "saes" / "orbit" / "sae")
    assert isinstance(sae, ol.SAE)
    assert isinstance(sae.dictionary, OrbitDictionary)
    assert isinstance(sae.encoder, OrbitLinearEncoder)
    rho = ol.load(tmp_path / "out" / "exact")
    assert sae.dictionary.source == rho.source == "shapes-mlp:encoder"


def test_an_exact_transport_of_the_run_serves(tmp_path: Path) -> None:
    settings = TINY | {"n_samples": 150, "image_size": 8, "n_atoms": 3, "transport": "low_rank"}
    metrics = run(RunConfig.for_source("digits", **settings), tmp_path / "out")
    tied = metrics["saes"]["orbit"]
    assert not (tmp_path / "out" / "exact").exists()
    assert tied["transport"] == metrics["transport"]
    assert (tied["d_sae"], tied["atoms"]) == (12, 3)
    # Three pooled codes: a probe sees no more.
    assert [row["latents"] for row in tied["probe"]["rows"]] == [2, 3]


def test_places_of_a_map_share_one_orbit_sae(tmp_path: Path) -> None:
    where = {"model": "cnn", "layer": "encoder.2", "positions": "all"}
    metrics = run(RunConfig.for_source("shapes", **where, **TINY), tmp_path / "out")
    assert metrics["saes"]["orbit"]["transport"]["method"] == "spatial"


def test_a_run_without_an_exact_transport_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(store: ActivationStore) -> None:
        raise OrbitLensError("layer", expected="orbits", received="none", remedy="harvest more")

    config = RunConfig.for_source("shapes", **TINY)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit_exact", impossible)
        metrics = run(config, tmp_path / "out")
    assert "orbit" not in metrics["saes"]
    assert len(metrics["saes"]) == 4
    assert any(note.startswith("There is no orbit SAE. layer: ") for note in metrics["notes"])
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "There is no orbit SAE" in page
    resumed = run(config, tmp_path / "out", resume=True)
    assert resumed["saes"]["orbit"]["status"] == "completed"


def test_the_weight_decides_the_objective() -> None:
    assert sae_objective(RunConfig(orbit_weight=0.0), "orbit") is objectives.reconstruction
    weighted = sae_objective(RunConfig(orbit_weight=0.5), "orbit")
    ones, zeros = torch.ones(1, 3), torch.zeros(1, 3)
    assert weighted(ones, zeros, ones, zeros).tolist() == [4.5]


def test_measured_where_the_transport_is_exact_all_codes_move() -> None:
    store = turning()
    rho = ol.fit_transport(store, "exact")
    sae = orbit_sae(8, 5, 3, rho)
    ol.fit(sae, store, epochs=20, lr=1e-2)
    figures = measure_sae(sae, store.orbits(), rho, transported=False)
    assert figures["moved_codes"] > 0.99
    assert figures["code_invariance_error"] < 1e-6
    assert figures["equivariance_error"] < 1e-6
    assert figures["atoms"] == 5


def test_measured_on_orbits_of_another_group_nothing_is_predicted() -> None:
    store = turning()
    rho = ol.fit_transport(store, "exact")
    sae = orbit_sae(8, 5, 3, rho)
    halves = store_from_array(store.orbits()[:, ::2], group=cyclic(2))
    figures = measure_sae(
        sae, halves.orbits(), ol.fit_transport(halves, "exact"), transported=False
    )
    assert figures["moved_codes"] is None


def test_from_store_to_probe_with_and_without_a_transport(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def call(*line: str) -> dict[str, Any]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*line, "--json"])
        out, err = capfd.readouterr()
        assert ended.value.code == 0, err
        result: dict[str, Any] = json.loads(out)
        return result

    acts = str(tmp_path / "acts")
    orbits = turning()
    store_from_array(orbits.orbits(), group=cyclic(4), labels=orbits.labels, out=Path(acts))
    small = ("--n-atoms", "5", "--k", "3", "--epochs", "2", "--objective", "orbit")
    given, fitted, scores, rho = (f"{tmp_path}/{name}" for name in ("s", "f", "p", "rho"))
    call("transport", acts, "--transport", "exact", "--out", rho)
    with_rho = call("train", acts, *small, "--rho", rho, "--out", given)
    without = call("train", acts, *small, "--out", fitted)
    assert with_rho == without
    assert with_rho["atoms"] == 5
    assert (Path(fitted) / "exact").is_dir()
    assert not (Path(given) / "exact").exists()
    weights = Path("orbit", "sae", "sae_weights.safetensors")
    assert Path(given, weights).read_bytes() == Path(fitted, weights).read_bytes()
    found = call("probe", acts, "--sae", given, "--rho", rho, "--out", scores)
    assert [row["latents"] for row in found["rows"]] == [2, 4, 5]
    with pytest.raises(SystemExit) as ended:
        main(["probe", acts, "--sae", given, "--out", f"{scores}-1", "--probe-samples", "1"])
    assert ended.value.code == 2
    message = capfd.readouterr().err
    assert "one class among the 1 that were drawn; draw more with --probe-samples" in message


def test_an_ordinary_sae_is_still_trained_with_its_own_encoder(tmp_path: Path) -> None:
    config = RunConfig(**{name: TINY[name] for name in ("d_sae", "k", "epochs")}, hidden=0)
    result = stages.train_sae(config, "vanilla", turning(), tmp_path / "vanilla")
    assert isinstance(result.sae.encoder, LinearEncoder)
