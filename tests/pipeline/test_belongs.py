"""What a run has written belongs to it: parts of another run or another stage are refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json, write_json
from orbitlens.pipeline._loading import (
    check_settings_of,
    load_fit,
    load_sae,
    load_transport,
    read_of_sae,
    training_notes,
    transport_notes,
    write_of_sae,
)
from orbitlens.pipeline.config import RunConfig
from orbitlens.pipeline.stages import learn_exact, learn_transport, train_sae

CONFIG = RunConfig(d_sae=6, k=2, hidden=0, epochs=2, batch_size=16)


def store(out: Path, shift: float = 0.0) -> ActivationStore:
    values = np.random.default_rng(0).normal(size=(40, 4, 4)) + shift
    return store_from_array(values, group="C4", out=out, digest="0" * 16)


def train(path: Path, acts: ActivationStore, name: str = "vanilla", **settings: Any) -> None:
    train_sae(replace(CONFIG, **settings), name, acts, path)


def test_an_sae_is_loaded_as_it_was_trained(tmp_path: Path) -> None:
    acts = store(tmp_path / "acts")
    first = train_sae(CONFIG, "vanilla", acts, tmp_path / "sae")
    again = train_sae(CONFIG, "vanilla", acts, tmp_path / "sae")
    assert again.history == first.history
    assert torch.equal(again.sae.W_dec, first.sae.W_dec)
    metadata = read_json(tmp_path / "sae" / "sae" / "cfg.json")["metadata"]
    assert (metadata["objective"], metadata["training"]["seed"]) == ("vanilla", 0)
    assert metadata["activations"] == acts.fingerprint


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("equivariant_canonical", {}, "objective 'equivariant_canonical'.*received objective"),
        ("vanilla", {"seed": 1}, "seed 1, .*received seed 0"),
        ("vanilla", {"epochs": 3}, "epochs 3, .*received epochs 2"),
    ],
)
def test_an_sae_of_another_training_is_refused(
    tmp_path: Path, name: str, settings: dict[str, Any], message: str
) -> None:
    acts = store(tmp_path / "acts")
    train(tmp_path / "sae", acts)
    with pytest.raises(OrbitLensError, match=message):
        train(tmp_path / "sae", acts, name, **settings)


def test_an_sae_of_other_activations_is_refused(tmp_path: Path) -> None:
    """Of the same model, layer and images; the network had other weights."""
    train(tmp_path / "sae", store(tmp_path / "acts"))
    other = store(tmp_path / "other", shift=1)
    with pytest.raises(OrbitLensError, match="activations .*received activations"):
        train(tmp_path / "sae", other)
    assert load_sae(tmp_path / "sae" / "sae", other).d_sae == 6  # where a user asks for it


@pytest.mark.parametrize("part", ["history.json", "sae"])
def test_parts_of_two_saes_that_were_exchanged_are_noticed(tmp_path: Path, part: str) -> None:
    acts = store(tmp_path / "acts")
    for name in ("vanilla", "equivariant_canonical"):
        train(tmp_path / name, acts, name)
    kept, other = tmp_path / "vanilla" / part, tmp_path / "equivariant_canonical" / part
    kept.rename(tmp_path / "kept")
    shutil.move(other, kept)
    with pytest.raises(OrbitLensError, match="figures of the SAE beside it, received those"):
        load_fit(tmp_path / "vanilla", acts, training_notes(CONFIG, "vanilla", acts))


def test_figures_are_those_of_the_sae_beside_them(tmp_path: Path) -> None:
    acts = store(tmp_path / "acts")
    for name in ("vanilla", "equivariant_canonical"):
        train(tmp_path / name, acts, name)
        write_of_sae({"mse": 0.5}, tmp_path / name / "metrics.json")
    file = tmp_path / "vanilla" / "metrics.json"
    assert read_of_sae(file) == {"mse": 0.5}
    shutil.copy(tmp_path / "equivariant_canonical" / "metrics.json", file)
    with pytest.raises(OrbitLensError, match="figures of the SAE beside it"):
        read_of_sae(file)
    write_json({"saes": {}}, file)  # whole, but of something else
    with pytest.raises(OrbitLensError, match="figures of the SAE beside it"):
        read_of_sae(file)


def test_an_sae_that_diverged_is_kept_and_not_used(tmp_path: Path) -> None:
    acts = store(tmp_path / "acts")
    result = train_sae(replace(CONFIG, lr=1e30), "vanilla", acts, tmp_path / "sae")
    assert result.status == "diverged"
    again = load_fit(
        tmp_path / "sae", acts, training_notes(replace(CONFIG, lr=1e30), "vanilla", acts)
    )
    assert again.status == "diverged"
    if not all(bool(each.isfinite().all()) for each in result.sae.parameters()):
        with pytest.raises(OrbitLensError, match="NaN or infinite values"):
            load_sae(tmp_path / "sae" / "sae", acts)


def test_a_transport_of_other_activations_or_another_role_is_refused(tmp_path: Path) -> None:
    acts, other = store(tmp_path / "acts"), store(tmp_path / "other", shift=1)
    rho = learn_transport(CONFIG, acts, tmp_path / "rho")
    learn_exact(acts, tmp_path / "exact")
    assert torch.equal(learn_transport(CONFIG, acts, tmp_path / "rho").matrices, rho.matrices)
    with pytest.raises(OrbitLensError, match="activations .*received activations"):
        learn_transport(CONFIG, other, tmp_path / "rho")
    with pytest.raises(OrbitLensError, match="role 'orbit', .*received role 'least_squares'"):
        load_transport(tmp_path / "rho", acts, transport_notes("orbit", 0, acts))
    assert load_transport(tmp_path / "rho", other).method == "least_squares"


def test_metrics_are_those_of_the_settings(tmp_path: Path) -> None:
    config = CONFIG.to_dict()
    file = tmp_path / "metrics.json"
    check_settings_of({"config": config, "saes": {}}, file, config)
    check_settings_of({"config": {}, "saes": {}}, file, config)
    with pytest.raises(OrbitLensError, match="those of one with seed 5"):
        check_settings_of({"config": {**config, "seed": 5}, "saes": {}}, file, config)
    with pytest.raises(OrbitLensError, match="no `saes`"):
        check_settings_of({"config": config}, file, config)
