"""The group CNN: what the group does to each layer, exactly, and how the knob breaks it."""

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import orbitlens as ol
from orbitlens import groups
from orbitlens.actions import images
from orbitlens.activations.harvest import evaluating, take_outputs
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.models import GroupCNN
from orbitlens.reps import (
    Representation,
    direct_sum,
    irreps,
    multiplicities,
    regular,
    tensor_product,
)
from orbitlens.testing import assert_equivariant

ALL = [groups.from_name(name) for name in ("C1", "C2", "C4", "D1", "D2", "D4")]
every_group = pytest.mark.parametrize("group", ALL, ids=lambda group: group.name)
with_quarter_turns = pytest.mark.parametrize(
    "group", [groups.cyclic(4), groups.dihedral(4)], ids=lambda group: group.name
)
SIDE, CHANNELS, FEATURES = 4, 2, 2


def noise(n: int, channels: int, side: int) -> Float[Tensor, "n channels side side"]:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0))


def on_places(group: Group) -> Representation:
    """How the group permutes the places of an image or a map."""
    grid = images(group).grid
    assert grid is not None
    matrices = torch.zeros(group.order, SIDE**2, SIDE**2, dtype=torch.float64)
    for g, places in enumerate(grid(SIDE, SIDE)):
        matrices[g, places, np.arange(SIDE**2)] = 1
    return Representation(group, matrices, "places")


@every_group
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("layer", ["lift", "conv1", "conv2", "pool", "readout"])
def test_every_layer_moves_as_it_says(group: Group, kernel: int, layer: str) -> None:
    model = GroupCNN(group, CHANNELS, FEATURES, kernel).double()
    # Biases start at zero; a trained network has others.
    for convolution in (model.lift, model.conv1, model.conv2):
        torch.nn.init.normal_(convolution.bias, generator=torch.Generator().manual_seed(1))
    outputs = []
    model.get_submodule(layer).register_forward_hook(lambda *call: outputs.append(call[-1]))

    def function(x: Float[Tensor, "batch pixels"]) -> Float[Tensor, "batch out"]:
        model(x.unflatten(1, (CHANNELS, SIDE, SIDE)))
        return outputs[-1].detach().flatten(1)

    unmoved = Representation(group, torch.ones(group.order, 1, 1, dtype=torch.float64), "trivial")
    on_channels = direct_sum(*[regular(group)] * FEATURES)
    moved = {"pool": on_channels, "readout": direct_sum(*[unmoved] * FEATURES)}
    expected = moved.get(layer) or tensor_product(on_channels, on_places(group))
    pixels = tensor_product(direct_sum(*[unmoved] * CHANNELS), on_places(group))
    x = noise(5, CHANNELS, SIDE).double().flatten(1)
    assert_equivariant(function, pixels.matrices, expected.matrices, x, tolerance=1e-10)


@every_group
def test_layers_are_called_once_and_maps_keep_the_size_of_images(group: Group) -> None:
    model, x = GroupCNN(group, features=3), noise(2, 1, 6)
    shapes = dict.fromkeys(("lift", "conv1", "conv2"), (2, 3 * group.order, 6, 6))
    shapes |= {"pool": (2, 3 * group.order), "readout": (2, 3)}
    called = []
    for name in shapes:
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: called.append(name))
    assert model(x).shape == (2, 3)
    assert called == list(shapes)
    with evaluating(model):
        for name, shape in shapes.items():
            layers = {name: model.get_submodule(name)}
            output = take_outputs(model, layers, x, lambda _, output: output)[name]
            assert output.shape == shape


def test_a_lift_by_hand() -> None:
    model, pixel = GroupCNN(groups.cyclic(4), features=1), torch.zeros(1, 1, 3, 3)
    pixel[0, 0, 1, 1] = 1
    model.lift.tied.data = torch.arange(9.0).reshape(1, 1, 1, 3, 3)
    kernel = model.lift.tied.data[0, 0]
    # A single pixel shows each kernel upside down: the correlation slides it over the pixel.
    for g in range(4):
        shown = model.lift(pixel)[:, g].flip(-1, -2)
        assert torch.equal(shown, images(groups.cyclic(4))(kernel[None], g)[0])


def test_the_trivial_group_gives_an_ordinary_network() -> None:
    model, x = GroupCNN(groups.cyclic(1), 3, 5), noise(2, 3, 6)
    plain = torch.nn.functional.conv2d(x, model.lift.tied[:, :, 0], padding=1)
    torch.testing.assert_close(model.lift(x), plain)
    assert model.conv1.tied.shape == (5, 5, 1, 3, 3)


