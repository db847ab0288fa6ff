"""Plane groups: the laws of a group, how elements move pixels, and the finite group of each."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Int
from torch import Tensor

from orbitlens.actions import images
from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup, plane_group_with

NAMES = ("p1", "p2", "p4", "pm", "pmm", "p4m")
every_name = pytest.mark.parametrize("name", NAMES)
laws = settings(max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def drawn(name: str, side: int, seed: int) -> tuple[PlaneGroup, Int[Tensor, "3 3"]]:
    group = PlaneGroup(name, side)
    return group, group.random(3, torch.Generator().manual_seed(seed))


@every_name
@laws
@given(side=st.integers(1, 9), seed=seeds)
def test_the_product_is_associative(name: str, side: int, seed: int) -> None:
    group, (g, h, k) = drawn(name, side, seed)
    left = group.multiply(group.multiply(g, h), k)
    assert torch.equal(left, group.multiply(g, group.multiply(h, k)))


@every_name
@laws
@given(side=st.integers(1, 9), seed=seeds)
def test_identity_and_inverses_on_both_sides(name: str, side: int, seed: int) -> None:
    group, g = drawn(name, side, seed)
    identity = torch.zeros_like(g)
    assert torch.equal(group.multiply(g, identity), g)
    assert torch.equal(group.multiply(identity, g), g)
    assert torch.equal(group.multiply(g, group.inverse(g)), identity)
    assert torch.equal(group.multiply(group.inverse(g), g), identity)


@every_name
@laws
@given(side=st.integers(1, 9), seed=seeds)
def test_places_move_by_the_product(name: str, side: int, seed: int) -> None:
    group, g = drawn(name, side, seed)
    then, first = group.places(g), group.places(g.roll(1, 0))
    both = group.places(group.multiply(g, g.roll(1, 0)))
    assert torch.equal(then.gather(1, first), both)
    assert torch.equal(first.sort().values, torch.arange(side**2).expand(3, -1))


@every_name
def test_numbers_name_each_element_once_and_the_identity_first(name: str) -> None:
    group = PlaneGroup(name, 3)
    numbers = torch.arange(group.order)
    every = group.element(numbers)
    assert torch.equal(group.number(every), numbers)
    assert len(every.unique(dim=0)) == group.order
    assert every[0].tolist() == [0, 0, 0]


@every_name
def test_the_finite_group_has_the_same_products(name: str) -> None:
    group = PlaneGroup(name, 3)
    finite = group.to_group()
    assert finite.order == group.order
    generator = torch.Generator().manual_seed(0)
    g, h = torch.randint(group.order, (2, 30), generator=generator)
    products = group.number(group.multiply(group.element(g), group.element(h)))
    for left, right, product in zip(g.tolist(), h.tolist(), products.tolist(), strict=True):
        assert finite.multiply(left, right) == product


def test_a_quarter_turn_and_a_flip_by_hand() -> None:
    group = PlaneGroup("p4m", 8)
    turn, flip, shift = torch.tensor([[0, 0, 1], [0, 0, 4], [3, 1, 0]])
    # (3, 1) turns to (-1, 3), and flips to (-3, 1).
    assert group.multiply(turn, shift).tolist() == [7, 3, 1]
    assert group.multiply(flip, shift).tolist() == [5, 1, 4]
    assert group.multiply(shift, turn).tolist() == [3, 1, 1]
    assert [group.point_group.element_names[k] for k in (1, 4)] == ["r", "s"]


@every_name
@pytest.mark.parametrize("side", [4, 5])
def test_turns_of_images_about_their_centre_are_elements(name: str, side: int) -> None:
    group = PlaneGroup(name, side)
    action = images(group.point_group)
    assert action.grid is not None
    grid = torch.from_numpy(action.grid(side, side))
    everyone = group.places(group.element(torch.arange(group.order)))
    for k, places in enumerate(grid):
        found = (everyone == places).all(1).nonzero().flatten()
        assert group.element(found)[:, 2].tolist() == [k]


def test_elements_are_drawn_evenly_and_by_the_generator() -> None:
    group = PlaneGroup("pmm", 3)
    one, again = (group.random(3600, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, again)
    counts = group.number(one).bincount(minlength=group.order)
    assert 60 < counts.min() <= counts.max() < 145


def test_turns_and_flips_name_the_group() -> None:
    for turns, flips in itertools.product((1, 2, 4), (False, True)):
        group = plane_group_with(turns, flips, 4)
        assert (group.turns, group.flips) == (turns, flips)
        assert group.point_group.order == turns * (1 + flips)


def test_elements_at_the_door() -> None:
    group = PlaneGroup("p4", 4)
    one = group.as_elements("element", torch.tensor([1, 2, 3]), 2)
    assert one.tolist() == [[1, 2, 3], [1, 2, 3]]
    for wrong in ([[0, 0, 4]], [[4, 0, 0]], [[0, 0]], [[0, 0, -1]]):
        with pytest.raises(OrbitLensError, match="`element`: expected"):
            group.as_elements("element", wrong, 1)
    with pytest.raises(OrbitLensError, match=r"shape \[n = 3, element\]"):
        group.as_elements("element", [[0, 0, 0]], 3)


def test_impossible_plane_groups_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="expected one of p1, p2, .*received 'p3'"):
        PlaneGroup("p3", 8)
    with pytest.raises(OrbitLensError, match="`side`: expected .*at least 1, received 0"):
        PlaneGroup("p1", 0)
    with pytest.raises(OrbitLensError, match="at most 4096 elements, received 8192"):
        PlaneGroup("p4m", 32).to_group()
