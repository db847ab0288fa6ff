"""An action is an action, and one of its group, before it moves anything."""

import math
from collections.abc import Callable
from dataclasses import replace

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens.actions import (
    Action,
    check_action,
    check_is_action,
    cyclic_shift,
    images,
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
        ("C4", "'C4'", "from_name"),
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
