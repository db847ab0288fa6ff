"""Attribution against weights worked by hand, against ablation, and against symmetry."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import orbitlens as ol
from orbitlens.attribution import Site, ablation_effects, attribution_graph
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.typing import Float, Tensor

from .conftest import QUARTERS, Ring, rows_sae

TURNS = ol.actions.images(QUARTERS)
close = torch.testing.assert_close
FIRST, SECOND = [2.0, 0.5, 0.0, 0.25], [1.0, 0.5, 0.25, 3.0]


def test_between_neighbouring_layers_it_is_the_weight_times_the_mean_activation(
    pictures: Tensor, sites: tuple[Site, Site]
) -> None:
    model = Ring(FIRST, SECOND)
    graph = attribution_graph(model, *sites, inputs=pictures, action=TURNS)
    # The first layer's coordinates are sum(FIRST) times the mean pixel, on average over turns.
    mean = sum(FIRST) * pictures.mean().item()
    close(graph.attribution.flatten(), mean * torch.tensor(SECOND), rtol=1e-5, atol=1e-5)
    assert graph.explained == pytest.approx(1, abs=1e-6)
    assert (graph.earlier, graph.later, graph.n) == ("Ring:first", "Ring:second", 6)
    strongest = graph.strongest(2)
    assert [(e.source, e.target, e.relative) for e in strongest] == [(0, 0, "r^3"), (0, 0, "e")]
    assert strongest[0].strength == pytest.approx(3 * mean, rel=1e-5)


def test_of_a_linear_network_ablation_is_attribution(pictures: Tensor) -> None:
    atoms = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    earlier, later = (
        Site(layer, rows_sae(atoms.roll(place, 0), 5, f"Ring:{layer}"))
        for place, layer in enumerate(("first", "second"))
    )
    settings: dict[str, Any] = {"inputs": pictures, "action": TURNS, "batch_size": 5}
    model = Ring([1.0, -0.5, 0.3, 0.2], [0.4, -1.0, 0.6, 0.1])
    graph = attribution_graph(model, earlier, later, **settings)
    effects = ablation_effects(model, earlier, later, **settings)
    close(effects.pre, graph.attribution, rtol=1e-4, atol=1e-6)
    assert effects.explained == pytest.approx(graph.explained, abs=1e-5)
    some = ablation_effects(model, earlier, later, atoms=[2, 0], **settings)
    assert some.atoms == (2, 0)
    close(some.pre, effects.pre[:, [2, 0]])
    close(some.codes, effects.codes[:, [2, 0]])


def test_codes_fall_less_than_pre_activations_that_cross_zero(
    pictures: Tensor, sites: tuple[Site, Site]
) -> None:
    # Without its only positive part the later pre-activation is negative, and its code is zero.
    model = Ring([1.0, 0.0, 0.0, 0.0], [2.0, -0.1, 0.0, 0.0])
    effects = ablation_effects(model, *sites, inputs=pictures, action=TURNS)
    mean = pictures.mean().item()
    close(effects.pre.flatten(), torch.tensor([2.0, -0.1, 0.0, 0.0]) * mean, rtol=1e-4, atol=1e-5)
    expected = torch.tensor([1.9, -0.1, 0.0, 0.0]) * mean
    close(effects.codes.flatten(), expected, rtol=1e-4, atol=1e-5)


def test_a_relu_in_place_stops_attribution_where_it_is_not_active(
    pictures: Tensor, sites: tuple[Site, Site]
) -> None:
    model = Ring([-1.0, 0.0, 0.0, 0.0], SECOND, relu=True)
    earlier = Site("first", rows_sae(-torch.eye(4)[:1], 4, "Ring:first"))
    later = Site("second", sites[1].sae)
    with pytest.raises(OrbitLensError, match="received an attribution of 0 everywhere"):
        attribution_graph(model, earlier, later, inputs=pictures, action=TURNS)
    model = Ring(FIRST, SECOND, relu=True)
    graph = attribution_graph(model, *sites, inputs=pictures, action=TURNS)
    linear = attribution_graph(Ring(FIRST, SECOND), *sites, inputs=pictures, action=TURNS)
    close(graph.attribution, linear.attribution)


def test_atoms_with_a_stabiliser_count_once(pictures: Tensor, sites: tuple[Site, Site]) -> None:
    model = Ring([1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    all_corners = torch.full((1, 4), 0.5)
    earlier = Site("first", rows_sae(all_corners, 1, "Ring:first"))
    graph = attribution_graph(model, earlier, sites[1], inputs=pictures, action=TURNS)
    # The sum of the corners, coded once as s = <d, y>, gives each corner s / 2.
    expected = 0.5 * 0.5 * 4 * pictures.mean().item()
    close(4 * graph.attribution.flatten(), torch.full((4,), expected), rtol=1e-4, atol=1e-5)
    (edge,) = graph.strongest(9)
    assert edge.relative == "e"
    assert edge.strength == pytest.approx(expected, rel=1e-4)
    assert graph.explained == pytest.approx(1, abs=1e-6)


def of_group_cnn(
    model: nn.Module, group: Group, pictures: Tensor, layers: dict[str, int]
) -> list[Site]:
    sites = []
    for layer, k in layers.items():
        maps = layer.startswith("conv")
        store = ol.harvest(
            model,
            layer=layer,
            inputs=pictures,
            action=ol.actions.images(group),
            positions="all" if maps else "auto",
        )
        rho = ol.fit_transport(store, "spatial" if maps else "exact")
        mean = rho.motion.mean if layer == "conv2" else None
        sites.append(Site(layer, ol.sae.orbit_sae(store.dim, 5, k, rho, seed=k), mean))
    return sites


@pytest.mark.parametrize("name", ["C4", "D4"])
@pytest.mark.parametrize("layers", [{"conv1": 3, "pool": 4}, {"conv1": 2, "conv2": 3}])
def test_of_an_equivariant_network_relative_orientation_explains_everything(
    name: str, layers: dict[str, int]
) -> None:
    group = ol.groups.from_name(name)
    pictures = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    model = ol.models.GroupCNN(group, features=2)
    earlier, later = of_group_cnn(model, group, pictures, layers)
    settings: dict[str, Any] = {"inputs": pictures[:3], "action": ol.actions.images(group)}
    graph = attribution_graph(model, earlier, later, **settings)
    assert graph.explained > 1 - 1e-5
    assert graph.attribution.shape == (group.order, 5, 5)
    assert graph.attribution.std(0).max() > 0.01 * graph.attribution.abs().max()
    if name == "C4":
        effects = ablation_effects(model, earlier, later, atoms=[0, 1], **settings)
        assert effects.explained > 1 - 1e-5


def test_a_network_without_symmetry_is_not_explained() -> None:
    pictures = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    model = ol.models.GroupCNN(QUARTERS, features=2, broken=1.0)
    sites = of_group_cnn(model, QUARTERS, pictures, {"conv1": 3, "pool": 4})
    assert attribution_graph(model, *sites, inputs=pictures[:4], action=TURNS).explained < 0.9


def test_batches_modes_and_gradients_leave_no_trace(
    pictures: Tensor, sites: tuple[Site, Site]
) -> None:
    model, seen = Ring(FIRST, SECOND, relu=True).train(), []
    whole = attribution_graph(model, *sites, inputs=pictures, action=TURNS)
    parts = attribution_graph(
        model,
        *sites,
        inputs=2 * pictures,
        action=TURNS,
        batch_size=4,
        prepare=lambda images: images / 2,
        progress=lambda done, n: seen.append((done, n)),
    )
    close(parts.attribution, whole.attribution)
    assert seen == [(place, 6) for place in range(1, 7)]
    assert model.training
    assert all(p.grad is None for p in [*model.parameters(), *sites[0].sae.parameters()])
    assert not model.first._forward_hooks
    assert not model.second._forward_hooks


def test_an_output_in_a_tuple_is_replaced_there(pictures: Tensor, sites: tuple[Site, Site]) -> None:
    class Attending(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return self.inner(x), "weights"

    class First(nn.Module):
        def forward(self, pair: tuple[Tensor, str]) -> Tensor:
            assert pair[1] == "weights"
            return pair[0]

    plain = attribution_graph(Ring(FIRST, SECOND), *sites, inputs=pictures, action=TURNS)
    model = Ring(FIRST, SECOND)
    model.first, model.between = Attending(model.first), First()
    paired = attribution_graph(model, *sites, inputs=pictures, action=TURNS)
    close(paired.attribution, plain.attribution)


def test_a_network_in_float64_is_read_by_saes_in_float32(
    pictures: Tensor, sites: tuple[Site, Site]
) -> None:
    plain = attribution_graph(Ring(FIRST, SECOND), *sites, inputs=pictures, action=TURNS)
    model = Ring(FIRST, SECOND).double()
    double = attribution_graph(model, *sites, inputs=pictures.double(), action=TURNS)
    close(double.attribution, plain.attribution)


def test_a_record_is_ready_for_json(pictures: Tensor, sites: tuple[Site, Site]) -> None:
    graph = attribution_graph(Ring(FIRST, SECOND), *sites, inputs=pictures, action=TURNS)
    record = json.loads(json.dumps(graph.to_dict(3)))
    assert record["group"] == "C4"
    assert record["atoms"] == [1, 1]
    assert [edge["relative"] for edge in record["edges"]] == ["r^3", "e", "r"]
    with pytest.raises(OrbitLensError, match="`n`: expected at least 1, received 0"):
        graph.strongest(0)


Change = Callable[[Float[Tensor, "atoms 4"], tuple[Site, Site]], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda corner, _: {"earlier": Site("first", ol.sae.topk_sae(4, 8, 2))},
            "`sae` of layer 'first': expected an orbit SAE, .*FreeDictionary",
        ),
        (
            lambda corner, _: {"earlier": Site("second", rows_sae(corner, 4, "Ring:first"))},
            "expected an SAE of this layer, received one of Ring:first",
        ),
        (
            lambda corner, sites: {"action": ol.actions.images(ol.groups.cyclic(2))},
            "expected an SAE tied over C2, the group of the action, received one over C4",
        ),
        (
            lambda corner, sites: {"later": Site("second", rows_sae(corner, 4, "Other:second"))},
            "expected SAEs of one network, received Ring and Other",
        ),
        (
            lambda corner, sites: {"earlier": sites[1], "later": sites[0]},
            "expected a layer that depends on 'second', received 'first', which does not",
        ),
        (
            lambda corner, sites: {"earlier": Site("third", rows_sae(corner, 4, "Ring:third"))},
            "expected one of ring, first, second, between, received 'third'",
        ),
        (
            lambda corner, sites: {"earlier": Site("first", sites[0].sae, torch.zeros(4, 4))},
            r"`mean` of layer 'first': expected shape \[1, 4\], received \[4, 4\]",
        ),
        (lambda corner, sites: {"inputs": torch.zeros(0, 1, 2, 2)}, "expected at least one"),
        (lambda corner, sites: {"batch_size": 0}, "`batch_size`: expected at least 1"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    change: Change, message: str, pictures: Tensor, corner: Tensor, sites: tuple[Site, Site]
) -> None:
    arguments: dict[str, Any] = {
        "earlier": sites[0],
        "later": sites[1],
        "inputs": pictures,
        "action": TURNS,
    }
    with pytest.raises(OrbitLensError, match=message):
        attribution_graph(Ring(FIRST, SECOND), **(arguments | change(corner, sites)))


def test_a_layer_of_another_width_is_refused(pictures: Tensor, sites: tuple[Site, Site]) -> None:
    model = Ring(FIRST, SECOND)
    model.second = nn.Linear(4, 3)
    message = r"layer 'second': expected .* width 4, as its SAE, received shape \[1, 3\]"
    with pytest.raises(OrbitLensError, match=message):
        attribution_graph(model, *sites, inputs=pictures, action=TURNS)


@pytest.mark.parametrize("atoms", [[1], [-1], [0, 0], []])
def test_atoms_that_are_not_there_are_refused(
    atoms: list[int], pictures: Tensor, sites: tuple[Site, Site]
) -> None:
    with pytest.raises(
        OrbitLensError, match="`atoms`: expected (some of the atoms 0 to 0|indices in 0..0)"
    ):
        ablation_effects(Ring(FIRST, SECOND), *sites, inputs=pictures, action=TURNS, atoms=atoms)
