"""Files of the version before still open, and give the numbers that they gave."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import orbitlens as ol
from orbitlens.activations import ActivationStore, harvest_layers, open_store
from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json
from orbitlens.groups import cyclic
from orbitlens.io import load, save
from orbitlens.sae import SAE, batch_topk_sae, orbit_sae, topk_sae
from orbitlens.training import fit
from orbitlens.transport import Transport
from orbitlens.typing import Tensor

FILES = Path(__file__).parent / "files"
EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text())


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def checksum(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def assert_close(found: Tensor, wanted: list[Any], *, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        found.detach().float(), torch.tensor(wanted), rtol=tolerance, atol=tolerance
    )


def sae_of(folder: Path, transport: Transport | None = None) -> SAE:
    sae = load(folder, transport=transport)
    assert isinstance(sae, SAE)
    return sae


def transport_of(name: str) -> Transport:
    transport = load(FILES / "transports" / name)
    assert isinstance(transport, Transport)
    return transport


def assert_same_tensors(found: Path, wanted: Path) -> None:
    tensors, before = load_file(found), load_file(wanted)
    assert list(before) == [name for name in tensors if name != "irreps"]
    for name, tensor in before.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def opened(name: str) -> SAE:
    """An orbit SAE of that version opens with its transport, which has its irreps."""
    transport = transport_of("exact") if name.startswith("orbit") else None
    return sae_of(FILES / "saes" / name, transport)


@pytest.mark.parametrize("name", EXPECTED["saes"])
def test_an_sae_gives_its_codes_and_reconstructions(name: str) -> None:
    wanted = EXPECTED["saes"][name]
    found = opened(name)(random(3, 8, seed=3))
    assert torch.equal(found.codes > 0, torch.tensor(wanted["codes"]) > 0)
    assert_close(found.codes, wanted["codes"])
    assert_close(found.x_hat, wanted["x_hat"])


@pytest.mark.parametrize("name", EXPECTED["saes"])
def test_an_sae_is_written_as_it_was(name: str, tmp_path: Path) -> None:
    """The files hold the same, beside a seal and the irreps of an orbit SAE."""
    before = FILES / "saes" / name
    again = save(opened(name), tmp_path / "sae", metadata={"layer": "array"})
    assert sorted(path.name for path in again.iterdir()) == sorted(
        path.name for path in before.iterdir()
    )
    assert read_json(again / "cfg.json") == read_json(before / "cfg.json")
    assert_same_tensors(again / "sae_weights.safetensors", before / "sae_weights.safetensors")


@pytest.mark.parametrize("name", [name for name in EXPECTED["saes"] if name.startswith("orbit")])
def test_an_orbit_sae_opens_with_its_transport_alone(name: str, tmp_path: Path) -> None:
    """Its file lacks the irreps, which depended on the machine; the transport has them."""
    folder = tmp_path / "saes" / "orbit" / "sae"
    shutil.copytree(FILES / "saes" / name, folder)
    with pytest.raises(OrbitLensError, match="give that transport: load.path, transport=..."):
        load(folder)
    wanted = sae_of(folder, transport_of("exact"))
    assert wanted.dictionary.source == "array:array"
    shutil.copytree(FILES / "transports" / "exact", tmp_path / "exact")
    beside = sae_of(folder)
    assert torch.equal(beside(random(3, 8, seed=3)).codes, wanted(random(3, 8, seed=3)).codes)


@pytest.mark.parametrize("name", EXPECTED["transports"])
def test_a_transport_has_its_matrices_and_figures(name: str) -> None:
    wanted, found = EXPECTED["transports"][name], transport_of(name)
    assert checksum(found.motion.core) == wanted["core"]
    assert found.matrices.double().norm().item() == pytest.approx(wanted["size"], rel=1e-6)
    assert_close(found.matrices @ random(found.dim, seed=5), wanted["moved"])
    assert (found.r2, found.relation_error) == (wanted["r2"], wanted["relation_error"])
    assert found.source == wanted["source"]
    moves = found.motion.moves
    assert (None if moves is None else moves.tolist()) == wanted["moves"]


@pytest.mark.parametrize("name", EXPECTED["transports"])
def test_a_transport_is_written_as_it_was(name: str, tmp_path: Path) -> None:
    before, again = FILES / "transports" / name, save(transport_of(name), tmp_path / "rho")
    assert read_json(again / "transport.json") == read_json(before / "transport.json")
    assert_same_tensors(again / "transport.safetensors", before / "transport.safetensors")


def assert_holds(store: ActivationStore, wanted: dict[str, Any]) -> None:
    orbits = store.orbits()
    assert list(orbits.shape) == wanted["shape"]
    assert checksum(orbits) == wanted["values"]
    names = {"group": store.group.name, "model": store.model, "layer": store.layer}
    assert names == {name: wanted[name] for name in names}
    assert [part.tolist() for part in store.split()] == wanted["split"]


@pytest.mark.parametrize("name", EXPECTED["stores"])
def test_a_store_holds_its_activations(name: str) -> None:
    assert_holds(open_store(FILES / "stores" / name), EXPECTED["stores"][name])


def test_a_harvest_of_many_layers_that_had_ended_is_found_whole(tmp_path: Path) -> None:
    """Harvesting with `resume` hands out the stores; another harvest is refused."""
    out = tmp_path / "layers"
    shutil.copytree(FILES / "stores" / "layers", out)
    found = harvest_layers(
        ol.models.CNNAutoencoder(size=16, dim=4, seed=0).encoder,
        layers=("0", "4"),
        inputs=torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(6)),
        action=ol.actions.images(cyclic(4)),
        out=out,
        max_positions=4,
        name="small",
        resume=True,
    )
    for layer, store in found.stores.items():
        assert_holds(store, EXPECTED["stores"][f"layers/{layer}.zarr"])


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Its end has the losses and the codes of the training that was not stopped."""
    wanted = EXPECTED["checkpoint"]
    file = tmp_path / "checkpoint.safetensors"
    shutil.copy(FILES / "checkpoint.safetensors", file)
    saes = [
        topk_sae(8, 12, 2, hidden=5, seed=0),
        batch_topk_sae(8, 12, 2, seed=1),
        orbit_sae(8, 3, 2, transport_of("exact"), seed=2),
    ]
    store, epochs = open_store(FILES / "stores" / "float32.zarr"), []
    results = fit(
        saes,
        store,
        checkpoint=file,
        progress=lambda epoch, _, __: epochs.append(epoch),
        **wanted["settings"],
    )
    assert epochs == [2, 3, 4]  # the first was stopped after its last step, before it was counted
    for result, losses, outputs in zip(results, wanted["losses"], wanted["saes"], strict=True):
        assert_close(torch.tensor(result.history.loss), losses)
        found = result.sae(random(3, 8, seed=3))
        assert_close(found.codes, outputs["codes"], tolerance=1e-4)
        assert_close(found.x_hat, outputs["x_hat"], tolerance=1e-4)


