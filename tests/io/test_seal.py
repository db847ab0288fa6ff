"""What was written is read back as it was, or refused in a line."""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json, write_json
from orbitlens.groups import Group
from orbitlens.io import load, save
from orbitlens.io._sealed import digest_of_tensors, read_tensors, seal_of, write_tensors
from orbitlens.sae import SAE, batch_topk_sae, topk_sae
from orbitlens.transport import Transport, fit_transport

WEIGHTS, RHO = "sae_weights.safetensors", "transport.safetensors"


def transport(seed: int = 0) -> Transport:
    data = toy(n_features=4, orbit_size=3, dim=6, n_samples=50, seed=seed)
    return fit_transport(store_from_array(data.orbits, group=data.group))


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(bytes(content))


def body(path: Path) -> range:
    """The places of the numbers in a safetensors file."""
    content = path.read_bytes()
    return range(8 + struct.unpack("<Q", content[:8])[0], len(content))


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_the_numbers_counts(tmp_path: Path, bit: int) -> None:
    for thing, name in ((topk_sae(5, 8, 2), WEIGHTS), (transport(), RHO)):
        folder = save(thing, tmp_path / name)
        places = body(folder / name)
        for place in places[bit :: max(1, len(places) // 20)]:
            flip(folder / name, place, bit)
            with pytest.raises(OrbitLensError, match=r"safetensors: expected (the|finite) numbers"):
                load(folder)
            flip(folder / name, place, bit)
        load(folder)


def test_every_number_of_the_record_counts(tmp_path: Path) -> None:
    """A record that was changed and given a fitting checksum does not fit the weights."""
    folder = save(topk_sae(5, 8, 3), tmp_path / "sae", metadata={"objective": "vanilla"})
    config = read_json(folder / "cfg.json")
    for changed in ({"k": 2}, {"metadata": {"library": "orbitlens", "objective": "canonical"}}):
        write_json({**config, **changed}, folder / "cfg.json")
        with pytest.raises(OrbitLensError, match="the record and the settings"):
            load(folder)
    write_json(config, folder / "cfg.json")
    (folder / "cfg.json").write_text((folder / "cfg.json").read_text().replace('"k": 3', '"k": 2'))
    with pytest.raises(OrbitLensError, match="the file was changed or damaged since"):
        load(folder)


@pytest.mark.parametrize("file", ["transport.json", RHO])
def test_files_of_two_transports_that_were_exchanged_are_noticed(tmp_path: Path, file: str) -> None:
    one, other = save(transport(0), tmp_path / "a"), save(transport(1), tmp_path / "b")
    shutil.copy(other / file, one / file)
    with pytest.raises(OrbitLensError, match="the record and the settings that it was written"):
        load(one)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(
    tmp_path: Path, bad: float
) -> None:
    sae = topk_sae(5, 8, 2)
    with torch.no_grad():
        sae.W_dec[3, 1] = bad
    with pytest.raises(OrbitLensError, match="1 NaN or infinite values in W_dec"):
        save(sae, tmp_path / "sae")
    assert list(tmp_path.iterdir()) == []
    folder = save(topk_sae(5, 8, 2), tmp_path / "sae")
    tensors = load_file(folder / WEIGHTS)
    tensors["b_enc"][0] = bad
    save_file(tensors, folder / WEIGHTS)  # as the version before wrote it, without a seal
    with pytest.raises(OrbitLensError, match="1 NaN or infinite values in b_enc"):
        load(folder)


def test_figures_of_a_transport_may_be_infinite(tmp_path: Path) -> None:
    rho = transport()
    rho.r2_per_element[1] = -torch.inf
    loaded = load(save(rho, tmp_path / "rho"))
    assert isinstance(loaded, Transport)
    assert loaded.r2_per_element[1] == -torch.inf


def test_files_without_a_seal_are_read(tmp_path: Path) -> None:
    """Earlier versions and other programs wrote none."""
    for thing, name in ((batch_topk_sae(5, 8, 2), WEIGHTS), (transport(), RHO)):
        folder = save(thing, tmp_path / name)
        before = load(folder)
        save_file(load_file(folder / name), folder / name)
        assert seal_of(folder / name) == ""
        found = load(folder)
        if isinstance(before, SAE) and isinstance(found, SAE):
            assert torch.equal(found.W_dec, before.W_dec)
        if isinstance(before, Transport) and isinstance(found, Transport):
            assert torch.equal(found.matrices, before.matrices)


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        ([[0, 1, 2], [1, 1, 0]], "not a permutation"),
        ([[0, 1, 2], [1, 2, 7]], "not a permutation"),
        ([[0, 1, 2], [1, 2, 0]], "do not multiply"),
        ([[1, 0, 2], [1, 0, 2]], "do not multiply"),
    ],
)
def test_moves_of_an_older_transport_are_an_action(
    tmp_path: Path, moved: list[list[int]], message: str
) -> None:
    orbits = torch.randn(30, 2, 4)
    group = Group.from_dict(
        {
            "name": "C2",
            "table": [[0, 1], [1, 0]],
            "generators": [1],
            "words": [[], [0]],
            "element_names": ["e", "r"],
        }
    )
    folder = save(fit_transport(store_from_array(orbits, group=group)), tmp_path / "rho")
    save_file({**load_file(folder / RHO), "moves": torch.tensor(moved)}, folder / RHO)
    with pytest.raises(OrbitLensError, match=message):
        load(folder)


def with_header(path: Path, header: bytes) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 5000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"W_dec":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
        b'"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}',
        b'{"W_dec":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,64]}}',
        b'{"W_dec":{"dtype":"F99","shape":[16],"data_offsets":[0,64]}}',
        b'{"__metadata__":{"orbitlens":"[]"},'
        b'"W_dec":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}',
        b"5",
    ],
    ids=["nested", "deep", "overlapping", "huge", "type", "seal", "number"],
)
def test_a_hostile_header_is_one_line(tmp_path: Path, header: bytes) -> None:
    folder = save(topk_sae(5, 8, 2), tmp_path / "sae")
    with_header(folder / WEIGHTS, header)
    with pytest.raises(OrbitLensError, match=WEIGHTS) as raised:
        load(folder)
    assert "\n" not in str(raised.value)


def test_a_header_that_claims_to_be_huge_is_one_line(tmp_path: Path) -> None:
    folder = save(topk_sae(5, 8, 2), tmp_path / "sae")
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(OrbitLensError, match="whole safetensors file"):
        load(folder)


def test_a_digest_is_of_names_types_shapes_and_numbers() -> None:
    tensors = {"a": torch.arange(6.0), "empty": torch.empty(0), "one": torch.tensor(3)}
    same = digest_of_tensors(dict(reversed(tensors.items())))
    assert digest_of_tensors(tensors) == same
    for other in (
        {**tensors, "a": torch.arange(6.0).view(2, 3)},
        {**tensors, "a": torch.arange(6.0).double()},
        {**tensors, "a": torch.tensor([0.0, 1, 2, 3, 4, 6])},
        {"b": tensors["a"], "empty": tensors["empty"], "one": tensors["one"]},
    ):
        assert digest_of_tensors(other) != same


def test_tensors_are_sealed_with_their_record(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors({"w": torch.ones(3)}, path, {"seed": 1})
    assert torch.equal(read_tensors(path, {"seed": 1})["w"], torch.ones(3))
    with pytest.raises(OrbitLensError, match="record and the settings"):
        read_tensors(path, {"seed": 2})
    with safe_open(path, "pt") as file:
        seal = json.loads((file.metadata() or {})["orbitlens"])
    assert seal_of(path) == f"{seal['record']} {seal['tensors']}"
