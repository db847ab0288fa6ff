"""An action is an action, and one of its group, before it moves anything."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from orbitlens.actions import (
    Action,
    check_action,
    check_is_action,
    cyclic_shift,
    images,
    places_moved,
    reverse_complement,
    set_permutation,
    volumes,
)
from orbitlens.actions.images import _turn
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import cyclic, dihedral, from_name

PICTURES = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
D4, C8 = images(dihedral(4)), images(cyclic(8), "bilinear")


@pytest.mark.parametrize(
    ("other", "received", "remedy"),
    [
        (cyclic(4), "the group C4", "orbitlens.actions.images(group)"),
        ("D4", "'D4'", "give for example orbitlens.actions.images('D4')"),
        ("S4", "'S4'", "orbitlens.actions.graphs('S4')"),
        ("Oh", "'Oh'", "orbitlens.actions.volumes('Oh')"),
        ("p4m", "'p4m'", "orbitlens.actions.plane('p4m', side=32)"),
        ("SO3", "'SO3'", "see `orbitlens.actions`"),
        (reverse_complement, "function", "call the function"),
        (None, "NoneType", "see `orbitlens.actions`"),
    ],
)
def test_what_is_no_action_is_refused_with_what_to_give(
    other: object, received: str, remedy: str
) -> None:
    with pytest.raises(OrbitLensError) as caught:
        check_action(other)
    assert f"expected an Action, received {received}" in str(caught.value)
    assert remedy in str(caught.value)
    assert check_action(D4) is D4


def test_actions_pass_exact_and_interpolated() -> None:
    for action in (D4, C8, images(dihedral(8), "bilinear"), images(cyclic(1))):
        check_is_action(action, PICTURES)
    check_is_action(reverse_complement(), torch.eye(4)[None])


def inverse(x: Tensor, g: int) -> Tensor:
    return D4.apply(x, int(D4.group.inverses[g]))


def in_place(x: Tensor, g: int) -> Tensor:
    return x.copy_(D4.apply(x, g).clone())


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (inverse, r"a left action, g\(hx\) = \(gh\)x"),
        (lambda x, g: D4.apply(x, g) + 0.1 * g, "differs from"),
        (lambda x, g: D4.apply(x, (g + 1) % 8), "the identity, leaves as they are"),
        (lambda x, g: D4.apply(x, g).double(), "in torch.float64"),
        (lambda x, g: D4.apply(x, g)[..., 1:], r"\[2, 1, 16, 15\]"),
        (lambda x, g: D4.apply(x, g).numpy(), "ndarray"),
        (in_place, "it writes into them"),
    ],
)
def test_what_is_no_left_action_is_refused(
    apply: Callable[[Tensor, int], Tensor], message: str
) -> None:
    before = PICTURES.clone()
    with pytest.raises(OrbitLensError, match=message):
        check_is_action(replace(D4, apply=apply), PICTURES)
    assert torch.equal(PICTURES, before)


def test_an_interpolated_action_is_warned_of_where_interpolation_cannot_be_the_reason() -> None:
    def by_too_little(x: Tensor, g: int) -> Tensor:
        return _turn(x, 0.7 * 2 * math.pi * g / 8)

    with pytest.warns(OrbitLensWarning, match="correct `apply`"):
        check_is_action(replace(C8, apply=by_too_little), PICTURES)


def test_signs_that_calculate_are_within_rounding() -> None:
    group = cyclic(2)
    sign = Action("sign", group, apply=lambda x, g: -x if g else x, check=lambda x: None)
    check_is_action(sign, torch.randn(3, 5))
    check_is_action(sign, torch.zeros(3, 5))


@pytest.mark.parametrize(
    ("build", "name"),
    [(images, "C4"), (volumes, "O"), (cyclic_shift, "C3"), (set_permutation, "D3")],
)
def test_a_group_is_given_as_such_or_by_its_name(
    build: Callable[[object], Action], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(name).group == build(from_name(name)).group
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match='`group`: expected a group, or its name such as "C4"'):
        build(4)


def test_an_action_of_ones_own_takes_the_name_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    action = Action("mine", "C4", apply=D4.apply, check=lambda x: None)  # type: ignore[arg-type]
    assert action.group == cyclic(4)


@pytest.mark.parametrize("element", ["r", -1, 8, 1.5])
def test_an_element_that_does_not_exist_is_refused(
    element: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="an element of D4, 0 to 7, received"):
        D4(PICTURES, element)  # type: ignore[arg-type]


def test_only_tensors_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for move in (lambda x: D4(x, 1), D4.orbit):
        with pytest.raises(OrbitLensError, match="expected a tensor, received ndarray"):
            move(PICTURES.numpy())


def mine(apply: Callable[[Tensor, int], Tensor], group: str = "C4", **kept: Any) -> Action:
    return Action("mine", from_name(group), apply=apply, check=lambda x: None, **kept)


@pytest.mark.parametrize("bad", range(1, 12))
def test_every_element_of_an_action_of_ones_own_is_tried(bad: int) -> None:
    x = torch.rand(2, 12, generator=torch.Generator().manual_seed(0))
    check_is_action(mine(lambda x, g: x.roll(g, -1), "C12"), x)
    with pytest.raises(OrbitLensError, match=r"'mine' of C12: expected a left action"):
        check_is_action(mine(lambda x, g: x.roll(g + (g == bad), -1), "C12"), x)


def quarter(x: Tensor, g: int) -> Tensor:
    return torch.rot90(x, g, (-2, -1))


def test_an_input_moves_in_a_batch_as_it_moves_alone() -> None:
    for apply in (
        lambda x, g: torch.cat([quarter(x[:3], g), x[3:]]),
        lambda x, g: quarter(x, g) if len(x) < 3 else x,
    ):
        with pytest.raises(OrbitLensError, match="moves in a batch as it moves alone"):
            check_is_action(mine(apply), PICTURES)
    check_is_action(mine(quarter), PICTURES)


def half_turn(x: Tensor, g: int) -> Tensor:
    return x.flip(-1, -2) if g else x


def mirrored(height: int, width: int) -> np.ndarray:
    return places_moved(lambda x, g: x.flip(-1) if g else x, 2, height, width)


def rolled(height: int, width: int) -> np.ndarray:
    return places_moved(lambda x, g: x.roll(2 * g, -1), 4, height, width)


GRID = images("C4").grid


@pytest.mark.parametrize(
    ("right", "wrong", "group", "grid", "shape"),
    [
        (quarter, lambda x, g: quarter(x, -g), "C4", GRID, (2, 3, 6, 6)),
        (quarter, lambda x, g: quarter(x, -g), "C4", GRID, (2, 6, 6)),
        (
            lambda x, g: torch.rot90(x, g, (1, 2)),
            lambda x, g: torch.rot90(x, -g, (1, 2)),
            "C4",
            GRID,
            (2, 6, 6, 3),
        ),
        (lambda x, g: x.flip(-1) if g else x, half_turn, "C2", mirrored, (2, 3, 4, 6)),
        (half_turn, lambda x, g: x.flip(-2) if g else x, "C2", images("C2").grid, (2, 3, 4, 6)),
        (lambda x, g: x.roll(2 * g, -1), lambda x, g: x.roll(-2 * g, -1), "C4", rolled, (2, 3, 8)),
        (lambda x, g: x.roll(2 * g, 1), lambda x, g: x.roll(-2 * g, 1), "C4", rolled, (2, 8, 3)),
        (
            lambda x, g: x.flip(1, 2) if g else x,
            lambda x, g: x.flip(1) if g else x,
            "C2",
            images("C2").grid,
            (2, 4, 6, 3),
        ),
    ],
    ids=["images", "grey", "channels last", "a flip", "a half turn", "a circle", "a set", "last"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_a_grid_moves_places_as_its_action_does(
    right: Callable[[Tensor, int], Tensor],
    wrong: Callable[[Tensor, int], Tensor],
    group: str,
    grid: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> None:
    x = (200 * torch.rand(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    check_is_action(mine(right, group, grid=grid), x)
    with pytest.raises(OrbitLensError, match="`grid` of action 'mine'"):
        check_is_action(mine(wrong, group, grid=grid), x)


def test_a_grid_of_fields_whose_values_turn_too_is_taken() -> None:
    def turned(x: Tensor, g: int) -> Tensor:
        for _ in range(g):
            x = torch.stack([-x[:, 1], x[:, 0]], 1).rot90(1, (-2, -1))
        return x.clone()

    check_is_action(mine(turned, grid=GRID), torch.randn(2, 2, 6, 6))


def test_an_action_that_fails_is_named() -> None:
    def fails(x: Tensor, g: int) -> Tensor:
        return x[5000]

    for attempt in (
        lambda: check_is_action(mine(fails), PICTURES),
        lambda: mine(fails)(PICTURES, 1),
        lambda: mine(fails).orbit(PICTURES),
    ):
        with pytest.raises(OrbitLensError, match=r"action 'mine' of C4 on .* IndexError: index"):
            attempt()


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
@pytest.mark.parametrize(
    ("action", "shape"),
    [
        (images("D4"), (2, 1, 4, 4)),
        (volumes("O"), (2, 1, 3, 3, 3)),
        (reverse_complement(), (2, 4, 5)),
        (cyclic_shift("C3"), (2, 6)),
        (set_permutation("D3"), (2, 3, 2)),
    ],
    ids=lambda each: each.name if isinstance(each, Action) else "",
)
def test_unsigned_integers_move_as_others_do(
    action: Action, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    highest = torch.iinfo(dtype).max - math.prod(shape)
    x = torch.from_numpy((np.arange(math.prod(shape), dtype=np.uint64) + highest).reshape(shape))
    check_is_action(action, x.to(dtype))
    moved = action.orbit(x.to(dtype))
    assert moved.dtype == dtype
    expected = action.orbit(torch.arange(math.prod(shape)).reshape(shape)).numpy()
    assert (moved.numpy().astype(np.uint64) - np.uint64(highest) == expected).all()
