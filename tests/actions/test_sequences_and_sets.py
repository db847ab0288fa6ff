"""Theorems of a left action, for sequences and sets."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens import groups
from orbitlens.actions import Action, cyclic_shift, reverse_complement, set_permutation
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group


def regular_permutations(group: Group) -> Int[np.ndarray, "group element"]:
    """Any group permutes its own elements by left multiplication."""
    return group.table.copy()


KLEIN_TIMES_S3 = groups.product(groups.cyclic(2), groups.dihedral(3))
# Each action with the shape of one input that it can move.
ACTIONS = [
    (reverse_complement(), (4, 7)),
    (cyclic_shift(groups.cyclic(1)), (5,)),
    (cyclic_shift(groups.cyclic(3)), (2, 9)),
    (cyclic_shift(groups.cyclic(4)), (1, 2, 8)),
    (set_permutation(groups.cyclic(5)), (5, 2)),
    (set_permutation(groups.dihedral(5)), (5,)),
    (set_permutation(groups.dihedral(2)), (2, 3)),
    (
        set_permutation(KLEIN_TIMES_S3, regular_permutations(KLEIN_TIMES_S3)),
        (KLEIN_TIMES_S3.order, 2),
    ),
]
every_action = pytest.mark.parametrize(
    ("action", "shape"), ACTIONS, ids=lambda value: getattr(value, "name", None)
)


def noise(*shape: int) -> Float[Tensor, "..."]:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@every_action
def test_homomorphism_identity_inverse_and_orbit(action: Action, shape: tuple[int, ...]) -> None:
    x, group = noise(3, *shape), action.group
    orbit = action.orbit(x)
    assert action.exact
    assert action.error(x) == 0.0
    assert torch.equal(action(x, 0), x)
    for g in range(group.order):
        assert torch.equal(orbit[:, g], action(x, g))
        assert torch.equal(action(action(x, g), int(group.inverses[g])), x)
        for h in range(group.order):
            assert torch.equal(action(action(x, h), g), action(x, group.multiply(g, h)))


@every_action
def test_moving_only_rearranges_values(action: Action, shape: tuple[int, ...]) -> None:
    x = noise(3, *shape)
    for g in range(action.group.order):
        assert torch.equal(action(x, g).flatten(1).sort().values, x.flatten(1).sort().values)


@every_action
def test_moving_one_input_leaves_the_others_alone(action: Action, shape: tuple[int, ...]) -> None:
    x = noise(3, *shape)
    assert torch.equal(action.orbit(x)[1:2], action.orbit(x[1:2]))


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 6), windows=st.integers(1, 5), rows=st.integers(1, 3))
def test_grid_of_a_cyclic_shift_agrees_with_apply(n: int, windows: int, rows: int) -> None:
    action, x = cyclic_shift(groups.cyclic(n)), noise(2, 1, rows, n * windows)
    assert action.grid is not None
    places = action.grid(rows, n * windows)
    for g in range(n):
        moved = torch.empty_like(x.flatten(1))
        moved[:, torch.from_numpy(places[g])] = x.flatten(1)
        assert torch.equal(moved, action(x, g).flatten(1))


def test_grid_of_reverse_complement_reverses_places_and_leaves_letters_to_the_channels() -> None:
    action = reverse_complement()
    one_hot = torch.eye(4)[[0, 1, 2, 2, 3]].T[None]
    assert action.grid is not None
    places = torch.from_numpy(action.grid(1, 5)[1])
    moved = action(one_hot, 1)
    assert torch.equal(moved[:, :, places], one_hot.flip(1))


def test_grid_of_a_set_is_its_permutation() -> None:
    action, x = set_permutation(groups.dihedral(4)), noise(2, 4)
    assert action.grid is not None
    places = action.grid(1, 4)
    for g in range(8):
        assert torch.equal(action(x, g)[:, places[g]], x)


@given(word=st.text("ACGT", min_size=1, max_size=12))
def test_reverse_complement_reads_the_other_strand(word: str) -> None:
    other = word[::-1].translate(str.maketrans("ACGT", "TGCA"))
    one_hot = torch.eye(4)[["ACGT".index(letter) for letter in word]].T[None]
    read = "".join("ACGT"[i] for i in reverse_complement()(one_hot, 1)[0].argmax(0))
    assert read == other


def test_the_natural_flip_of_a_dihedral_set_by_hand() -> None:
    action = set_permutation(groups.dihedral(5))
    places = torch.arange(5)[None]
    flip, turn_after_flip = 5, 6
    assert action(places, flip).tolist() == [[0, 4, 3, 2, 1]]
    assert action(places, turn_after_flip).tolist() == [[1, 0, 4, 3, 2]]


def test_config_of_a_set_rebuilds_it_and_is_json() -> None:
    action, x = set_permutation(groups.dihedral(3)), noise(2, 3)
    config = json.loads(json.dumps(action.config))
    again = set_permutation(action.group, np.array(config["permutations"]))
    assert torch.equal(again.orbit(x), action.orbit(x))


def test_changing_the_callers_array_does_not_change_the_action() -> None:
    permutations = regular_permutations(groups.cyclic(3))
    action = set_permutation(groups.cyclic(3), permutations)
    permutations[:] = 0
    assert action.grid is not None
    assert action.grid(1, 3).tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]


def test_permutations_that_are_no_homomorphism_name_the_pair() -> None:
    permutations = np.array([[0, 1, 2], [1, 2, 0], [0, 2, 1]])
    with pytest.raises(OrbitLensError, match=r"fails for g = r \(1\), h = r \(1\)"):
        set_permutation(groups.cyclic(3), permutations)


def test_right_actions_are_rejected_as_left_ones() -> None:
    group = groups.dihedral(3)
    with pytest.raises(OrbitLensError, match="reverse them if they are right actions"):
        set_permutation(group, group.table.T.copy())


@pytest.mark.parametrize(
    ("permutations", "message"),
    [([[0, 1], [0, 0]], r"row 1 with \[0, 0\]"), ([[0, 1, 2]], "received 1 rows")],
)
def test_what_is_no_permutation_per_element_is_rejected(
    permutations: list[list[int]], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        set_permutation(groups.cyclic(2), np.array(permutations))


def test_a_group_without_a_natural_set_asks_for_permutations() -> None:
    with pytest.raises(OrbitLensError, match=r"None for C2xC4; pass an array"):
        set_permutation(groups.from_name("C2xC4"))


def test_cyclic_shift_needs_a_cyclic_group() -> None:
    with pytest.raises(OrbitLensError, match=r"received D3; use groups.cyclic\(6\)"):
        cyclic_shift(groups.dihedral(3))


@pytest.mark.parametrize(
    ("action", "shape", "message"),
    [
        (reverse_complement(), (2, 7, 4), r"received \[2, 7, 4\].*transpose\(1, 2\)"),
        (reverse_complement(), (2, 4), r"received \[2, 4\]"),
        (cyclic_shift(groups.cyclic(3)), (2, 8), r"divisible by 3, received \[2, 8\]"),
        (cyclic_shift(groups.cyclic(3)), (6,), r"received \[6\]"),
        (set_permutation(groups.cyclic(3)), (2, 4), r"\[n, 3, ...\], received \[2, 4\]"),
    ],
)
def test_inputs_that_cannot_be_moved_are_rejected(
    action: Action, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        action.orbit(torch.zeros(shape))


@pytest.mark.parametrize(
    ("action", "height", "width"),
    [
        (reverse_complement(), 2, 4),
        (cyclic_shift(groups.cyclic(3)), 2, 4),
        (set_permutation(groups.cyclic(3)), 1, 4),
        (set_permutation(groups.cyclic(3)), 3, 1),
    ],
)
def test_grids_reject_maps_whose_places_do_not_move(
    action: Action, height: int, width: int
) -> None:
    assert action.grid is not None
    with pytest.raises(OrbitLensError, match=f"received {height} x {width}"):
        action.grid(height, width)


def test_permutations_are_lists_of_whole_numbers() -> None:
    rows = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    assert set_permutation(groups.cyclic(3), rows).config == {"permutations": rows}
    with pytest.raises(OrbitLensError, match="`permutations`: expected whole numbers"):
        set_permutation(groups.cyclic(3), np.array(rows) + 0.5)
