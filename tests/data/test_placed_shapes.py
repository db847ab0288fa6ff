"""Placed images: shapes that do not depend on their poses, and poses that are group elements."""

import math

import numpy as np
import pytest
import torch

from orbitlens.actions import move_on_plane
from orbitlens.data import Inputs, placed, placed_shapes
from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup

SIDE = 32
GROUPS = ("p1", "p4", "p4m")


def test_three_kinds_equally_often_in_random_order() -> None:
    drawn = placed_shapes(20, seed=1)
    labels = drawn.inputs.labels
    assert drawn.inputs.class_names == ("ellipse", "rectangle", "triangle")
    assert drawn.inputs.values.shape == (20, 3, SIDE, SIDE)
    assert drawn.inputs.values.dtype == torch.float32
    assert labels is not None
    assert sorted(np.bincount(labels)) == [6, 7, 7]
    assert len(np.unique(np.diff(labels))) > 2


@pytest.mark.parametrize("group", GROUPS)
def test_every_image_is_the_same_shape_moved_by_its_pose(group: str) -> None:
    at_start = placed_shapes(30, group="p1", poses="quadrant", seed=2)
    moved = placed_shapes(30, group=group, seed=2)
    plane, shifts = PlaneGroup(group, SIDE), PlaneGroup("p1", SIDE)
    centred = move_on_plane(at_start.inputs.values, shifts.inverse(at_start.poses), shifts)
    assert torch.equal(move_on_plane(centred, moved.poses, plane), moved.inputs.values)


def test_the_pose_is_the_place_of_the_centre() -> None:
    drawn = placed_shapes(30, group="p4m", seed=3)
    triangle = torch.from_numpy(drawn.inputs.labels == 2)
    grey = drawn.inputs.values.sum(1)
    angles = 2 * math.pi * torch.arange(SIDE) / SIDE
    for axis, light in enumerate((grey.sum(2), grey.sum(1))):
        # The circular mean of the light, since the torus has no border.
        mean = torch.atan2((light * angles.sin()).sum(1), (light * angles.cos()).sum(1))
        gap = mean * SIDE / (2 * math.pi) - drawn.poses[:, axis]
        gap = ((gap + SIDE / 2) % SIDE - SIDE / 2).abs()
        assert gap[~triangle].max() < 1e-4
        # Pixels cut the corners of a triangle unequally.
        assert gap[triangle].max() < 1


def test_poses_of_a_quadrant_have_no_turn_and_all_poses_fill_the_group() -> None:
    near = placed_shapes(400, side=16, group="p4m", poses="quadrant", seed=0).poses
    assert near[:, :2].unique().tolist() == list(range(8))
    assert not near[:, 2].any()
    everywhere = placed_shapes(400, side=16, group="p4m", seed=0).poses
    assert everywhere[:, :2].unique().tolist() == list(range(16))
    assert everywhere[:, 2].unique().tolist() == list(range(8))


def test_the_areas_are_those_of_the_kinds() -> None:
    """Areas pi ab and 4 ab, with E[ab] = 0.65 E[a^2] and E[a^2] = 14.583; triangles are smaller."""
    drawn = placed_shapes(1500, seed=4)
    labels = drawn.inputs.labels
    assert labels is not None
    red = drawn.inputs.values[:, 0]
    areas = (red > red.amax((1, 2), keepdim=True) / 2).sum((1, 2)).double()
    ellipse, rectangle, triangle = (areas[labels == kind].mean().item() for kind in range(3))
    assert ellipse == pytest.approx(math.pi * 0.65 * 14.583, rel=0.05)
    assert rectangle == pytest.approx(4 * 0.65 * 14.583, rel=0.05)
    assert triangle < 0.6 * ellipse


def test_ellipses_and_rectangles_are_their_own_half_turns_and_triangles_are_not() -> None:
    drawn = placed_shapes(30, seed=5)
    plane, shifts = PlaneGroup("p4", SIDE), PlaneGroup("p1", SIDE)
    centred = move_on_plane(drawn.inputs.values, shifts.inverse(drawn.poses), shifts)
    turned = move_on_plane(centred, torch.tensor([[0, 0, 2]]).expand(30, 3), plane)
    gaps = (turned - centred).abs().amax((1, 2, 3)).numpy()
    triangle = drawn.inputs.labels == 2
    assert gaps[~triangle].max() < 1e-6
    assert gaps[triangle].min() > 0.1


def test_the_middle_of_an_image_lies_at_its_place() -> None:
    image = torch.zeros(2, 1, 3, 4)
    image[:, :, 1, 2] = 1
    found = placed(Inputs("dots", image), side=8, seed=0)
    assert found.inputs.name == "dots"
    assert [each[0].nonzero().tolist() for each in found.inputs.values] == [
        [pose[:2].tolist()] for pose in found.poses
    ]


def test_the_same_seed_gives_the_same_bits() -> None:
    first, again, other = (placed_shapes(9, group="p4", seed=seed) for seed in (1, 1, 2))
    assert first.inputs.digest == again.inputs.digest != other.inputs.digest
    assert torch.equal(first.poses, again.poses)


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"`n`"):
        placed_shapes(0)
    with pytest.raises(OrbitLensError, match=r"`side`: expected at least 16 pixels, received 8"):
        placed_shapes(5, side=8)
    with pytest.raises(OrbitLensError, match=r"`poses`.*any, quadrant.*'quarter'"):
        placed_shapes(5, poses="quarter")
    with pytest.raises(OrbitLensError, match=r"plane group.*'p3'"):
        placed_shapes(5, group="p3")
    with pytest.raises(OrbitLensError, match=r"`side`: expected at least 5 pixels"):
        placed(Inputs("large", torch.zeros(1, 1, 5, 2)), side=4)
    with pytest.raises(OrbitLensError, match=r"`inputs` of placed.*shape \(1, 4\)"):
        placed(Inputs("vectors", torch.zeros(1, 4)), side=4)
