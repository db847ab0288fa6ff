"""Theorems of a left action, for point clouds in the plane and in space."""

import json
import math

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens import groups
from orbitlens.actions import (
    Action,
    check_is_action,
    images,
    points,
    random_rotations,
    rotate_points,
    volumes,
)
from orbitlens.errors import OrbitLensError
from orbitlens.groups import octahedral, signed_axes

TETRAHEDRAL = groups.permutation_group([(1, 2, 0, 3), (1, 0, 3, 2)], "A4")


def tetrahedron() -> Float[np.ndarray, "12 3 3"]:
    """Turns of a tetrahedron, from the permutations of its corners."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    moved = groups.permutations(TETRAHEDRAL, [(1, 2, 0, 3), (1, 0, 3, 2)])
    return np.stack([corners[places].T @ corners / 4 for places in moved])


SPACE = [
    points("O"),
    points("Oh"),
    points("C5", axis="z"),
    points("C4", axis=(1, 1, 1), centred=True),
    points(TETRAHEDRAL, matrices=tetrahedron()),
    points("O", centred=True),
]
PLANE = [points("C4"), points("D4"), points("C7"), points("D3", centred=True), points("D1")]
every_action = pytest.mark.parametrize("action", [*PLANE, *SPACE], ids=repr)


def clouds(n: int = 3, amount: int = 6, columns: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, amount, columns, generator=torch.Generator().manual_seed(seed))


@every_action
def test_a_left_action_for_every_pair_of_elements(action: Action) -> None:
    x, group = clouds().double(), action.group
    orbit = action.orbit(x)
    assert action.exact
    assert torch.equal(orbit[:, 0], x)
    for g in range(group.order):
        moved = action.apply(orbit.flatten(0, 1), g).unflatten(0, orbit.shape[:2])
        right = orbit[:, group.table[g].tolist()]
        torch.testing.assert_close(moved, right, atol=1e-12, rtol=0)
    check_is_action(action, x.float())


@every_action
@settings(max_examples=20)
@given(seed=st.integers(0, 1000), g=st.integers(0), h=st.integers(0))
def test_products_hold_in_single_precision_far_from_the_origin(
    action: Action, seed: int, g: int, h: int
) -> None:
    x, order = 5 + clouds(seed=seed), action.group.order
    g, h = g % order, h % order
    once = action(x, action.group.multiply(g, h))
    torch.testing.assert_close(action(action(x, h), g), once, atol=2e-5, rtol=0)


@every_action
def test_lengths_and_other_columns_stay_and_points_keep_their_places(action: Action) -> None:
    x = clouds().double()
    d = 2 if action in PLANE else 3
    orbit = action.orbit(x)
    torch.testing.assert_close(orbit[..., d:], x[:, None, :, d:].expand_as(orbit[..., d:]))
    apart = torch.cdist(orbit[..., :d], orbit[..., :d])
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart))
    assert action.grid is not None
    assert (action.grid(1, 6) == np.arange(6)).all()


@settings(max_examples=30)
@given(
    values=st.lists(st.integers(-100, 100), min_size=12, max_size=12),
    name=st.sampled_from(["C4", "D2", "D4", "O", "Oh"]),
    dtype=st.sampled_from([torch.int8, torch.int64, torch.float16, torch.float32]),
)
def test_whole_numbers_move_without_rounding_by_matrices_of_signs(
    values: list[int], name: str, dtype: torch.dtype
) -> None:
    action, x = points(name), torch.tensor(values).reshape(1, 4, 3).to(dtype)
    group, orbit = action.group, action.orbit(x)
    assert orbit.dtype == dtype
    for g in range(group.order):
        assert torch.equal(action(orbit[0], g), orbit[0, group.table[g].tolist()])


def test_points_turn_as_the_pixels_of_images_and_the_voxels_of_volumes() -> None:
    picture = torch.zeros(1, 1, 5, 5)
    picture[0, 0, 0, 3] = picture[0, 0, 1, 1] = 1  # rows from top to bottom
    for name in ("C4", "D4"):
        for g in range(images(name).group.order):
            row, column = images(name)(picture, g)[0, 0].nonzero().T
            moved = points(name)(torch.tensor([[[1.0, 2.0], [-1.0, 1.0]]]), g)[0]
            found = torch.stack([column - 2, 2 - row], 1).float()
            assert sorted(moved.tolist()) == sorted(found.tolist())
    volume = torch.zeros(1, 1, 3, 3, 3)
    volume[0, 0, 2, 0, 1] = 1  # x = 0, y = 1, z = 1
    for g in range(24):
        depth, row, column = volumes("O")(volume, g)[0, 0].nonzero()[0].tolist()
        moved = points("O")(torch.tensor([[[0.0, 1.0, 1.0]]]), g)[0, 0].tolist()
        assert moved == [column - 1, 1 - row, depth - 1]


def test_a_quarter_turn_follows_the_right_hand_about_each_axis() -> None:
    eye = torch.eye(3)[None]
    ahead = {"x": [0, 2, 1], "y": [2, 1, 0], "z": [1, 0, 2]}
    for axis, goes in ahead.items():
        quarter = points("C4", axis=axis)(eye, 1)[0]
        assert quarter.abs().argmax(1).tolist() == goes
    assert points("C4", axis="Z")(eye, 1).tolist() == [[[0, 1, 0], [-1, 0, 0], [0, 0, 1]]]
    # The diagonal turns x to y, y to z and z to x.
    third = points("C3", axis=[2, 2, 2])(eye, 1)
    torch.testing.assert_close(third, torch.eye(3)[[1, 2, 0]][None], atol=1e-6, rtol=0)
    for g in range(8):
        flat, about = points("C8")(clouds(), g), points("C8", axis="z")(clouds(), g)
        torch.testing.assert_close(flat, about)
    about_z = octahedral().generators[0]
    assert np.array_equal(signed_axes()[about_z].T, points("C4", axis="z")(eye, 1)[0].numpy())


def test_a_centred_cloud_turns_about_its_centroid() -> None:
    x = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
    turned = points("C4", centred=True)(x, 1)
    torch.testing.assert_close(turned, torch.tensor([[[2.0, 4.0], [2.0, 6.0]]]))
    far, near = clouds(columns=3) + 40, clouds(columns=3)
    action = points("C5", axis="x", centred=True)
    torch.testing.assert_close(action(far, 2), action(near, 2) + 40, atol=1e-4, rtol=0)


def test_settings_are_json_and_build_the_action_again() -> None:
    for action in (points("C5", axis=(0, 3, 4), centred=True), SPACE[4], points("D4")):
        again = points(action.group, **json.loads(json.dumps(action.config)))
        assert torch.equal(again.orbit(clouds()), action.orbit(clouds()))


@pytest.mark.parametrize(
    ("group", "stated", "message"),
    [
        ("S4", {}, r"`group` of points: expected C_n, D_n, octahedral.*received S4;.*`matrices`"),
        ("D4", {"axis": "z"}, "expected C_n for turns about an axis, received D4"),
        ("O", {"axis": "z"}, "expected C_n for turns about an axis, received O"),
        ("C4", {"axis": "w"}, r'`axis` of points: expected "x", "y", "z".*received \'w\''),
        ("C4", {"axis": (0, 0, 0)}, r"`axis` of points.*received \(0, 0, 0\)"),
        ("C4", {"axis": (1, 0)}, r"`axis` of points.*received \(1, 0\)"),
        ("C4", {"axis": (1, 0, math.nan)}, "`axis`: expected finite numbers"),
        ("C4", {"centred": "yes"}, "`centred`: expected True or False"),
        ("C2", {"matrices": np.ones((3, 2, 2))}, r"one for each of the 2 elements of C2"),
        ("C2", {"matrices": np.ones((2, 2, 3))}, r"`matrices`: expected shape \[group, d, d\]"),
        ("C2", {"matrices": np.zeros((2, 2, 2))}, r"M\(e\) = I, received matrices that fail"),
        ("C2", {"matrices": [np.eye(2), 2 * np.eye(2)]}, r"fail for g = r \(1\), h = r \(1\)"),
        ("C2", {"matrices": [np.eye(2)] * 2, "axis": "x"}, "expected None beside `matrices`"),
        (4, {}, "`group`: expected a group"),
    ],
)
def test_settings_that_are_wrong_are_refused_in_a_line(
    group: str, stated: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message) as caught:
        points(group, **stated)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("action", "x", "message"),
    [
        (points("O"), torch.zeros(4, 3), r"received \[4, 3\]; give single points an axis"),
        (points("O"), torch.zeros(4, 3, 2), r"\[4, 3, 2\]; move the coordinates to the last axis"),
        (points("O"), torch.zeros(4, 2, 2), r"\[4, 2, 2\]; bring the axes into this order"),
        (points("C4"), torch.zeros(1, 2, 3, 2), r"first 2 columns.*received \[1, 2, 3, 2\]"),
        (points("O"), torch.zeros(4, 3, 100), r"coordinates on axis 1 as it seems.*transpose"),
        (points("C5"), torch.zeros(1, 9, 2).int(), r"torch.float64, received torch.int32.*float"),
        (points("C5"), torch.zeros(1, 9, 2).half(), r"torch.float32 or .*received torch.float16"),
        (points("C4", centred=True), torch.zeros(1, 9, 2).int(), "received torch.int32"),
        (points("C4"), torch.zeros(1, 9, 2).to(torch.uint8), "a type with signs, received .*uint8"),
        (points("C4"), torch.zeros(1, 9, 2).bool(), "a type with signs, received torch.bool"),
    ],
)
def test_what_is_no_point_cloud_is_refused(action: Action, x: Tensor, message: str) -> None:
    for use in (action.check, action.orbit, lambda x: action(x, 0)):
        with pytest.raises(OrbitLensError, match=message):
            use(x)


def test_random_rotations_are_rotations_and_uniform() -> None:
    found = random_rotations(4000, seed=1)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).double().expand(4000, 3, 3))
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(4000).double())
    # By the Haar measure the mean of R is 0, that of each squared entry 1/3, that of tr^2 is 1.
    assert found.mean(0).abs().max() < 0.04
    assert (found.square().mean(0) - 1 / 3).abs().max() < 0.03
    assert abs(found.diagonal(dim1=1, dim2=2).sum(1).square().mean() - 1) < 0.06
    assert torch.equal(found, random_rotations(4000, seed=1))
    assert not torch.equal(found, random_rotations(4000, seed=2))
    assert random_rotations(0).shape == (0, 3, 3)


def test_each_cloud_is_moved_by_its_own_matrix() -> None:
    x, turns = clouds(24), torch.from_numpy(signed_axes())
    moved = rotate_points(x, turns)
    for g in range(24):
        torch.testing.assert_close(moved[g : g + 1], points("O")(x[g : g + 1], g))
    centred = rotate_points(x + 7, turns, centred=True)
    for g in range(24):
        right = points("O", centred=True)(x[g : g + 1] + 7, g)
        torch.testing.assert_close(centred[g : g + 1], right)


@pytest.mark.parametrize(
    ("x", "turns", "message"),
    [
        (clouds(3), torch.eye(3)[None], "one for each of the 3 clouds, received 1"),
        (clouds(3), torch.zeros(3, 3, 2), r"`rotations`: expected shape \[n, d, d\]"),
        (clouds(1, columns=2), torch.eye(3)[None], "first 3 columns"),
        (clouds(1).int(), torch.eye(3)[None], "received torch.int32"),
    ],
)
def test_matrices_that_do_not_fit_the_clouds_are_refused(
    x: Tensor, turns: Tensor, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        rotate_points(x, turns)
