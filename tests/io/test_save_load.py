"""Saving and loading."""

import json
import math
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.files import new_folder, read_json, write_json
from orbitlens.io import load, save
from orbitlens.sae import SAE, archetypal_sae, batch_topk_sae, crosscoder_sae, topk_sae
from orbitlens.transport import Transport, fit_transport


def transport() -> Transport:
    data = toy(n_features=4, orbit_size=3, dim=6, n_samples=50, seed=0)
    return fit_transport(store_from_array(data.orbits, group=data.group))


@pytest.mark.parametrize("build", [topk_sae, batch_topk_sae])
@pytest.mark.parametrize("hidden", [None, 7])
def test_sae_round_trip_is_exact(tmp_path: Path, build, hidden: int | None) -> None:
    sae, x = build(5, 8, 2, hidden=hidden, seed=3), torch.randn(6, 5)
    sae.sparsity.calibrate_([sae(x).pre], len(x))
    sae.eval()
    loaded = load(save(sae, tmp_path / "sae"))
    assert isinstance(loaded, SAE)
    assert not loaded.training
    assert torch.equal(loaded(x).x_hat, sae(x).x_hat)
    assert loaded.sparsity.k == 2


@pytest.mark.parametrize("hidden", [None, 7])
@pytest.mark.parametrize("name", ["archetypal", "crosscoder"])
def test_round_trip_of_a_baseline_is_exact(tmp_path: Path, name: str, hidden: int | None) -> None:
    if name == "archetypal":
        sae = archetypal_sae(torch.randn(20, 5), 8, 2, hidden=hidden, delta=0.3, seed=3)
    else:
        sae = crosscoder_sae(5, 8, 2, 3, hidden=hidden, seed=3)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    sae.dictionary.project_()
    loaded = load(save(sae.eval(), tmp_path / "sae"))
    assert isinstance(loaded, SAE)
    assert read_json(tmp_path / "sae" / "cfg.json")["dictionary"] == name
    assert type(loaded.dictionary) is type(sae.dictionary)
    found, wanted = loaded.state_dict(), sae.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    setting = "delta" if name == "archetypal" else "group_order"
    assert getattr(loaded.dictionary, setting) == getattr(sae.dictionary, setting)


def test_transport_round_trip_is_exact(tmp_path: Path) -> None:
    rho = transport()
    loaded = load(save(rho, tmp_path / "rho"))
    assert isinstance(loaded, Transport)
    assert torch.equal(loaded.matrices, rho.matrices)
    assert (loaded.group, loaded.r2, loaded.order_errors) == (rho.group, rho.r2, rho.order_errors)


def test_a_linear_topk_sae_has_the_fields_and_tensors_of_saelens(tmp_path: Path) -> None:
    folder = save(topk_sae(5, 8, 2), tmp_path / "sae")
    config = json.loads((folder / "cfg.json").read_text())
    assert (config["architecture"], config["d_in"], config["d_sae"], config["k"]) == (
        "topk",
        5,
        8,
        2,
    )
    assert "dictionary" not in config
    shapes = {
        name: tuple(t.shape) for name, t in load_file(folder / "sae_weights.safetensors").items()
    }
    assert shapes == {"W_enc": (5, 8), "b_enc": (8,), "W_dec": (8, 5), "b_dec": (5,)}


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    save(topk_sae(5, 8, 2), tmp_path / "sae")
    with pytest.raises(OrbitLensError, match="a new folder, received one that exists"):
        save(topk_sae(5, 8, 2), tmp_path / "sae")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "new") as folder:
            (folder / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sae_weights.safetensors", "cfg.json"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    folder = save(topk_sae(5, 8, 2), tmp_path / "sae")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OrbitLensError, match=name):
        load(folder)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    folder = save(transport(), tmp_path / "rho")
    (folder / "transport.safetensors").unlink()
    with pytest.raises(OrbitLensError, match="no such file"):
        load(folder)


def test_weights_of_another_sae_are_rejected(tmp_path: Path) -> None:
    small, large = save(topk_sae(5, 8, 2), tmp_path / "a"), save(topk_sae(5, 9, 2), tmp_path / "b")
    (small / "sae_weights.safetensors").write_bytes(
        (large / "sae_weights.safetensors").read_bytes()
    )
    with pytest.raises(OrbitLensError, match="settings that it was written with, received others"):
        load(small)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architecture", "gated", "batchtopk, bias-adaptation, jumprelu, standard, topk"),
        ("dictionary", "gated", "archetypal, crosscoder, free, orbit"),
        ("dictionary", "orbit", "group"),
        ("dictionary", "crosscoder", "group_order"),
        ("schema", 99, "upgrade"),
    ],
)
def test_what_this_version_cannot_read_is_said(
    tmp_path: Path, field: str, value: object, message: str
) -> None:
    folder = save(topk_sae(5, 8, 2), tmp_path / "sae")
    write_json({**read_json(folder / "cfg.json"), field: value}, folder / "cfg.json")
    with pytest.raises(OrbitLensError, match=message):
        load(folder)


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_of_neither_is_rejected(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "empty").mkdir()
    with pytest.raises(OrbitLensError, match="none of them" if make else "no such folder"):
        load(tmp_path / "empty")


def test_what_is_no_sae_transport_or_network_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    store = store_from_array(torch.randn(5, 2, 3), group="C2")
    for thing, kind in ((store, "ActivationStore"), ("sae", "str"), (topk_sae, "function")):
        with pytest.raises(OrbitLensError, match=f"a transport or a network, received {kind}"):
            save(thing, tmp_path / "thing")  # type: ignore[arg-type]
    # Another network is kept as torch keeps it; the line that says so works.
    network, other = nn.Bilinear(2, 2, 3), nn.Bilinear(2, 2, 3)
    remedy = r"received Bilinear; .* torch\.save\(network\.state_dict\(\), path\), .* torch\.load"
    with pytest.raises(OrbitLensError, match=remedy):
        save(network, tmp_path / "thing")
    assert list(tmp_path.iterdir()) == []
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other.weight, network.weight)


@pytest.mark.parametrize("metadata", [{"x": torch.ones(2)}, {"a": [math.nan]}, [1], "text"])
def test_metadata_that_json_cannot_hold_are_refused(
    tmp_path: Path, metadata: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`metadata`: expected a dict") as error:
        save(topk_sae(4, 8, 2), tmp_path / "sae", metadata=metadata)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def as_users_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of shapes and types that the tests switch on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("path", [None, 5, b"sae", "a\0b", "a" * 300])
def test_what_is_no_path_is_one_line(path: Any) -> None:
    with pytest.raises(OrbitLensError, match="`path`: expected the path|File name too long"):
        save(topk_sae(4, 8, 2), path)
    with pytest.raises(OrbitLensError, match="`path`: expected the path|File name too long"):
        load(path)


def test_the_folder_is_named_from_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae = topk_sae(4, 8, 2)
    monkeypatch.chdir(tmp_path)
    place = save(sae, "sae")
    monkeypatch.chdir("/")
    loaded = load(place)
    assert isinstance(loaded, SAE)
    assert torch.equal(loaded.W_dec, sae.W_dec)
