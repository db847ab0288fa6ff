"""Networks that were symmetrized are looked into as others are, or the refusal says how."""

import pytest
import torch
from torch import nn

import orbitlens as ol
from orbitlens import actions
from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup
from orbitlens.models import network_of_views
from orbitlens.symmetry import GroupAutoencoder, check_symmetry, symmetrize

TURN, TORUS = actions.images("C4"), actions.plane("p4", 4)
IMAGES = torch.randn(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    torch.manual_seed(0)


def vectors() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def maps() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))


def verdicts(phi: nn.Module) -> dict[str, str]:
    found = ol.measure_network(phi, inputs=IMAGES, action=TURN, lie_inputs=0)
    return {row["layer"]: row["verdict"] for row in found.table}


@pytest.mark.parametrize("how", ["average", "canonical"])
def test_a_symmetrized_network_can_be_checked_and_looked_into(how: str) -> None:
    phi = symmetrize(vectors(), TURN, how, example=IMAGES)
    assert check_symmetry(phi, IMAGES, TURN).errors.overall < 1e-5
    assert verdicts(phi)["mean"] == "exactly invariant"


@pytest.mark.parametrize("action", [TURN, TORUS], ids=["square", "torus"])
@pytest.mark.parametrize("how", ["average", "canonical"])
def test_maps_that_move_with_the_image_are_read_as_maps(how: str, action: actions.Action) -> None:
    """Their channels stay, once the places have been moved back."""
    phi = symmetrize(maps(), action, how, action, example=IMAGES)
    found = ol.measure_network(phi, inputs=IMAGES, action=TURN, layers="mean", lie_inputs=0)
    assert found.table[0]["layout"] == "n c h w"
    assert found.table[0]["verdict"] == "exactly invariant"


def test_layers_of_a_canonical_network_are_in_the_frame_that_was_chosen() -> None:
    found = verdicts(symmetrize(vectors(), TURN, "canonical", example=IMAGES))
    assert {found[f"network.{i}"] for i in range(4)} == {"exactly invariant"}


def test_maps_of_a_canonical_network_are_measured_too() -> None:
    phi = symmetrize(maps(), TURN, "canonical", TURN, example=IMAGES)
    found = ol.measure_network(
        phi, inputs=IMAGES, action=TURN, layers=["network.0", "network.2"], lie_inputs=0
    )
    assert [row["layout"] for row in found.table] == ["n c h w"] * 2


def test_layers_that_see_several_views_say_where_to_look_instead() -> None:
    phi = symmetrize(vectors(), TURN)
    said = "'network' sees several views of each input: look into it by itself"
    skipped = ol.measure_network(phi, inputs=IMAGES, action=TURN, lie_inputs=0).skipped
    for layer in ("network", "network.0", "network.3"):
        assert said in skipped[layer]
    with pytest.raises(OrbitLensError, match=said):
        ol.harvest(phi, layer="network.1", inputs=IMAGES, action=TURN)
    with pytest.raises(OrbitLensError, match=said):
        ol.measure_network(phi, inputs=IMAGES, action=TURN, layers="network.1")
    assert set(verdicts(phi.network)) == {"0", "1", "2", "3"}


def test_the_network_that_sees_several_views_is_found_by_its_name() -> None:
    phi = nn.Sequential(nn.Identity(), symmetrize(vectors(), TURN))
    assert network_of_views(phi, "1.network.3") == network_of_views(phi, "1.network") == "1.network"
    assert network_of_views(phi, "1.mean") is network_of_views(phi, "0") is None
    one = symmetrize(vectors(), TURN, "canonical", example=IMAGES)
    assert network_of_views(one, "network.3") is None


def test_a_network_that_draws_views_needs_a_seed_for_each_input() -> None:
    x = torch.randn(50, 4, 3, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Tanh())
    phi = symmetrize(network, actions.relabelling(4, pairs=False), n_samples=3)
    action = actions.set_permutation("C4")
    with pytest.raises(OrbitLensError, match="alone and in a batch.*`seed_forward`"):
        ol.measure_network(phi, inputs=x, action=action, layers="mean")
    found = ol.measure_network(phi, inputs=x, action=action, layers="mean", seed_forward=0)
    assert [row["layer"] for row in found.table] == ["mean"]


# The annotations that tests check draw from Python's random numbers.
@pytest.mark.filterwarnings("ignore:the network. it draws random numbers")
def test_sets_that_are_put_back_in_order_are_read_as_sets() -> None:
    x = torch.randn(50, 4, 3, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 12), nn.Tanh(), nn.Unflatten(1, (4, 3)))
    action = actions.relabelling(4, pairs=False)
    phi = symmetrize(network, action, "canonical", action, example=x)
    swaps = actions.set_permutation("C4")
    found = ol.measure_network(phi, inputs=x, action=swaps, layers="mean")
    said = [(row["layout"], row["verdict"]) for row in found.table]
    assert said == [("n l c", "exactly invariant")]


def test_the_layers_of_a_group_autoencoder() -> None:
    model = GroupAutoencoder(PlaneGroup("p4", 4), channels=1, width=2)
    layers = ["encoder.0.layer", "to_invariant"]
    found = ol.measure_network(model, inputs=IMAGES, action=TURN, layers=layers, lie_inputs=0)
    said = ["exactly equivariant", "exactly invariant"]
    assert [row["verdict"] for row in found.table] == said
