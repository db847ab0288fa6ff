"""Theorems of a left action, for turns and flips of images."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens import groups
from orbitlens.actions import Action, images, places_moved
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group

EXACT = [groups.from_name(name) for name in ("C1", "C2", "C4", "D1", "D2", "D4")]
ANY_SIZE = [groups.from_name(name) for name in ("C1", "C2", "D1", "D2")]
INTERPOLATED = [groups.from_name(name) for name in ("C8", "D6", "C3", "D8")]
# On smooth images that vanish near the border, sampling twice loses at most this share of them.
BILINEAR_TOLERANCE = 0.06

every_exact_group = pytest.mark.parametrize("group", EXACT, ids=lambda group: group.name)
every_interpolated_group = pytest.mark.parametrize(
    "group", INTERPOLATED, ids=lambda group: group.name
)


def noise(*shape: int) -> Float[Tensor, "..."]:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def smooth_image(side: int = 64) -> Float[Tensor, "1 1 side side"]:
    """Two Gaussian blobs of unequal size, off centre: no symmetry of the square keeps them."""
    along = torch.linspace(-1, 1, side)
    y, x = along[:, None], along[None, :]
    blobs = torch.exp(-((x - 0.3) ** 2 + (y - 0.1) ** 2) / 0.03)
    blobs = blobs + 0.5 * torch.exp(-((x + 0.2) ** 2 + (y + 0.35) ** 2) / 0.02)
    return blobs[None, None]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float(torch.dist(actual, expected) / expected.norm())


sizes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7))


@every_exact_group
@settings(max_examples=15, deadline=None)
@given(shape=sizes)
def test_exact_action_is_a_homomorphism(group: Group, shape: tuple[int, int, int]) -> None:
    n, channels, side = shape
    action, x = images(group), noise(n, channels, side, side)
    for g in range(group.order):
        for h in range(group.order):
            assert torch.equal(action(action(x, h), g), action(x, group.multiply(g, h)))
    assert action.error(x) == 0.0


@every_exact_group
def test_identity_and_inverse(group: Group) -> None:
    action, x = images(group), noise(2, 3, 5, 5)
    assert torch.equal(action(x, 0), x)
    for g in range(group.order):
        assert torch.equal(action(action(x, g), int(group.inverses[g])), x)


@every_exact_group
def test_orbit_holds_every_moved_input_and_distinct_elements_move_differently(group: Group) -> None:
    action, x = images(group), noise(2, 3, 5, 5)
    orbit = action.orbit(x)
    assert orbit.shape == (2, group.order, 3, 5, 5)
    for g in range(group.order):
        assert torch.equal(orbit[:, g], action(x, g))
        for h in range(g):
            assert not torch.equal(orbit[:, g], orbit[:, h])


@every_exact_group
def test_moving_keeps_every_pixel_value_and_the_dtype(group: Group) -> None:
    action, x = images(group), noise(2, 3, 5, 5).double()
    for g in range(group.order):
        moved = action(x, g)
        assert moved.dtype == torch.float64
        assert torch.equal(moved.flatten(2).sort(-1).values, x.flatten(2).sort(-1).values)


@every_exact_group
@settings(max_examples=10, deadline=None)
@given(side=st.integers(1, 6))
def test_grid_agrees_with_apply(group: Group, side: int) -> None:
    action, x = images(group), noise(2, 3, side, side)
    assert action.grid is not None
    places = action.grid(side, side)
    for g in range(group.order):
        moved = torch.empty_like(x.flatten(2))
        moved[:, :, torch.from_numpy(places[g])] = x.flatten(2)
        assert torch.equal(moved, action(x, g).flatten(2))


@every_exact_group
def test_grid_is_a_homomorphism_of_permutations(group: Group) -> None:
    grid = images(group).grid
    assert grid is not None
    places = grid(3, 3)
    for g in range(group.order):
        for h in range(group.order):
            assert (places[g][places[h]] == places[group.multiply(g, h)]).all()


@pytest.mark.parametrize("group", ANY_SIZE, ids=lambda group: group.name)
def test_half_turns_and_flips_work_on_any_size(group: Group) -> None:
    action, x = images(group), noise(2, 1, 3, 5)
    assert action.error(x) == 0.0
    assert action.grid is not None
    assert action.grid(3, 5).shape == (group.order, 15)


def test_elements_of_d4_by_hand() -> None:
    x = torch.tensor([[[[1, 2], [3, 4]]]])
    action = images(groups.dihedral(4))
    moved = [action(x, g)[0, 0].tolist() for g in range(8)]
    assert moved == [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
        [[3, 4], [1, 2]],
        [[4, 2], [3, 1]],
        [[2, 1], [4, 3]],
        [[1, 3], [2, 4]],
    ]


def test_grid_by_hand_the_top_left_place_turns_to_the_bottom_left() -> None:
    grid = images(groups.cyclic(4)).grid
    assert grid is not None
    assert grid(2, 2)[1].tolist() == [2, 0, 3, 1]


def test_groups_of_order_two_are_told_apart_by_name() -> None:
    x = noise(1, 1, 4, 4)
    assert torch.equal(images(groups.cyclic(2))(x, 1), x.flip(-1, -2))
    assert torch.equal(images(groups.dihedral(1))(x, 1), x.flip(-2))


@every_interpolated_group
def test_interpolated_action_is_nearly_a_homomorphism_on_smooth_images(group: Group) -> None:
    action, x = images(group, interpolation="bilinear"), smooth_image()
    assert not action.exact
    assert 0 < action.error(x) < BILINEAR_TOLERANCE
    assert torch.equal(action(x, 0), x)
    for g in range(group.order):
        assert relative_error(action(action(x, g), int(group.inverses[g])), x) < BILINEAR_TOLERANCE


@every_interpolated_group
def test_interpolation_nearly_keeps_the_norm_of_smooth_images(group: Group) -> None:
    x = smooth_image()
    norms = images(group, interpolation="bilinear").orbit(x).flatten(2).norm(dim=-1) / x.norm()
    assert (norms - 1).abs().max() < BILINEAR_TOLERANCE


def test_elements_of_an_interpolated_group_at_right_angles_are_exact() -> None:
    x = noise(2, 1, 9, 9)
    quarter, eighth = images(groups.dihedral(4)), images(groups.dihedral(8), "bilinear")
    for q in (0, 1):
        for p in range(4):
            assert torch.equal(eighth(x, 2 * p + 8 * q), quarter(x, p + 4 * q))


def test_an_eighth_turn_moves_a_blob_counter_clockwise() -> None:
    side, radius = 65, 20
    middle = side // 2
    x = torch.zeros(1, 1, side, side)
    x[..., middle - 1 : middle + 2, middle + radius - 1 : middle + radius + 2] = 1
    moved = images(groups.cyclic(8), interpolation="bilinear")(x, 1)[0, 0]
    row, column = divmod(int(moved.argmax()), side)
    shift = radius / math.sqrt(2)
    assert abs(row - (middle - shift)) < 1.5
    assert abs(column - (middle + shift)) < 1.5


def test_the_error_of_interpolation_grows_with_the_roughness_of_images() -> None:
    action = images(groups.cyclic(8), interpolation="bilinear")
    assert action.error(noise(1, 1, 64, 64)) > 5 * action.error(smooth_image())
    assert action.error(torch.zeros(1, 1, 8, 8)) == 0.0


def test_config_rebuilds_the_action_and_is_json() -> None:
    for group in (groups.cyclic(4), groups.cyclic(8)):
        action = images(group, interpolation="bilinear")
        again = images(group, **json.loads(json.dumps(action.config)))
        assert torch.equal(again.orbit(smooth_image(16)), action.orbit(smooth_image(16)))
    assert images(groups.cyclic(4), interpolation="bilinear").config == {"interpolation": None}


def test_a_group_that_needs_interpolation_says_so() -> None:
    with pytest.raises(OrbitLensError, match=r"C1, C2, C4, D1, D2, D4.*--interpolation bilinear"):
        images(groups.cyclic(8))


def test_an_unknown_interpolation_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="did you mean 'bilinear'"):
        images(groups.cyclic(8), interpolation="bilinaer")


@pytest.mark.parametrize("name", ["C2xC4", "C2xD3", "C2xC3"])
def test_a_group_of_another_family_is_rejected(name: str) -> None:
    with pytest.raises(OrbitLensError, match=f"received {name}; choose"):
        images(groups.from_name(name), interpolation="bilinear")


def test_a_group_of_order_two_with_another_name_is_ambiguous() -> None:
    with pytest.raises(OrbitLensError, match="received C1xC2"):
        images(groups.from_name("C1xC2"))


@pytest.mark.parametrize(
    "action",
    [images(groups.cyclic(4)), images(groups.dihedral(4)), images(groups.cyclic(3), "bilinear")],
    ids=lambda action: action.group.name,
)
def test_quarter_turns_and_interpolation_need_squares(action: Action) -> None:
    x = noise(1, 1, 4, 6)
    for use in (action.check, action.orbit, action.error, lambda x: action(x, 0)):
        with pytest.raises(OrbitLensError, match=r"received 4 x 6; crop or resize"):
            use(x)


def test_grid_of_quarter_turns_needs_a_square_map() -> None:
    grid = images(groups.cyclic(4)).grid
    assert grid is not None
    with pytest.raises(OrbitLensError, match="received 2 x 3"):
        grid(2, 3)
    assert images(groups.cyclic(8), interpolation="bilinear").grid is None


def test_images_without_a_channel_axis_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match=r"received \[3, 8, 8\].*images\[:, None\]"):
        images(groups.cyclic(4))(torch.zeros(3, 8, 8), 1)


def test_interpolation_rejects_integers() -> None:
    action = images(groups.cyclic(8), interpolation="bilinear")
    with pytest.raises(OrbitLensError, match=r"received torch.uint8"):
        action(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 1)


@pytest.mark.parametrize("element", [-1, 4])
def test_an_element_outside_the_group_is_rejected(element: int) -> None:
    with pytest.raises(OrbitLensError, match=f"0 to 3, received {element}"):
        images(groups.cyclic(4))(torch.zeros(1, 1, 8, 8), element)


def test_places_move_as_the_entries_of_a_map() -> None:
    places = places_moved(lambda maps, g: maps.roll(g, -1), 3, 1, 3)
    assert places.tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("group", [groups.cyclic(2), groups.cyclic(4)], ids=str)
def test_pictures_with_channels_last_are_refused(group: Group, channels: int) -> None:
    with pytest.raises(OrbitLensError, match=r"channels last.*images.permute\(0, 3, 1, 2\)"):
        images(group)(torch.zeros(2, 16, 16, channels), 1)