def test_a_run_goes_on_to_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line takes the store, the transport and the SAEs as they are and draws."""
    out = tmp_path / "run"
    shutil.copytree(FILES / "run", out)
    kept = {path: path.read_bytes() for path in sorted(out.rglob("*.safetensors"))}
    monkeypatch.syspath_prepend(FILES)
    with pytest.raises(SystemExit) as ended:
        main([*EXPECTED["run"]["command"], "--out", str(out), "--resume", "--json"])
    assert ended.value.code == 0, capsys.readouterr().err
    assert (out / "report" / "index.html").is_file()
    assert {path: path.read_bytes() for path in sorted(out.rglob("*.safetensors"))} == kept
    found = json.loads(capsys.readouterr().out)["saes"]
    for name, figures in EXPECTED["run"]["metrics"].items():
        for key in ("normalised_mse", "l0", "dead_latents", "transport", "probe"):
            assert found[name][key] == figures[key], (name, key)


@pytest.mark.parametrize("name", EXPECTED["run"]["metrics"])
def test_an_sae_of_a_run_scores_as_it_did(name: str) -> None:
    store = open_store(FILES / "run" / "acts.zarr")
    sae = sae_of(FILES / "run" / "saes" / name / "sae")
    x = store.orbits(store.split()[1]).flatten(0, 1)
    found = ol.metrics.normalised_mse(x, sae(x).x_hat).item()
    assert found == pytest.approx(EXPECTED["run"]["metrics"][name]["normalised_mse"], rel=1e-4)
