"""Plane groups on images and on functions on the group: exact left actions."""

import json

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens.actions import check_is_action, move_on_plane, plane
from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup

NAMES = ("p1", "p2", "p4", "pm", "pmm", "p4m")
every_name = pytest.mark.parametrize("name", NAMES)


def noise(*shape: int) -> Float[Tensor, "..."]:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@every_name
@settings(max_examples=15)
@given(side=st.integers(1, 5), seed=st.integers(0, 99), regular=st.booleans())
def test_moving_is_a_left_action_with_an_element_for_each_input(
    name: str, side: int, seed: int, regular: bool
) -> None:
    group, generator = PlaneGroup(name, side), torch.Generator().manual_seed(seed)
    g, h = group.random(4, generator), group.random(4, generator)
    x = noise(4, 2 * group.point_group.order, side, side)
    once = move_on_plane(x, group.multiply(g, h), group, regular=regular)
    twice = move_on_plane(move_on_plane(x, h, group, regular=regular), g, group, regular=regular)
    assert torch.equal(once, twice)
    assert torch.equal(once.flatten(1).sort().values, x.flatten(1).sort().values)
    unmoved = torch.zeros_like(g)
    assert torch.equal(move_on_plane(x, unmoved, group, regular=regular), x)


@every_name
def test_the_finite_action_is_exact_and_moves_places_as_its_grid(name: str) -> None:
    action, x = plane(name, 3), noise(2, 3, 3, 3)
    check_is_action(action, x)
    assert action.grid is not None
    places = torch.from_numpy(action.grid(3, 3))
    for g in range(action.group.order):
        moved = torch.empty_like(x.flatten(2))
        moved[:, :, places[g]] = x.flatten(2)
        assert torch.equal(moved, action(x, g).flatten(2))
    assert json.loads(json.dumps(action.config)) == {"name": name, "side": 3}


def test_a_translation_rolls_and_a_turn_keeps_the_first_pixel() -> None:
    x = noise(1, 2, 5, 5)
    group = PlaneGroup("p4", 5)
    shifted = move_on_plane(x, torch.tensor([[2, 3, 0]]), group)
    assert torch.equal(shifted, x.roll((2, 3), (2, 3)))
    turned = move_on_plane(x, torch.tensor([[0, 0, 1]]), group)
    # A turn about the centre takes pixel (0, 0) to the last row, so one shift brings it back.
    assert torch.equal(turned, torch.rot90(x, 1, (-2, -1)).roll(1, 2))
    assert torch.equal(turned[..., 0, 0], x[..., 0, 0])


def test_functions_on_the_group_move_along_the_group_too() -> None:
    group = PlaneGroup("p4m", 4)
    x = noise(3, 16, 4, 4)
    g = group.random(3, torch.Generator().manual_seed(1))
    moved = move_on_plane(x, g, group, regular=True).unflatten(1, (2, 8))
    for n in range(3):
        for h in range(8):
            product = group.point_group.multiply(int(g[n, 2]), h)
            places = move_on_plane(x.unflatten(1, (2, 8))[n : n + 1, :, h], g[n : n + 1], group)
            assert torch.equal(moved[n : n + 1, :, product], places)


def test_integers_of_any_type_are_moved() -> None:
    x = torch.arange(9).to(torch.uint16).reshape(1, 1, 3, 3)
    moved = plane("p1", 3)(x, 1)
    assert moved.dtype == torch.uint16
    assert moved.int()[0, 0, 0].tolist() == [2, 0, 1]


def test_other_sizes_are_refused() -> None:
    action = plane("p1", 4)
    with pytest.raises(OrbitLensError, match=r"expected shape \[n, channels, 4, 4\]"):
        action(noise(1, 1, 4, 5), 0)
    assert action.grid is not None
    with pytest.raises(OrbitLensError, match="4 x 4 places, received 2 x 2; .*fixed stride"):
        action.grid(2, 2)


def test_an_empty_batch_moves_to_an_empty_batch() -> None:
    nobody = torch.zeros(0, 3, dtype=torch.int64)
    for regular in (False, True):
        moved = move_on_plane(noise(0, 4, 3, 3), nobody, PlaneGroup("p4", 3), regular=regular)
        assert moved.shape == (0, 4, 3, 3)


@pytest.mark.parametrize(
    ("shape", "elements", "regular", "message"),
    [
        ((1, 1, 4, 4), [[0.0, 0.0, 0.0]], False, "`elements`: expected whole numbers.* float32"),
        ((1, 1, 4, 4), [[0, 4, 0]], False, "`elements`: expected .*0..3, received .* 0..4"),
        ((1, 1, 4, 4), [[0, 0, 4]], False, "`elements`: expected .*0..3, received .* 0..4"),
        ((1, 1, 4, 4), [[0, -1, 0]], False, "`elements`: expected .*received .* -1..0"),
        ((2, 1, 4, 4), [[0, 0, 0]], False, r"`elements`: expected shape \[n = 2, element\]"),
        ((1, 1, 4, 5), [[0, 0, 0]], False, r"\[n, channels, 4, 4\], received \[1, 1, 4, 5\]"),
        ((1, 4, 4), [[0, 0, 0]], False, r"\[n, channels, 4, 4\], received \[1, 4, 4\]"),
        ((1, 3, 4, 4), [[0, 0, 0]], True, r"\[n, features \* 4, 4, 4\], received \[1, 3, 4, 4\]"),
    ],
)
def test_wrong_elements_and_inputs_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    elements: list[list[float]],
    regular: bool,
    message: str,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        move_on_plane(noise(*shape), torch.tensor(elements), PlaneGroup("p4", 4), regular=regular)


def test_inputs_that_are_no_tensor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`inputs`: expected an object Tensor, received list"):
        move_on_plane([[1]], torch.zeros(1, 3, dtype=torch.int64), PlaneGroup("p1", 1))
