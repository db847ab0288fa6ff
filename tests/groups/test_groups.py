"""The laws of a group, for every family."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.groups._laws import find_words

# i j = k: the elements 1, i, j, k and their negatives, 4 further.
QUATERNIONS = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [1, 4, 3, 6, 5, 0, 7, 2],
    [2, 7, 4, 1, 6, 3, 0, 5],
    [3, 2, 5, 4, 7, 6, 1, 0],
    [4, 5, 6, 7, 0, 1, 2, 3],
    [5, 0, 7, 2, 1, 4, 3, 6],
    [6, 3, 0, 5, 2, 7, 4, 1],
    [7, 6, 1, 0, 3, 2, 5, 4],
]
GROUPS = [
    *(groups.cyclic(n) for n in (1, 2, 3, 4, 5, 8, 12)),
    *(groups.dihedral(n) for n in (1, 2, 3, 4, 5, 8)),
    groups.product(groups.cyclic(2), groups.cyclic(2)),
    groups.product(groups.cyclic(3), groups.dihedral(3)),
    groups.product(groups.dihedral(2), groups.product(groups.cyclic(2), groups.cyclic(3))),
    *(groups.symmetric(n) for n in (1, 2, 3, 4)),
    groups.octahedral(),
    groups.octahedral(inversion=True),
    groups.permutation_group([(1, 2, 0, 3), (1, 0, 3, 2)], "A4"),
    groups.from_table(QUATERNIONS, "Q8"),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


@every_group
def test_element_zero_is_the_identity(group: Group) -> None:
    elements = np.arange(group.order)
    assert np.array_equal(group.table[0], elements)
    assert np.array_equal(group.table[:, 0], elements)


@every_group
def test_product_is_associative(group: Group) -> None:
    table = group.table
    for g in range(group.order):
        assert np.array_equal(table[table[g]], table[g][table])


@every_group
def test_element_times_its_inverse_is_the_identity(group: Group) -> None:
    elements = np.arange(group.order)
    assert not group.table[elements, group.inverses].any()
    assert not group.table[group.inverses, elements].any()


@every_group
def test_words_spell_their_elements_and_generators_generate(group: Group) -> None:
    for element, word in enumerate(group.words):
        product = 0
        for position in word:
            product = group.multiply(product, group.generators[position])
        assert product == element


@every_group
def test_element_order_divides_the_order_of_the_group(group: Group) -> None:
    assert all(group.order % group.element_order(g) == 0 for g in range(group.order))


@every_group
def test_conjugacy_classes_partition_the_group_and_are_closed(group: Group) -> None:
    assert sorted(g for members in group.conjugacy_classes for g in members) == list(
        range(group.order)
    )
    for members in group.conjugacy_classes:
        for k in range(group.order):
            conjugates = {
                group.multiply(group.multiply(k, g), int(group.inverses[k])) for g in members
            }
            assert conjugates == set(members)


@every_group
def test_dict_round_trip_rebuilds_the_group(group: Group) -> None:
    rebuilt = Group.from_dict(group.to_dict())
    assert rebuilt == group
    assert hash(rebuilt) == hash(group)
    assert rebuilt.element_names == group.element_names


def test_dihedral_flip_reverses_the_turn() -> None:
    group = groups.dihedral(5)
    r, s = 1, 5
    assert group.multiply(group.multiply(s, r), s) == group.inverses[r]


def test_number_of_conjugacy_classes_of_d4_is_five() -> None:
    assert len(groups.dihedral(4).conjugacy_classes) == 5


@given(st.integers(1, 12), st.integers(1, 12))
def test_product_of_coprime_cyclic_groups_is_cyclic(m: int, n: int) -> None:
    group = groups.product(groups.cyclic(m), groups.cyclic(n))
    largest = max(group.element_order(g) for g in range(group.order))
    assert (largest == m * n) == (np.gcd(m, n) == 1)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("C4", 4),
        ("d4", 8),
        ("C2xC3", 6),
        ("C2 x D2 x C2", 16),
        ("C1", 1),
        ("S3", 6),
        ("OhxC2", 96),
        ("C2×C4", 8),
    ],
)
def test_from_name_builds_the_group(name: str, order: int) -> None:
    assert groups.from_name(name).order == order


@pytest.mark.parametrize("name", ["", "C0", "E8", "C", "4C", "C4x", "C-2", "D99999", "O3"])
def test_from_name_rejects_what_is_no_name(name: str) -> None:
    with pytest.raises(OrbitLensError, match="C4"):
        groups.from_name(name)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("C5000", "at most 4096 elements, received 5000 of C5000"),
        ("D2049", "at most 4096 elements, received 4098 of D2049"),
        ("C64xC65", "at most 4096 elements, received 4160 of C64xC65"),
        ("x".join(["C4"] * 100), r"at most 4096 elements, received \d+ of C4xC4.*\.\.\.;"),
        ("C99999999", "at most 4096 elements, received C99999999"),
        ("C" + "9" * 5000, "at most 4096 elements, received C999"),
        ("S7", "S1 to S6, received S7"),
        ("S99999", "S1 to S6, received S99999"),
    ],
)
def test_from_name_says_how_large_a_group_may_be(
    name: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Group, "__post_init__", None)  # nothing is built
    with pytest.raises(OrbitLensError, match=f"^`group`: expected {limit}") as caught:
        groups.from_name(name)
    assert len(str(caught.value)) < 200


def test_turns_and_flips_of_too_many_elements_are_refused_before_they_are_built() -> None:
    with pytest.raises(OrbitLensError, match="from 0 to 4096, received 4097"):
        groups.cyclic(4097)
    with pytest.raises(OrbitLensError, match="from 0 to 2048, received 2049"):
        groups.dihedral(2049)


@pytest.mark.parametrize(
    ("table", "law"),
    [
        ([[0, 1], [1, 2]], "closure"),
        ([[1, 0], [0, 1]], "identity"),
        ([[0, 1, 2], [1, 1, 2], [2, 2, 0]], "inverses"),
        (
            [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]],
            "associativity",
        ),
    ],
)
def test_a_table_that_is_no_group_names_the_law_that_fails(
    table: list[list[int]], law: str
) -> None:
    with pytest.raises(OrbitLensError, match=law):
        Group(
            name="broken",
            table=np.array(table),
            generators=tuple(range(1, len(table))),
            words=((),) * len(table),
            element_names=("x",) * len(table),
        )


def test_a_wrong_word_is_rejected() -> None:
    good = groups.cyclic(3)
    with pytest.raises(OrbitLensError, match="words"):
        Group("C3", good.table.copy(), (1,), ((), (0, 0), (0,)), good.element_names)


@pytest.mark.parametrize("family", [groups.cyclic, groups.dihedral])
def test_no_turns_at_all_is_rejected(family) -> None:
    with pytest.raises(OrbitLensError, match="at least 1, received 0"):
        family(0)


@pytest.mark.parametrize(
    ("group", "classes", "orders"),
    [
        (groups.symmetric(4), 5, [1, 2, 3, 4]),
        (groups.octahedral(), 5, [1, 2, 3, 4]),
        (groups.octahedral(inversion=True), 10, [1, 2, 3, 4, 6]),
        (groups.from_table(QUATERNIONS), 5, [1, 2, 4]),
        (groups.permutation_group([(1, 2, 3, 4, 0), (1, 2, 0, 3, 4)]), 5, [1, 2, 3, 5]),
    ],
    ids=["S4", "O", "Oh", "Q8", "A5"],
)
def test_classes_and_orders_are_the_textbook_ones(
    group: Group, classes: int, orders: list[int]
) -> None:
    assert len(group.conjugacy_classes) == classes
    assert sorted({group.element_order(g) for g in range(group.order)}) == orders


def test_permutations_compose_as_functions_the_second_first() -> None:
    group = groups.permutation_group([(1, 2, 0), (1, 0, 2)])
    turn, swap = group.generators
    moved = groups.permutations(group, [(1, 2, 0), (1, 0, 2)])
    assert moved[group.multiply(turn, swap)].tolist() == [2, 1, 0]
    for g in range(group.order):
        for h in range(group.order):
            assert moved[group.multiply(g, h)].tolist() == moved[g][moved[h]].tolist()


def test_the_octahedral_group_multiplies_as_its_matrices() -> None:
    group, matrices = groups.octahedral(inversion=True), groups.signed_axes(inversion=True)
    products = np.einsum("gij,hjk->ghik", matrices, matrices)
    assert np.array_equal(products, matrices[group.table])
    assert (np.linalg.det(matrices[:24]) > 0).all()
    assert group.element_names[group.generators[0]] == "y -x z"


@given(st.permutations(range(1, 6)))
def test_a_group_with_its_elements_renamed_is_found_from_its_table(order: list[int]) -> None:
    old = groups.dihedral(3).table
    renamed = np.argsort([0, *order])
    table = renamed[old[np.ix_([0, *order], [0, *order])]]
    group = groups.from_table(table)
    assert sorted(map(len, group.conjugacy_classes)) == [1, 2, 3]
    assert len(group.generators) == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1], [1]], "a square table"),
        ([[0.0, 1.0], [1.0, 0.0]], "a square table"),
        ([[0, 1, 2]], "a square table"),
        ([[1, 0], [0, 1]], "element 0 to be the identity"),
        ([[0, 1], [1, 1]], "row or column 1 repeats one"),
        (
            [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]],
            r"associativity, received \(g a\) h != g \(a h\) for g = 1",
        ),
    ],
)
def test_from_table_says_which_law_fails_and_where(table: list, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        groups.from_table(table)


def test_every_element_has_a_name_or_none_has() -> None:
    with pytest.raises(OrbitLensError, match="`element_names`: expected 2, one for each"):
        groups.from_table([[0, 1], [1, 0]], element_names=["e"])


@pytest.mark.parametrize(
    ("generators", "message"),
    [
        ([(0, 0)], "each point once"),
        ([(1, 0), (1, 2, 0)], r"permutations of 0\.\.1"),
        ([(*range(1, 7), 0), (1, 0, *range(2, 7))], "at most 4096"),
    ],
)
def test_generators_that_are_no_permutations_or_too_many_are_rejected(
    generators: list, message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        groups.permutation_group(generators)


def test_permutations_that_break_the_product_table_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match="another product of r and r"):
        groups.permutations(groups.cyclic(2), [(1, 2, 0)])
    with pytest.raises(OrbitLensError, match="2 permutations, one for each generator"):
        groups.permutations(groups.dihedral(3), [(1, 2, 0)])


@pytest.mark.parametrize("n", [0, 7])
def test_a_symmetric_group_outside_its_range_is_rejected(n: int) -> None:
    with pytest.raises(OrbitLensError, match="1 to 6"):
        groups.symmetric(n)


@pytest.mark.parametrize(
    ("name", "names"),
    [("C4", "e, r, r^2, r^3"), ("D1", "e, s"), ("D3", "e, r, r^2, s, r s, r^2 s")],
)
def test_elements_of_turns_and_flips_are_named_by_powers(name: str, names: str) -> None:
    assert ", ".join(groups.from_name(name).element_names) == names


@pytest.mark.parametrize(
    ("n", "names"),
    [(1, ()), (2, ("(0 1)",)), (3, ("(0 1 2)", "(0 1)")), (4, ("(0 1 2 3)", "(0 1)"))],
)
def test_the_turn_and_the_swap_generate_all_permutations(n: int, names: tuple[str, ...]) -> None:
    group = groups.symmetric(n)
    assert tuple(group.element_names[g] for g in group.generators) == names


def test_words_are_the_shortest_and_spell_what_the_generators_reach_alone() -> None:
    assert find_words(groups.cyclic(4).table, [2]) == {0: (), 2: (0,)}
    assert find_words(groups.cyclic(6).table, [2, 3])[5] == (0, 1)


def test_the_order_of_elements_is_compared_between_groups_of_one_name() -> None:
    group = groups.cyclic(3)
    swapped = Group("C3", group.table, (2,), ((), (0, 0), (0,)), ("e", "r^2", "r"))
    other = groups.from_table([[0, 1], [1, 0]], "C3")
    group.check_same_elements(swapped, "`store`")
    group.check_same_elements(groups.cyclic(4), "`store`")
    message = (
        "`store`: expected the elements of C3 in the order e, r, r.2, with their product table"
    )
    with pytest.raises(OrbitLensError, match=message):
        group.check_same_elements(other, "`store`")


def test_the_turns_of_the_cube_come_before_its_mirror_images() -> None:
    matrices = groups.signed_axes(inversion=True)
    assert np.array_equal(matrices[0], np.eye(3))
    assert np.array_equal(matrices[:24], groups.signed_axes())
    assert np.linalg.det(matrices).round().tolist() == [1] * 24 + [-1] * 24


@pytest.mark.parametrize(
    ("name", "found"),
    [("D4", (4, True)), ("C2", (2, False)), ("D1", (1, True)), ("C2xC2", (2, True)), ("S3", None)],
)
def test_turns_and_flips_are_known_by_their_table(
    name: str, found: tuple[int, bool] | None
) -> None:
    assert groups.turns_and_flips(groups.from_name(name)) == found


def test_a_group_of_permutations_has_the_table_of_their_products() -> None:
    generators = [(1, 2, 3, 4, 5, 0), (5, 4, 3, 2, 1, 0)]
    group = groups.permutation_group(generators)
    points = groups.permutations(group, generators)
    for g in range(group.order):
        for h in range(group.order):
            assert points[group.multiply(g, h)].tolist() == points[g][points[h]].tolist()


@pytest.mark.parametrize("kind", [np.int8, np.int32])
def test_a_table_of_any_whole_numbers_gives_the_same_group(kind: type) -> None:
    table = groups.cyclic(4).table
    given = table.astype(kind)
    group = Group("C4", given, (1,), ((), (0,), (0, 0), (0, 0, 0)), ("e", "r", "r^2", "r^3"))
    assert group == groups.cyclic(4)
    assert groups.product(group, "C128").order == 512


@pytest.mark.parametrize(
    "part",
    [
        {"generators": (7,)},
        {"words": ((), (0,))},
        {"words": ((), (0,), (0, 0), (0, 0, 5))},
        {"element_names": ("e", "r")},
    ],
)
def test_parts_that_make_no_group_are_refused(part: dict[str, Any]) -> None:
    with pytest.raises(OrbitLensError):
        replace(groups.cyclic(4), **part)


def test_groups_that_are_too_large_are_refused_before_they_are_built() -> None:
    shift = (*range(1, 2**20), 0)
    with pytest.raises(OrbitLensError, match="at most 64 elements of 1048576 points"):
        groups.permutation_group([shift])
    with pytest.raises(OrbitLensError, match="at most 4096 elements, received 65536"):
        groups.product(groups.cyclic(256), groups.cyclic(256))


@pytest.mark.parametrize("element", [-1, 4])
def test_an_element_outside_the_group_has_no_product(element: int) -> None:
    with pytest.raises(OrbitLensError, match="element"):
        groups.cyclic(4).multiply(element, 1)
    with pytest.raises(OrbitLensError, match="element"):
        groups.cyclic(4).element_order(element)
