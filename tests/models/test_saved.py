"""Networks that are saved and read: the same numbers, and one line for what cannot be read."""

from collections.abc import Callable
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import orbitlens as ol
from orbitlens.actions import images
from orbitlens.data import block_moves
from orbitlens.errors import DamageError, OrbitLensError
from orbitlens.files import read_json, write_json
from orbitlens.groups import PlaneGroup, cyclic, dihedral, from_table
from orbitlens.models import (
    EGNN,
    CNNAutoencoder,
    GroupCNN,
    GroupLinear,
    LiftingLinear,
    MLPAutoencoder,
    ViTAutoencoder,
    keeps_settings,
    read_network,
    resolve_model,
)
from orbitlens.models._settings import settings_of
from orbitlens.reps import Representation, irreps, regular
from orbitlens.symmetry import GroupAutoencoder, TopographicVAE, WorldModel, symmetrize
from orbitlens.symmetry.pretext import GroupEncoder
from orbitlens.symmetry.relax import (
    InvariantHead,
    MixedBlock,
    PermutedActionsHead,
    RelaxedGroupConv2d,
    RelaxedGroupLinear,
    RelaxedLiftingConv2d,
    RelaxedLiftingLinear,
    SharedConv2d,
    SharedLinear,
    VectorActionsHead,
    mixed_network,
)
from orbitlens.symmetry.relax.agents import Critic, QNetwork

TURN = irreps("C4")[-1]
KLEIN = from_table([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]], "V")

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "GroupCNN": (lambda: GroupCNN(dihedral(4), 1, features=2, broken=0.5, seed=3), (1, 6, 6)),
    "EGNN": (lambda: EGNN(1, hidden=4, layers=1), (3, 7)),
    "MLPAutoencoder": (lambda: MLPAutoencoder(8), (1, 8, 8)),
    "CNNAutoencoder": (lambda: CNNAutoencoder(size=16, channels=3), (3, 16, 16)),
    "ViTAutoencoder": (lambda: ViTAutoencoder(size=16), (1, 16, 16)),
    "LiftingLinear": (lambda: LiftingLinear(TURN, 3), (2,)),
    "GroupLinear": (lambda: GroupLinear(KLEIN, 2, 3), (8,)),
    "GroupAutoencoder": (
        lambda: GroupAutoencoder(PlaneGroup("p4", 8), channels=1, width=2, kernels=(3, 3)),
        (1, 8, 8),
    ),
    "QNetwork": (lambda: QNetwork(TURN, regular("C4"), [2, 2], scale=torch.tensor(2.0)), (2,)),
    "MixedBlock": (lambda: MixedBlock(1, 2, 8), (1, 8, 8)),
    "mixed_network": (
        lambda: mixed_network(1, 3, 4, channels=[2], strides=[2], hidden=4),
        (1, 4, 4),
    ),
    "nn.Sequential": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, 1, "same", bias=False), nn.Tanh(), nn.Flatten()),
        (1, 4, 4),
    ),
    "RelaxedLiftingConv2d": (lambda: RelaxedLiftingConv2d("C4", 1, 2), (1, 6, 6)),
    "RelaxedGroupConv2d": (lambda: RelaxedGroupConv2d("C4", 1, 2), (4, 6, 6)),
    "RelaxedLiftingLinear": (lambda: RelaxedLiftingLinear(TURN, 2), (2,)),
    "RelaxedGroupLinear": (lambda: RelaxedGroupLinear("C4", 2, 2), (8,)),
    "InvariantHead": (lambda: InvariantHead("C4", 2), (8,)),
    "PermutedActionsHead": (lambda: PermutedActionsHead(regular("C4"), 2), (8,)),
    "VectorActionsHead": (lambda: VectorActionsHead(TURN, 2), (8,)),
    "SharedLinear": (lambda: SharedLinear(6, 4, k=3), (6,)),
    "SharedConv2d": (lambda: SharedConv2d(1, 2, 3), (1, 5, 5)),
}


