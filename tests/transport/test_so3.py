"""All rotations of space, from turns about two axes."""

import math

import jaxtyping
import pytest
import torch
from torch import Tensor

import orbitlens as ol
from orbitlens.actions import points, random_rotations, rotate_points
from orbitlens.errors import OrbitLensError
from orbitlens.transport import Transport, so3_r2
from orbitlens.transport.so3 import _euler_angles

CLOUDS = torch.randn(600, 6, 3, generator=torch.Generator().manual_seed(0))


def moments(clouds: Tensor) -> Tensor:
    """Features of spin 1 and of spins 0 and 2: the mean of p and of all products of its entries."""
    products = (clouds[..., :, None] * clouds[..., None, :]).flatten(-2)
    return torch.cat([clouds.mean(-2), products.mean(-2)], -1)


def cubes(clouds: Tensor) -> Tensor:
    """Features that only turns about z move among themselves: x, y and the cube of z."""
    return torch.cat([clouds[..., :2], clouds[..., 2:] ** 3], -1).mean(-2)


def fitted(features, axis: str, group: str = "C8", method: str = "lie") -> Transport:
    orbits = points(group, axis=axis).orbit(CLOUDS[:400])
    store = ol.store_from_array(features(orbits), group=group)
    return ol.fit_transport(store, method)


def test_generators_about_two_axes_predict_every_rotation_of_moments() -> None:
    rotations = random_rotations(200)
    moved = rotate_points(CLOUDS[400:], rotations)
    pair = fitted(moments, "z"), fitted(moments, "x")
    assert so3_r2(*pair, moments(CLOUDS[400:]), moments(moved), rotations) > 0.9999
    # The inverses are other rotations.
    assert so3_r2(*pair, moments(CLOUDS[400:]), moments(moved), rotations.mT) < 0.5


def test_vectors_at_points_are_predicted_point_by_point() -> None:
    rotations = random_rotations(200)
    moved = rotate_points(CLOUDS[400:], rotations)
    orbits = {axis: points("C8", axis=axis).orbit(CLOUDS[:400]) for axis in "zx"}
    pair = [
        ol.fit_transport(ol.store_from_array(each.mean(2), group="C8"), "lie")
        for each in orbits.values()
    ]
    assert so3_r2(*pair, CLOUDS[400:], moved, rotations) > 0.9999


def test_features_that_turn_about_one_axis_only_are_found_out() -> None:
    rotations = random_rotations(200)
    moved = rotate_points(CLOUDS[400:], rotations)
    about_z, about_x = fitted(cubes, "z"), fitted(cubes, "x")
    assert about_z.r2 > 0.999
    assert so3_r2(about_z, about_x, cubes(CLOUDS[400:]), cubes(moved), rotations) < 0.9


def test_angles_of_euler_build_the_rotation_again() -> None:
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    over = torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))
    special = torch.stack([torch.eye(3).double(), quarter, over, quarter @ over])
    rotations = torch.cat([special, random_rotations(20)])
    about_z = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.float64)
    about_x = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    a, b, c = (angle[:, None, None] for angle in _euler_angles(rotations))
    made = torch.linalg.matrix_exp(a * about_z) @ torch.linalg.matrix_exp(b * about_x)
    made = made @ torch.linalg.matrix_exp(c * about_z)
    torch.testing.assert_close(made, rotations, atol=1e-9, rtol=0)


def test_constant_activations_have_no_r2() -> None:
    pair, rotations = (fitted(moments, "z"), fitted(moments, "x")), random_rotations(2)
    assert math.isnan(so3_r2(*pair, torch.ones(2, 12), torch.ones(2, 12), rotations))


def test_what_does_not_fit_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    pair, x = (fitted(moments, "z"), fitted(moments, "x")), torch.randn(2, 12)
    rotations, exact = random_rotations(2), fitted(moments, "z", method="exact")
    wrong = [
        ((pair[0], exact, x, x, rotations), "`about_x`.*a generator, received one fitted by exact"),
        ((None, pair[1], x, x, rotations), "`about_z`: expected an object Transport"),
        ((*pair, x[:, :5], x, rotations), r"`still`: expected shape .*dim = 12"),
        ((*pair, x, x, rotations[:1]), r"received \[2, 12\], \[2, 12\] and \[1, 3, 3\]"),
        ((*pair, x, x[:1], rotations), r"received \[2, 12\], \[1, 12\]"),
        ((*pair, x[:0], x[:0], rotations[:0]), r"at least one input, received \[0, 12\]"),
        ((*pair, x, x, -rotations), r"R R\^T = I and determinant 1"),
        ((*pair, x, x, 2 * rotations), r"R R\^T = I and determinant 1"),
        ((*pair, x, x, rotations[:, :2, :2]), "`rotations`: expected shape .*d = 3"),
    ]
    for arguments, message in wrong:
        with pytest.raises(OrbitLensError, match=message) as caught:
            so3_r2(*arguments)
        assert "\n" not in str(caught.value)