@every_group
def test_the_layers_neither_vanish_nor_repeat(group: Group) -> None:
    model = GroupCNN(group, features=4)
    x = noise(8, 1, 12)
    for layer in (model.lift, model.conv1, model.conv2):
        maps = layer(x)
        assert 0.2 < maps.std() < 5
        assert len({channel.detach().numpy().tobytes() for channel in maps[0]}) == maps.shape[1]
        x = maps.relu()


@with_quarter_turns
def test_the_exact_transport_finds_the_regular_representation(group: Group) -> None:
    model, features = GroupCNN(group, features=4), 4
    store = ol.harvest(model, layer="pool", inputs=noise(400, 1, 8), action=images(group))
    rho = ol.fit_transport(store, method="exact")
    assert rho.identity_r2 < 0.9 < 0.999999 < rho.r2
    assert rho.relation_error < 1e-6
    found = Representation(group, rho.matrices.double(), "found")
    assert multiplicities(found) == tuple(features * m for m in multiplicities(regular(group)))


@with_quarter_turns
def test_the_readout_is_trivial(group: Group) -> None:
    model = GroupCNN(group, features=4)
    store = ol.harvest(model, layer="readout", inputs=noise(60, 1, 8), action=images(group))
    assert ol.fit_transport(store, method="identity").r2 > 0.999999
    found = ol.fit_transport(store, method="exact").matrices.double()
    counts = multiplicities(Representation(group, found, "found"))
    assert counts == (4, *[0] * (len(irreps(group)) - 1))


@with_quarter_turns
def test_the_more_is_broken_the_less_is_explained(group: Group) -> None:
    x, explained = noise(400, 1, 8), []
    for broken in (0.0, 0.1, 0.2, 0.3, 0.5):
        model = GroupCNN(group, broken=broken)
        store = ol.harvest(model, layer="pool", inputs=x, action=images(group))
        explained.append(ol.fit_transport(store).r2)
    assert explained[0] > 0.9999
    assert explained == sorted(explained, reverse=True)
    assert np.diff(explained).max() < -0.01


@every_group
def test_a_broken_network_is_tied_kernels_and_free_ones_of_the_same_norm(group: Group) -> None:
    whole, half, broken = (GroupCNN(group, broken=share) for share in (0.0, 0.5, 1.0))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, broken.state_dict()[name])
    x = noise(2, 1, 5)
    tied, middle, both = (model.lift(x) for model in (whole, half, broken))
    torch.testing.assert_close(middle, (tied + both) / 2)
    free = both - tied
    torch.testing.assert_close(free, torch.nn.functional.conv2d(x, whole.lift.free, padding=1))
    for layer in (whole.lift, whole.conv1, whole.conv2):
        torch.testing.assert_close(layer.free.norm(), group.order**0.5 * layer.tied.norm())


def test_gradients_reach_the_tied_kernels_and_leave_a_whole_network_whole() -> None:
    group = groups.dihedral(4)
    model, x = GroupCNN(group).double(), noise(3, 1, 5).double()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.conv1.tied.detach().clone()
    model(x).square().sum().backward()
    optimiser.step()
    assert not torch.equal(model.conv1.tied, before)
    for g in range(group.order):
        torch.testing.assert_close(model(images(group)(x, g)), model(x), rtol=1e-10, atol=1e-10)


def test_a_seed_fixes_the_initial_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (GroupCNN(groups.cyclic(4), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    for name in ("lift.tied", "conv1.tied", "conv2.tied", "conv1.free"):
        weights = [model.get_parameter(name) for model in (one, same, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": groups.cyclic(8)}, "C1, C2, C4, D1, D2 or D4, .*received C8"),
        ({"group": groups.from_name("C2xC4")}, "received C2xC4"),
        ({"channels": 0}, "`channels`: expected at least 1, received 0"),
        ({"features": 0}, "`features`: expected at least 1, received 0"),
        ({"kernel": 4}, "`kernel`: expected an odd number of pixels, received 4"),
        ({"broken": 1.5}, "`broken`: expected 0 to 1, received 1.5"),
        ({"broken": -0.1}, "`broken`: expected 0 to 1, received -0.1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        GroupCNN(**{"group": groups.cyclic(4), **settings})
