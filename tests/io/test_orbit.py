"""Orbit SAEs as files: unexpanded, exact, and tied to their transport."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import orbitlens as ol
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json, write_json
from orbitlens.groups import Group, cyclic, dihedral
from orbitlens.io import load, save
from orbitlens.reps import Representation, irreps, regular
from orbitlens.sae import (
    SAE,
    Encoder,
    Sparsity,
    dense,
    orbit_dictionary,
    orbit_sae,
    topk_sae,
)
from orbitlens.transport import Transport, fit_transport
from orbitlens.typing import Tensor

SKEWED = torch.tensor([[1.0, 0.3], [0.0, 0.8]])


def store(group: Group, layer: str = "array") -> ActivationStore:
    """Orbits of a representation that is not orthogonal, two copies of the regular one."""
    matrices = regular(group).matrices.float()
    x = torch.randn(200, 2, group.order, generator=torch.Generator().manual_seed(0))
    orbits = torch.einsum("gij,ncj->ngci", matrices, x)
    orbits = torch.einsum("dc,ngci->ngdi", SKEWED, orbits).flatten(2)
    return store_from_array(orbits, group=group, layer=layer)


def rho(group: Group, method: str = "exact", layer: str = "array") -> Transport:
    return fit_transport(store(group, layer), method)


def trained(sae: SAE) -> SAE:
    """Move every weight, and let the sparsity rule learn what it learns."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    sae.dictionary.project_()
    sae.dictionary.settle_()
    x = torch.randn(50, sae.d_in, generator=generator)
    sae.sparsity.calibrate_([sae.train()(x).pre], len(x))
    return sae.eval()


