"""Networks on other data than images whose representation is known: spatial transports find it."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import orbitlens as ol
from orbitlens import groups
from orbitlens.actions import graphs, points, reverse_complement, volumes
from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.reps import regular
from orbitlens.sae import (
    OrbitDictionary,
    TopK,
    compose,
    decode_maps,
    encode_maps,
    move_codes,
    orbit_sae,
)
from orbitlens.transport import Transport, fit_exact


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stored_orbits(store: ActivationStore) -> Tensor:
    return torch.from_numpy(np.asarray(store.array))


def check_moves(rho: Transport, store: ActivationStore) -> None:
    """Check that a transport takes whole activations of e to those of every element."""
    held = stored_orbits(store)[-4:]
    for g in range(store.group.order):
        moved = rho(held[:, 0], torch.full((4,), g))
        torch.testing.assert_close(moved, held[:, g], atol=1e-3, rtol=0)


class LiftedVolumes(nn.Module):
    """A kernel and all its turns, k of them: channel (g, i) is the i-th kernel turned by g."""

    def __init__(self, group: groups.Group, kernels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, group.order * kernels, 3, padding=1, bias=False)
        orbit = volumes(group).orbit(noise(kernels, 1, 3, 3, 3))
        self.conv.weight = nn.Parameter(orbit.transpose(0, 1).flatten(0, 1))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x)).mean((2, 3, 4))


@pytest.mark.parametrize("name", ["O", "Oh"])
def test_maps_of_a_volume_network_move_by_the_regular_representation(name: str) -> None:
    group = groups.from_name(name)
    network, inputs = LiftedVolumes(group, 1), noise(30, 1, 4, 4, 4, seed=1)
    store = ol.harvest(network, layer="relu", inputs=inputs, action=volumes(group), positions="all")
    assert store.layout is not None
    assert store.layout["axes"] == "n c d h w"
    assert (store.positions, store.dim) == (64, group.order)
    rho = ol.fit_transport(store, "spatial")
    assert rho.r2 >= 0.9999
    # (gx)[channel gh] at gp is x[channel h] at p.
    torch.testing.assert_close(rho.matrices, regular(group).matrices.float(), atol=1e-3, rtol=0)
    check_moves(rho, store)
    maps = stored_orbits(store)[:3, 0].mT.unflatten(2, (4, 4, 4))
    moved = rho(maps, torch.tensor([1, 5, 9]))
    right = torch.stack([stored_orbits(store)[i, g] for i, g in enumerate((1, 5, 9))])
    torch.testing.assert_close(moved.flatten(2).mT, right, atol=1e-3, rtol=0)
    mean = ol.harvest(network, layer="relu", inputs=inputs, action=volumes(group), positions="mean")
    torch.testing.assert_close(mean.orbits()[:, 0], network(inputs).detach())


def test_volumes_with_channels_last_and_layouts_that_are_said() -> None:
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Tanh(), nn.Flatten())

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = network, nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.inner[:2](x).permute(0, 2, 3, 4, 1)).flatten(1)

    x = noise(20, 1, 3, 3, 3)
    for layout in (None, "n d h w c"):
        store = ol.harvest(
            Last(), layer="out", inputs=x, action=volumes("O"), positions="all", layout=layout
        )
        assert store.layout is not None
        assert store.layout["axes"] == "n d h w c"
        rows = store.orbits()
        torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))


def test_an_orbit_sae_writes_back_maps_of_volumes() -> None:
    rho = ol.reps.isotypic_basis(regular(groups.cyclic(4)))
    sae = compose(TopK(2), OrbitDictionary(3, rho))
    codes = noise(2, 24, 4, 3)
    rows, maps = decode_maps(sae, codes), decode_maps(sae, codes, size=(2, 3, 4))
    assert maps.shape == (2, 4, 2, 3, 4)
    assert torch.equal(maps.flatten(2).mT, rows)
    for size in ((2, 3), (2, 3, 4, 1), (24,)):
        with pytest.raises(OrbitLensError, match="height times width = 24.* or depth times both"):
            decode_maps(sae, codes, size=size)


class Vectors(nn.Module):
    """k vectors at each point: mixtures of its place and the centroid, scaled by their lengths."""

    def __init__(self, vectors: int, *, centred: bool = False) -> None:
        super().__init__()
        self.own, self.mean = noise(vectors), noise(vectors, seed=1)
        self.centred, self.out = centred, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        coordinates, colour = x[:, :, :3], x[:, :, 3:]
        mean = coordinates.mean(1, keepdim=True)
        if self.centred:
            coordinates = coordinates - mean
        found = self.own[:, None] * coordinates[:, :, None]
        if not self.centred:
            found = found + self.mean[:, None] * mean[:, :, None]
        found = found * torch.tanh(found.norm(dim=-1, keepdim=True)) * (1 + colour[..., None])
        return self.out(found.flatten(2)).mean(1)


@pytest.mark.parametrize("name", ["O", "C6", "Oh"])
@pytest.mark.parametrize("centred", [False, True])
def test_vectors_at_points_move_by_copies_of_the_matrices(name: str, centred: bool) -> None:
    action = points(name, axis="y" if name == "C6" else None, centred=centred)
    clouds = noise(60, 5, 4, seed=2) + torch.tensor([1.0, 2.0, 3.0, 0.0])
    store = ol.harvest(
        Vectors(3, centred=centred), layer="out", inputs=clouds, action=action, positions="all"
    )
    assert store.layout is not None
    assert (store.layout["axes"], store.positions) == ("n l c", 5)
    rho = ol.fit_transport(store, "spatial")
    assert rho.r2 >= 0.9999
    matrices = points(name, axis="y" if name == "C6" else None).orbit(torch.eye(3)[None])[0].mT
    right = torch.stack([torch.block_diag(*[m] * 3) for m in matrices])
    torch.testing.assert_close(rho.matrices, right, atol=1e-3, rtol=0)
    check_moves(rho, store)
    assert rho.identity_r2 < 0.9


def test_pooled_vectors_and_their_generator() -> None:
    clouds = noise(200, 5, 4, seed=2)
    store = ol.harvest(
        Vectors(2), layer="out", inputs=clouds, action=points("C8", axis="x"), positions="mean"
    )
    rho = ol.fit_transport(store, "lie")
    assert rho.r2 >= 0.999
    about_x = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    assert rho.motion.generator is not None
    torch.testing.assert_close(
        rho.motion.generator.float(), torch.block_diag(about_x, about_x), atol=0.05, rtol=0
    )


class Messages(nn.Module):
    """Two rounds of messages along the edges of a graph, with features of 4 nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(2, 6), nn.Linear(6, 6), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        adjacency, features = x[:, :, :4], x[:, :, 4:]
        hidden = torch.tanh(adjacency @ self.first(features))
        return self.relu(self.second(adjacency @ hidden)).mean(1)