def first(output: object) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def trained(network: nn.Module) -> nn.Module:
    """The network with other weights than those it is built with."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for each in network.parameters():
            each.add_(0.1 * torch.randn_like(each))
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_read_as_it_was_saved(name: str, tmp_path: Path) -> None:
    build, shape = NETWORKS[name]
    network, x = trained(build()), noise(3, *shape)
    found = ol.load(ol.save(network, tmp_path / "net"))
    assert type(found) is type(network)
    assert not found.training
    exact = {"rtol": 0, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(dict(found.state_dict()), dict(network.state_dict()), **exact)
    with torch.no_grad():
        torch.testing.assert_close(first(found(x)), first(network(x)))


SYSTEMS: tuple[Callable[[], nn.Module], ...] = (
    lambda: WorldModel("D4", block_moves("D4"), side=20, width=2, hidden=2, kind="equivariant"),
    lambda: TopographicVAE(4, (1, 8, 8), capsules=2),
    lambda: GroupEncoder("C4", 16, width=2),
)


@pytest.mark.parametrize("build", SYSTEMS, ids=["WorldModel", "TopographicVAE", "GroupEncoder"])
def test_the_systems_of_the_room_come_back(build: Callable[[], nn.Module], tmp_path: Path) -> None:
    network = trained(build())
    found = ol.load(ol.save(network, tmp_path / "net"))
    torch.testing.assert_close(dict(found.state_dict()), dict(network.state_dict()), rtol=0, atol=0)


def test_double_precision_and_representations_of_two_arguments_come_back(tmp_path: Path) -> None:
    network = Critic(TURN, TURN, [2]).double()
    found = ol.load(ol.save(network, tmp_path / "net"))
    assert {each.dtype for each in found.parameters()} == {torch.float64}
    x = noise(2, 2).double()
    assert torch.equal(found(x, x), network(x, x))


def test_a_saved_network_is_a_base_model_by_its_path(tmp_path: Path) -> None:
    folder = ol.save(GroupCNN(cyclic(4), features=2), tmp_path / "net", metadata={"run": 3})
    assert read_json(folder / "network.json")["metadata"] == {"run": 3}
    base = resolve_model(str(folder), layer="pool")
    assert (base.layer, base.module.group.name) == ("pool", "C4")
    with pytest.raises(OrbitLensError, match="there is no default"):
        resolve_model(str(folder))
    with pytest.raises(OrbitLensError, match="leave out --random-weights"):
        resolve_model(str(folder), layer="pool", random_weights=True)


def test_networks_that_cannot_be_rebuilt_are_refused(tmp_path: Path) -> None:
    cnn = GroupCNN(cyclic(4))
    with pytest.raises(
        OrbitLensError, match=r"remembers its arguments.*received Bilinear.*python:"
    ):
        ol.save(nn.Sequential(nn.Bilinear(2, 2, 2)), tmp_path / "net")
    with pytest.raises(OrbitLensError, match=r"received Symmetrized"):
        ol.save(symmetrize(cnn, images(cyclic(4)), "average"), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@keeps_settings
class Wrapped(nn.Module):
    """A network with an argument of any kind, as if OrbitLens exported it."""

    def __init__(self, thing: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ol.models, "Wrapped", Wrapped, raising=False)
    monkeypatch.setattr(ol.models, "__all__", [*ol.models.__all__, "Wrapped"])


@pytest.mark.usefixtures("exported")
def test_arguments_that_json_cannot_hold_are_named(tmp_path: Path) -> None:
    large = Representation(cyclic(4), torch.eye(200).expand(4, -1, -1).double(), "large")
    for thing, told in (
        *((print, "builtin_function"), (float("inf"), "inf"), ({1: 2}, "dict")),
        (large, "Representation"),
    ):
        with pytest.raises(OrbitLensError, match=rf"`thing` among the arguments.*{told}.*python:"):
            ol.save(Wrapped(thing), tmp_path / "net")


@pytest.mark.usefixtures("exported")
def test_arguments_of_every_kind_come_back(tmp_path: Path) -> None:
    thing = [np.int64(1), (2.5, "a"), {"b": None}, torch.tensor([True]), GroupLinear(KLEIN, 1, 1)]
    thing.append(np.eye(2))
    found = settings_of(ol.load(ol.save(Wrapped(thing), tmp_path / "net")))["thing"]
    assert found[:3] == thing[:3]
    assert torch.equal(found[3], thing[3])
    assert found[4].group == KLEIN
    assert torch.equal(found[5], torch.eye(2).double())


def test_a_class_that_orbitlens_does_not_export_is_neither_saved_nor_imported(
    tmp_path: Path,
) -> None:
    with pytest.raises(OrbitLensError, match=r"nothing else is imported from a file"):
        ol.save(Wrapped(1), tmp_path / "net")
    build = {"class": f"{Wrapped.__module__}.Wrapped", "arguments": {"thing": 1}}
    with pytest.raises(OrbitLensError, match=r"nothing else is imported from a file"):
        ol.load(changed(tmp_path, build=build))


def changed(tmp_path: Path, **fields: object) -> Path:
    """A saved network whose record was written again with other fields, and sealed anew."""
    from orbitlens.io._sealed import read_tensors, write_tensors

    folder = ol.save(GroupLinear("C4", 1, 1), tmp_path / "net")
    record = read_json(folder / "network.json")
    tensors = read_tensors(folder / "network.safetensors", record)
    record |= fields
    write_json(record, folder / "network.json")
    write_tensors(tensors, folder / "network.safetensors", record)
    return folder


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"schema": 99}, "upgrade"),
        ({"build": {"class": "os.system", "arguments": {}}}, "nothing else is imported"),
        ({"build": {"class": "models.resolve_model", "arguments": {}}}, "received models.resolve"),
        ({"build": {"class": "torch.load", "arguments": {}}}, "nothing else is imported"),
        ({"build": {"class": "torch.Linear", "arguments": {}}}, "another version"),
        ({"build": {"class": "models.GroupLinear", "arguments": {"x": 1}}}, "another version"),
        ({"build": {"recipe": "nothing", "arguments": {}}}, "recipe: expected one of"),
        ({"build": {"recipe": "../toy", "arguments": {}}}, "recipe: expected one of"),
        ({"build": None}, "every field"),
    ],
)
def test_records_of_other_versions_are_one_line(
    tmp_path: Path, fields: dict[str, object], told: str
) -> None:
    with pytest.raises(OrbitLensError, match=told):
        read_network(changed(tmp_path, **fields), layer="x")


@pytest.mark.parametrize("kind", ["tuple", "zebra"])
def test_unknown_kinds_of_arguments_are_one_line(tmp_path: Path, kind: str) -> None:
    build = {
        "class": "models.GroupLinear",
        "arguments": {"group": {"kind": kind}, "in_features": 1, "out_features": 1},
    }
    with pytest.raises(OrbitLensError, match="kind of an argument"):
        ol.load(changed(tmp_path, build=build))


def test_a_layer_of_torch_that_stands_twice_is_kept_twice(tmp_path: Path) -> None:
    relu, x = nn.ReLU(inplace=True), noise(5, 4)
    network = nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu)
    found = ol.load(ol.save(network, tmp_path / "net"))
    assert torch.equal(found(x), network(x))
    assert found[1].inplace


def hooked() -> nn.Module:
    network = GroupLinear("C4", 1, 1)
    network.register_forward_hook(lambda module, args, output: 2 * output)
    return network


def mixed() -> nn.Module:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].double()
    return network


def with_(network: nn.Module, **attributes: object) -> nn.Module:
    for name, value in attributes.items():
        setattr(network, name, value)
    return network


CHANGED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "shared": (lambda: nn.Sequential(*2 * [nn.Linear(2, 2)]), "the same as '0.weight'"),
    "hook": (hooked, "hooks of the network: expected 0"),
    "mixed types": (mixed, "tensor '1.weight': expected torch.float32"),
    "attribute": (
        lambda: with_(TopographicVAE(4, (1, 8, 8), capsules=2), coherence="still"),
        "coherence of the network: expected 'shifting'.*received 'still'",
    ),
    "layer": (
        lambda: with_(GroupCNN(cyclic(4), features=2), pool=nn.Identity()),
        "layer 'pool'.*received Identity",
    ),
    "forward": (lambda: with_(GroupLinear("C4", 1, 1), forward=print), "forward of the network"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_network_that_was_changed_after_it_was_built_is_refused(
    name: str, tmp_path: Path
) -> None:
    build, told = CHANGED[name]
    with pytest.raises(OrbitLensError, match=rf"`thing` to save, .*{told}"):
        ol.save(build(), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_arguments_are_those_of_the_call_whatever_becomes_of_them(tmp_path: Path) -> None:
    shape = [1, 8, 8]
    network = TopographicVAE(4, shape, capsules=2)
    shape[0] = 3
    assert settings_of(network)["shape"] == [1, 8, 8]


def test_frozen_weights_are_frozen_when_they_are_read(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    found = ol.load(ol.save(network, tmp_path / "net"))
    assert [each.requires_grad for each in found.parameters()] == [False, False, True, True]


def test_reading_a_network_leaves_random_numbers_as_they_were(tmp_path: Path) -> None:
    folder = ol.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net")
    before = torch.random.get_rng_state()
    ol.load(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    build = {
        "class": "models.GroupLinear",
        "arguments": {"group": "C4", "in_features": 2, "out_features": 1},
    }
    with pytest.raises(DamageError, match=r"of shape \[.*as the network has"):
        ol.load(changed(tmp_path, build=build))


def test_damage_and_exchange_are_noticed(tmp_path: Path) -> None:
    one, other = (ol.save(GroupLinear("C4", 1, 1), tmp_path / name) for name in ("a", "b"))
    record = read_json(one / "network.json")
    (one / "network.json").write_text((one / "network.json").read_text().replace("C4", "C2"))
    with pytest.raises(OrbitLensError, match=str(one)):
        ol.load(one)
    write_json({**record, "layer": "x"}, one / "network.json")
    with pytest.raises(DamageError, match="not of the same training"):
        ol.load(one)
    (other / "network.safetensors").unlink()
    with pytest.raises(DamageError, match="no such file"):
        ol.load(other)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    network = GroupLinear("C4", 1, 1)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(OrbitLensError, match="diverged"):
        ol.save(network, tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_folder_without_anything_says_what_it_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OrbitLensError, match=r"network.json \(a network\), received none of them"):
        ol.load(tmp_path)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="an SAE, a transport or a network, received int"):
        ol.save(3, tmp_path / "net")