def inputs(sae: SAE) -> Tensor:
    return torch.randn(40, sae.d_in, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("one_pose", [False, True])
@pytest.mark.parametrize("sparsity", ["topk", "batchtopk"])
@pytest.mark.parametrize("hidden", [None, 5])
@pytest.mark.parametrize("group", [cyclic(4), dihedral(4)], ids=lambda group: group.name)
def test_round_trip_is_exact(
    tmp_path: Path, group: Group, hidden: int | None, sparsity: str, one_pose: bool
) -> None:
    sae = trained(
        orbit_sae(
            2 * group.order,
            6,
            3,
            rho(group),
            hidden=hidden,
            sparsity=sparsity,
            one_pose=one_pose,
            tolerance=0.01,
        )
    )
    loaded = load(save(sae, tmp_path / "sae"))
    assert isinstance(loaded, SAE)
    found, wanted = loaded(inputs(sae)), sae(inputs(sae))
    assert torch.equal(found.codes, wanted.codes)
    assert torch.equal(found.x_hat, wanted.x_hat)
    assert (found.codes > 0).any()
    before, after = sae.dictionary, loaded.dictionary
    for name in ("n_atoms", "group", "tolerance", "source"):
        assert getattr(after, name) == getattr(before, name)
    types: list[type[Encoder | Sparsity]] = [type(sae.encoder), type(sae.sparsity)]
    assert [type(loaded.encoder), type(loaded.sparsity)] == types


def test_an_atom_with_a_stabiliser_fires_once_after_loading(tmp_path: Path) -> None:
    """Which orientations are one and the same is not in the file, but follows from the atoms."""
    sae = orbit_sae(8, 3, 2, rho(cyclic(4)))
    with torch.no_grad():
        sae.dictionary.atoms[0] = torch.eye(8)[0]  # the trivial irrep comes first
        sae.encoder.W_enc[0] = 5 * torch.eye(8)[0]
    sae.dictionary.settle_()
    x = sae.decode(torch.eye(12)[:1] * 3)
    loaded = load(save(sae.eval(), tmp_path / "sae"))
    assert isinstance(loaded, SAE)
    for each in (sae, loaded):
        assert (each.dictionary.by_element(each.encode(x))[0, :, 0] > 0).sum() == 1
    assert torch.equal(loaded.encode(x), sae.encode(x))


def test_what_is_stored_does_not_grow_with_the_group(tmp_path: Path) -> None:
    folder = save(orbit_sae(16, 6, 3, rho(dihedral(4))), tmp_path / "sae")
    shapes = {
        name: tuple(t.shape) for name, t in load_file(folder / "sae_weights.safetensors").items()
    }
    assert shapes == {
        "W_enc": (6, 16),
        "b_enc": (6,),
        "atoms": (6, 16),
        "bias": (2,),
        "T": (16, 16),
        "T_inverse": (16, 16),
        "irreps": (8, 2),  # 4 + 4 entries of the irreps, 2 generators
    }
    config = read_json(folder / "cfg.json")
    assert (config["dictionary"], config["architecture"]) == ("orbit", "topk")
    assert (config["d_in"], config["d_sae"], config["n_atoms"], config["k"]) == (16, 48, 6, 3)
    assert config["group"]["name"] == "D4"
    assert config["source"] == "array:array"
    assert "one_pose" not in config


def test_a_file_whose_multiplicities_do_not_fit_is_refused(tmp_path: Path) -> None:
    folder = save(orbit_sae(8, 6, 3, rho(cyclic(4))), tmp_path / "sae")
    config = read_json(folder / "cfg.json")
    for wrong, message in (([2, 2], "every field"), ([2, 2, 3], "settings that it was written")):
        write_json({**config, "multiplicities": wrong}, folder / "cfg.json")
        with pytest.raises(OrbitLensError, match=message):
            load(folder)


def test_an_ordinary_encoder_before_an_orbit_dictionary_is_not_saved(tmp_path: Path) -> None:
    sae = orbit_sae(8, 6, 3, rho(cyclic(4)))
    mixed = SAE(topk_sae(8, 24, 3).encoder, sae.sparsity, sae.dictionary)
    with pytest.raises(
        OrbitLensError, match="among OrbitLinearEncoder, OrbitMLPEncoder, received L"
    ):
        save(mixed, tmp_path / "sae")
    assert not list(tmp_path.iterdir())


def test_loading_with_its_transport(tmp_path: Path) -> None:
    transport = rho(dihedral(4))
    whole = save(orbit_sae(16, 6, 3, transport), tmp_path / "whole")
    part = save(orbit_sae(16, 6, 3, transport, group=cyclic(4)), tmp_path / "part")
    again = load(save(transport, tmp_path / "rho"))
    assert isinstance(again, Transport)
    for folder in (whole, part):
        assert isinstance(load(folder, transport=again), SAE)


def test_loading_with_another_transport_is_refused(tmp_path: Path) -> None:
    folder = save(orbit_sae(8, 6, 3, rho(cyclic(4))), tmp_path / "sae")
    for transport, message in (
        (rho(cyclic(4), layer="deeper"), "a transport of another layer"),
        (rho(cyclic(8)), "width 8, received one of array:array, width 16"),
        (rho(cyclic(4), "identity"), "fitted by identity, which differ by"),
    ):
        with pytest.raises(OrbitLensError, match=message):
            load(folder, transport=transport)


def test_loading_with_a_transport_of_another_group_is_refused(tmp_path: Path) -> None:
    folder = save(orbit_sae(8, 6, 3, rho(cyclic(4))), tmp_path / "sae")
    orbits = torch.randn(60, 2, 8)
    other = fit_transport(store_from_array(orbits, group=cyclic(2)), "exact")
    with pytest.raises(OrbitLensError, match="C2 or a subgroup"):
        load(folder, transport=other)


def test_a_transport_goes_with_an_orbit_sae_alone(tmp_path: Path) -> None:
    folder = save(topk_sae(8, 12, 2), tmp_path / "sae")
    with pytest.raises(OrbitLensError, match="expected an orbit SAE"):
        load(folder, transport=rho(cyclic(4)))


@pytest.mark.parametrize("sparsity", ["topk", "batchtopk"])
@pytest.mark.parametrize("hidden", [None, 5])
@pytest.mark.parametrize("group", [cyclic(4), dihedral(4)], ids=lambda group: group.name)
def test_written_out_it_is_the_same_sae(
    tmp_path: Path, group: Group, hidden: int | None, sparsity: str
) -> None:
    sae = trained(orbit_sae(2 * group.order, 6, 3, rho(group), hidden=hidden, sparsity=sparsity))
    loaded = load(save(dense(sae), tmp_path / "sae"))
    assert isinstance(loaded, SAE)
    found, wanted = loaded(inputs(sae)), sae(inputs(sae))
    assert torch.allclose(found.codes, wanted.codes, atol=1e-5)
    assert torch.allclose(found.x_hat, wanted.x_hat, atol=1e-5)
    assert torch.allclose(loaded.W_dec, sae.W_dec)
    assert "dictionary" not in read_json(tmp_path / "sae" / "cfg.json")


def test_what_cannot_be_written_out_is_said() -> None:
    still = orbit_sae(8, 3, 2, rho(cyclic(4)))
    with torch.no_grad():
        still.dictionary.atoms[0] = torch.eye(8)[0]
    posed = orbit_sae(8, 3, 2, rho(cyclic(4)), one_pose=True)
    for sae, message in (
        (still, "1 of 3 atoms that some element leaves alone"),
        (posed, "received OnePose"),
        (topk_sae(8, 12, 2), "expected an orbit SAE, received one with a FreeDictionary"),
    ):
        with pytest.raises(OrbitLensError, match=message):
            ol.sae.dense(sae)


@pytest.mark.parametrize("hidden", [None, 6])
@pytest.mark.parametrize("group", [cyclic(4), dihedral(4)], ids=["C4", "D4"])
def test_the_irreps_of_another_machine_are_kept(
    group: Group, hidden: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SAE in any bases of the irreps opens where the irreps have others."""
    own = irreps(group)
    generator = torch.Generator().manual_seed(3)
    bases = [
        torch.linalg.qr(torch.randn(r.dim, r.dim, generator=generator, dtype=torch.float64)).Q
        for r in own
    ]
    others = tuple(
        Representation(group, basis.T @ irrep.matrices @ basis, irrep.name)
        for irrep, basis in zip(own, bases, strict=True)
    )
    transport = rho(group)
    with monkeypatch.context() as elsewhere:
        for room in ("orbitlens.reps.isotypic", "orbitlens.sae.tied"):
            elsewhere.setattr(import_module(room), "irreps", lambda _: others)
        sae = trained(orbit_sae(transport.dim, 3, 2, transport, hidden=hidden, seed=0))
        wanted = sae(inputs(sae))
        save(sae, tmp_path / "sae")
    assert not torch.allclose(sae.dictionary.tied.generators, here(group, transport), atol=1e-3)
    again = load(tmp_path / "sae", transport=transport)
    assert isinstance(again, SAE)
    found = again(inputs(sae))
    assert torch.equal(found.codes > 0, wanted.codes > 0)
    torch.testing.assert_close(found.x_hat, wanted.x_hat, atol=1e-5, rtol=1e-5)


def here(group: Group, transport: Transport) -> Tensor:
    return orbit_dictionary(orbit_sae(transport.dim, 3, 2, transport)).tied.generators
