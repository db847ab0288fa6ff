"""Theorems of a left action, for turns and mirror images of volumes."""

import json

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

import orbitlens as ol
from orbitlens import groups
from orbitlens.actions import images, volumes
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, octahedral, signed_axes
from orbitlens.reps import Representation, multiplicities, regular

BOTH = [octahedral(), octahedral(inversion=True)]
both_groups = pytest.mark.parametrize("group", BOTH, ids=lambda group: group.name)


def noise(*shape: int) -> Float[Tensor, "..."]:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@both_groups
@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_left_action_for_every_pair_of_elements(group: Group, side: int) -> None:
    action, x = volumes(group), noise(2, 2, side, side, side)
    for g in range(group.order):
        for h in range(group.order):
            assert torch.equal(action(action(x, h), g), action(x, group.multiply(g, h)))
    assert action.exact
    assert action.error(x) == 0.0


@both_groups
def test_identity_and_inverse(group: Group) -> None:
    action, x = volumes(group), noise(2, 3, 3, 3, 3)
    assert torch.equal(action(x, 0), x)
    for g in range(group.order):
        assert torch.equal(action(action(x, g), int(group.inverses[g])), x)


@both_groups
def test_distinct_elements_move_differently_and_keep_every_value(group: Group) -> None:
    x = noise(2, 3, 4, 4, 4).double()
    orbit = volumes(group).orbit(x)
    assert orbit.shape == (2, group.order, 3, 4, 4, 4)
    assert orbit.dtype == torch.float64
    assert len({moved.numpy().tobytes() for moved in orbit[0]}) == group.order
    values = orbit.flatten(3).sort(-1).values
    assert torch.equal(values, values[:, :1].expand_as(values))


@both_groups
def test_voxels_go_where_the_matrices_take_their_places(group: Group) -> None:
    side = 3
    depth, height, width = np.indices((side, side, side)) - side // 2
    places = np.stack([width, -height, depth], axis=-1)
    x = noise(1, 1, side, side, side)
    matrices = signed_axes(inversion=group.order == 48)
    for g, matrix in enumerate(matrices):
        right, up, deep = np.moveaxis(places @ matrix.T, -1, 0) + side // 2
        moved = torch.empty_like(x)
        moved[0, 0, deep, side - 1 - up, right] = x[0, 0]
        assert torch.equal(volumes(group)(x, g), moved)


def test_a_quarter_turn_about_z_by_hand() -> None:
    about_z, about_x = octahedral().generators
    x = torch.tensor([[[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]])
    action = volumes(octahedral())
    assert action(x, about_z)[0, 0].tolist() == [[[2, 4], [1, 3]], [[6, 8], [5, 7]]]
    # y goes to z, z to -y: what is up goes deep, what is deep goes down.
    assert action(x, about_x)[0, 0].tolist() == [[[3, 4], [7, 8]], [[1, 2], [5, 6]]]


def test_turns_about_z_move_every_slice_as_images_are_turned() -> None:
    x = noise(2, 3, 4, 4, 4)
    slices = x.transpose(1, 2).flatten(0, 1)
    about_z = octahedral().generators[0]
    element = 0
    for turn in range(4):
        turned = images(groups.cyclic(4))(slices, turn).unflatten(0, (2, 4)).transpose(1, 2)
        assert torch.equal(volumes(octahedral())(x, element), turned)
        element = octahedral().multiply(about_z, element)


def test_inversion_reverses_all_three_axes_and_the_turns_come_first() -> None:
    whole, x = BOTH[1], noise(1, 2, 3, 3, 3)
    assert torch.equal(volumes(whole)(x, whole.generators[-1]), x.flip(2, 3, 4))
    assert torch.equal(volumes(whole).orbit(x)[:, :24], volumes(BOTH[0]).orbit(x))


@both_groups
def test_a_network_with_turned_kernels_has_the_regular_representation(group: Group) -> None:
    action = volumes(group)
    convolution = nn.Conv3d(1, group.order, 3, padding=1, bias=False)
    convolution.weight.data = action.orbit(noise(1, 1, 3, 3, 3))[0]
    pooled = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    inputs = torch.randn(40, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    store = ol.harvest(pooled, layer="3", inputs=inputs, action=action)
    rho = ol.fit_transport(store, method="exact")
    assert rho.identity_r2 < 0.9 < 0.999999 < rho.r2
    found = Representation(group, rho.matrices.double(), "found")
    assert multiplicities(found) == multiplicities(regular(group))


@both_groups
def test_places_move_as_voxels_do(group: Group) -> None:
    action, maps = volumes(group), noise(1, 1, 3, 3, 3)
    assert action.grid is not None
    places = action.grid(3, 3, 3)
    for element in range(group.order):
        moved = action(maps, element).flatten()
        assert torch.equal(moved[places[element]], maps.flatten())
    assert json.loads(json.dumps(action.config)) == {}
    with pytest.raises(OrbitLensError, match="feature maps under the octahedral.*3 x 3 x 2"):
        action.grid(3, 3, 2)


def test_channels_last_are_seen_and_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"channels last.*volumes.permute\(0, 4, 1, 2, 3\)"):
        volumes(octahedral())(noise(2, 6, 6, 6, 3), 1)


@pytest.mark.parametrize("name", ["C4", "D4", "S4", "D12", "C2xO"])
def test_a_group_that_is_not_octahedral_is_rejected(name: str) -> None:
    with pytest.raises(OrbitLensError, match=rf"octahedral\(inversion=True\).*received {name};"):
        volumes(groups.from_name(name))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4, 4, 4), r"received \[2, 4, 4, 4\]; .*volumes\[:, None\]"),
        ((2, 1, 4, 4, 6), "depth = height = width, received 4 x 4 x 6; crop or resize"),
        ((2, 1, 5, 4, 4), "received 5 x 4 x 4"),
    ],
)
def test_what_is_no_cube_is_rejected(shape: tuple[int, ...], message: str) -> None:
    action = volumes(octahedral())
    for use in (action.check, action.orbit, lambda x: action(x, 0)):
        with pytest.raises(OrbitLensError, match=message):
            use(torch.zeros(shape))