@pytest.mark.parametrize("layer", ["first", "second", "relu"])
def test_nodes_of_a_graph_network_move_and_their_channels_stay(layer: str) -> None:
    torch.manual_seed(0)
    edges = (noise(40, 4, 4, seed=3) > 0).float()
    inputs = torch.cat([edges, noise(40, 4, 2, seed=4)], 2)
    store = ol.harvest(Messages(), layer=layer, inputs=inputs, action=graphs("S4"), positions="all")
    assert store.layout is not None
    assert store.layout["axes"] == "n l c"
    assert store.moves is not None
    assert np.array_equal(store.moves, graphs("S4").config["permutations"])
    rho = ol.fit_transport(store, "spatial")
    assert rho.r2 >= 0.9999
    check_moves(rho, store)
    mean = ol.harvest(Messages(), layer=layer, inputs=inputs, action=graphs("S4")).orbits()
    torch.testing.assert_close(mean, mean[:, :1].expand_as(mean))


def test_pairs_of_nodes_move_where_the_layout_is_said() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            edges = x[:, :, :3]
            return self.out(torch.stack([edges, edges.mT, edges @ edges], -1)).mean((1, 2))

    inputs = noise(20, 3, 3)
    store = ol.harvest(
        Pairs(),
        layer="out",
        inputs=inputs,
        action=graphs("S3"),
        positions="all",
        layout="n h w c",
    )
    rows = store.orbits()
    assert store.positions == 9
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))


def strands(n: int, length: int) -> Tensor:
    drawn = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(0))
    return nn.functional.one_hot(drawn, 4).mT.float()


class TiedStrands(nn.Module):
    """Kernels in pairs, each with its reverse complement, in two layers."""

    def __init__(self, pairs: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 2 * pairs, 5, padding=2, bias=False)
        self.second = nn.Conv1d(2 * pairs, 2 * pairs, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        one, two = noise(pairs, 4, 5), noise(pairs, 2 * pairs, 3, seed=1)
        swapped = two.roll(pairs, 1).flip(2)
        self.first.weight = nn.Parameter(torch.cat([one, one.flip(1, 2)]))
        self.second.weight = nn.Parameter(torch.cat([two, swapped]))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(torch.relu(self.first(x)))).mean(2)


@pytest.mark.parametrize("layer", ["first", "second", "relu"])
def test_pairs_of_channels_change_places_with_the_other_strand(layer: str) -> None:
    inputs = strands(80, 24)
    store = ol.harvest(
        TiedStrands(), layer=layer, inputs=inputs, action=reverse_complement(), positions="all"
    )
    assert store.moves is not None
    assert store.moves[1].tolist() == list(range(23, -1, -1))
    rho = ol.fit_transport(store, "spatial")
    assert rho.r2 >= 0.9999
    swap = torch.eye(6).roll(3, 0)
    torch.testing.assert_close(rho.matrices[1], swap, atol=1e-3, rtol=0)
    check_moves(rho, store)
    assert rho.identity_r2 < 0.9


@pytest.mark.parametrize(
    ("network", "layer", "inputs", "action"),
    [
        (TiedStrands(), "relu", strands(80, 24), reverse_complement()),
        (LiftedVolumes(groups.octahedral(), 1), "relu", noise(40, 1, 3, 3, 3), volumes("O")),
        (Vectors(3), "out", noise(80, 5, 4), points("O")),
    ],
    ids=["strands", "volumes", "points"],
)
def test_codes_of_a_trained_orbit_sae_move_with_the_input(
    network: nn.Module, layer: str, inputs: Tensor, action: ol.actions.Action
) -> None:
    store = ol.harvest(network, layer=layer, inputs=inputs, action=action, positions="all")
    rho = fit_exact(store)
    assert rho.method == "spatial"
    mean = rho.motion.mean
    sae = ol.fit(orbit_sae(store.dim, 6, 3, rho), store.about(mean), epochs=2).sae
    rows = stored_orbits(store)[:4]
    with torch.no_grad():
        codes = [
            encode_maps(sae, rows[:, g], mean=mean, layout="n l c")
            for g in range(store.group.order)
        ]
    assert codes[0].max() > 0
    assert store.moves is not None
    for g, found in enumerate(codes):
        moved = move_codes(sae, codes[0], g, store.moves)
        torch.testing.assert_close(found, moved, atol=1e-4 * float(codes[0].max()), rtol=0)
