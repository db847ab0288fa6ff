"""Theorems of representation theory, for every group in the list."""

import math

import pytest
import torch

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps import (
    Representation,
    character_norm,
    direct_sum,
    dual,
    exactify,
    homomorphism_errors,
    irrep_label,
    irreps,
    isotypic_projections,
    multiplicities,
    permutation,
    polar,
    real_type,
    regular,
    restrict,
    tensor_product,
)

GROUPS = [
    *(groups.cyclic(n) for n in (1, 2, 3, 4, 7, 12)),
    *(groups.dihedral(n) for n in (1, 2, 3, 4, 5, 8)),
    groups.product(groups.cyclic(3), groups.cyclic(3)),
    groups.product(groups.cyclic(4), groups.dihedral(3)),
    groups.symmetric(4),
    groups.octahedral(inversion=True),
    groups.permutation_group([(1, 2, 3, 4, 0), (1, 2, 0, 3, 4)], "A5"),
    groups.permutation_group([(1, 2, 3, 0, 5, 6, 7, 4), (4, 7, 6, 5, 2, 1, 0, 3)], "Q8"),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def representations(group: Group) -> list[Representation]:
    return [regular(group), *irreps(group)]


@every_group
def test_homomorphism(group: Group) -> None:
    for rep in representations(group):
        assert homomorphism_errors(group, rep.matrices).max() < 1e-12


@every_group
def test_identity_maps_to_the_identity_and_matrices_are_orthogonal(group: Group) -> None:
    for rep in representations(group):
        eye = torch.eye(rep.dim, dtype=torch.float64)
        torch.testing.assert_close(rep.matrices[0], eye, atol=1e-12, rtol=0)
        torch.testing.assert_close(
            rep.matrices @ rep.matrices.mT, eye.expand_as(rep.matrices), atol=1e-12, rtol=0
        )


@every_group
def test_characters_are_constant_on_conjugacy_classes(group: Group) -> None:
    for rep in representations(group):
        for members in group.conjugacy_classes:
            values = rep.character[list(members)]
            assert (values - values[0]).abs().max() < 1e-10


@every_group
def test_characters_of_inequivalent_irreps_are_orthogonal(group: Group) -> None:
    table = torch.stack([irrep.character for irrep in irreps(group)])
    gram = table @ table.T / group.order
    norms = torch.tensor(
        [float(character_norm(irrep)) for irrep in irreps(group)], dtype=torch.float64
    )
    torch.testing.assert_close(gram, norms.diag(), atol=1e-10, rtol=0)


@every_group
def test_regular_character_is_the_sum_of_dim_over_norm_times_irreps(group: Group) -> None:
    total = sum(irrep.dim / character_norm(irrep) * irrep.character for irrep in irreps(group))
    torch.testing.assert_close(total, regular(group).character, atol=1e-10, rtol=0)


@every_group
def test_character_at_the_identity_is_the_dimension(group: Group) -> None:
    for rep in representations(group):
        assert rep.character[0].item() == pytest.approx(rep.dim)


@every_group
def test_the_first_irrep_is_trivial(group: Group) -> None:
    first = irreps(group)[0]
    assert first.name == "trivial"
    torch.testing.assert_close(first.matrices, torch.ones(group.order, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_planar_irreps_of_a_cyclic_group_come_by_frequency(n: int) -> None:
    planar = [irrep for irrep in irreps(groups.cyclic(n)) if irrep.dim == 2]
    for frequency, irrep in enumerate(planar, start=1):
        expected = [2 * math.cos(2 * math.pi * frequency * p / n) for p in range(n)]
        assert irrep.character.tolist() == pytest.approx(expected)


def test_character_table_of_d4_is_the_textbook_one() -> None:
    r_and_s = [
        (irrep.dim, *irrep.character[[1, 2, 4, 5]].round().int().tolist())
        for irrep in irreps(groups.dihedral(4))
    ]
    assert r_and_s == [
        (1, 1, 1, 1, 1),
        (1, 1, 1, -1, -1),
        (1, -1, 1, 1, -1),
        (1, -1, 1, -1, 1),
        (2, 0, -2, 0, 0),
    ]


def test_homomorphism_errors_find_the_pair_that_fails() -> None:
    group = groups.cyclic(3)
    matrices = regular(group).matrices.clone()
    matrices[2] = torch.eye(3)
    errors = homomorphism_errors(group, matrices)
    assert errors[0].max() == 0
    assert errors[1, 1] > 0.5


def dims(group: Group) -> list[int]:
    return [irrep.dim for irrep in irreps(group)]


def test_dimensions_of_the_irreps_are_the_textbook_ones() -> None:
    symmetric, cube, alternating, quaternions = GROUPS[-4:]
    assert dims(symmetric) == [1, 1, 2, 3, 3]
    assert dims(cube) == [1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    assert dims(alternating) == [1, 3, 3, 4, 5]
    assert dims(quaternions) == [1, 1, 1, 1, 4]


def test_types_of_the_irreps_are_the_textbook_ones() -> None:
    assert [real_type(irrep) for irrep in irreps(GROUPS[-1])] == ["real"] * 4 + ["quaternionic"]
    assert [real_type(irrep) for irrep in irreps(groups.cyclic(5))] == ["real", *["complex"] * 2]
    assert {real_type(irrep) for irrep in irreps(GROUPS[-4])} == {"real"}


@every_group
def test_sums_products_and_duals_are_representations_with_the_characters_of_theory(
    group: Group,
) -> None:
    first, last = irreps(group)[0], irreps(group)[-1]
    both = direct_sum(first, last, last)
    assert homomorphism_errors(group, both.matrices).max() < 1e-12
    torch.testing.assert_close(both.character, first.character + 2 * last.character)
    assert multiplicities(both)[-1] == (3 if group.order == 1 else 2)
    squared = tensor_product(last, last)
    assert homomorphism_errors(group, squared.matrices).max() < 1e-12
    torch.testing.assert_close(squared.character, last.character.square())
    assert multiplicities(squared)[0] == character_norm(last)


@every_group
def test_the_dual_undoes_a_change_of_basis_on_both_sides(group: Group) -> None:
    generator = torch.Generator().manual_seed(0)
    rep = irreps(group)[-1]
    basis = torch.eye(rep.dim, dtype=torch.float64) + 0.2 * torch.rand(
        rep.dim, rep.dim, generator=generator, dtype=torch.float64
    )
    skewed = Representation(group, basis @ rep.matrices @ torch.linalg.inv(basis), "skewed")
    other = dual(skewed)
    assert homomorphism_errors(group, other.matrices).max() < 1e-10
    pairing = other.matrices.mT @ skewed.matrices
    torch.testing.assert_close(
        pairing, torch.eye(rep.dim, dtype=torch.float64).expand_as(pairing), atol=1e-10, rtol=0
    )


@every_group
def test_isotypic_projections_split_the_space(group: Group) -> None:
    rep = direct_sum(regular(group), irreps(group)[-1])
    parts = isotypic_projections(group, rep.matrices)
    eye = torch.eye(rep.dim, dtype=torch.float64)
    torch.testing.assert_close(parts.sum(0), eye, atol=1e-10, rtol=0)
    products = torch.einsum("aij,bjk->abik", parts, parts)
    expected = torch.zeros_like(products)
    for index, part in enumerate(parts):
        expected[index, index] = part
    torch.testing.assert_close(products, expected, atol=1e-10, rtol=0)
    sizes = parts.diagonal(dim1=1, dim2=2).sum(1)
    counts = torch.tensor(multiplicities(rep)) * torch.tensor(dims(group))
    torch.testing.assert_close(sizes, counts.double(), atol=1e-9, rtol=0)
    moved = rep.matrices[:, None] @ parts - parts @ rep.matrices[:, None]
    assert moved.abs().max() < 1e-10


@every_group
def test_regular_holds_each_irrep_dim_over_norm_times(group: Group) -> None:
    assert multiplicities(regular(group)) == tuple(
        irrep.dim // character_norm(irrep) for irrep in irreps(group)
    )


def test_permuting_points_is_the_trivial_and_the_standard_irrep() -> None:
    group = groups.symmetric(4)
    rep = permutation(group, [(1, 2, 3, 0), (1, 0, 2, 3)])
    assert homomorphism_errors(group, rep.matrices).max() == 0
    assert multiplicities(rep)[0] == 1
    assert sum(multiplicities(rep)) == 2


def test_an_irrep_of_d4_restricted_to_the_turns_falls_apart_as_the_theory_says() -> None:
    d4, c4 = groups.dihedral(4), groups.cyclic(4)
    seen = [multiplicities(restrict(irrep, c4, range(4))) for irrep in irreps(d4)]
    assert seen == [(1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 1, 0), (0, 0, 1)]


@pytest.mark.parametrize("elements", [[0, 1, 2], [0, 1, 2, 4], [0, 1, 1, 3], [0, 1, 2, 9]])
def test_elements_that_are_no_such_subgroup_are_rejected(elements: list[int]) -> None:
    with pytest.raises(OrbitLensError, match=r"4 elements of D4 that multiply|in 0\.\.7"):
        restrict(regular(groups.dihedral(4)), groups.cyclic(4), elements)


def test_representations_of_different_groups_do_not_add_up() -> None:
    with pytest.raises(OrbitLensError, match="all of one group, received C2, C3"):
        direct_sum(regular(groups.cyclic(2)), regular(groups.cyclic(3)))
    with pytest.raises(OrbitLensError, match="received none"):
        direct_sum()


def disturbed(rep: Representation, size: float) -> torch.Tensor:
    noise = torch.randn(
        rep.matrices.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return rep.matrices + size * noise / rep.dim**0.5


@every_group
@pytest.mark.parametrize("size", [0.07, 0.28])
def test_exactify_finds_the_representation_that_was_disturbed(group: Group, size: float) -> None:
    rep = direct_sum(regular(group), irreps(group)[-1])
    found = exactify(group, disturbed(rep, size))
    assert homomorphism_errors(group, found.matrices).max() < 1e-12
    assert multiplicities(found) == multiplicities(rep)
    eye = torch.eye(rep.dim, dtype=torch.float64)
    torch.testing.assert_close(found.matrices[0], eye, atol=1e-12, rtol=0)
    moved = torch.linalg.matrix_norm(found.matrices - rep.matrices).max() / rep.dim**0.5
    assert moved < 2 * size


@every_group
def test_exactify_leaves_a_representation_alone(group: Group) -> None:
    for rep in representations(group):
        torch.testing.assert_close(
            exactify(group, rep.matrices).matrices, rep.matrices, atol=1e-11, rtol=0
        )


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (torch.zeros(3, 2, 2), "one square matrix for each of the 4 elements"),
        (torch.full((4, 2, 2), float("nan")), "finite numbers"),
    ],
)
def test_exactify_rejects_what_is_no_family(matrices: torch.Tensor, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        exactify(groups.cyclic(4), matrices)


@every_group
@pytest.mark.parametrize("dim", [1, 3, 8])
def test_exactify_of_anything_is_a_representation(group: Group, dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    noise = torch.randn(group.order, dim, dim, generator=generator, dtype=torch.float64)
    for family in (noise, torch.zeros_like(noise)):
        found = exactify(group, family)
        assert homomorphism_errors(group, found.matrices).max() < 1e-12
        eye = torch.eye(dim, dtype=torch.float64)
        torch.testing.assert_close(found.matrices[0], eye, atol=1e-12, rtol=0)


def test_exactify_of_signs_is_the_character_that_most_of_them_follow() -> None:
    group = groups.dihedral(4)
    for irrep in irreps(group)[:4]:
        for wrong in range(1, 8):
            signs = irrep.matrices.clone()
            signs[wrong] *= -1
            torch.testing.assert_close(exactify(group, signs).matrices, irrep.matrices)


@pytest.mark.parametrize(
    ("group", "index", "label"),
    [
        (groups.dihedral(4), 0, "unchanged"),
        (groups.dihedral(4), 3, "changes sign under r and s"),
        (groups.cyclic(5), 1, "turns with r"),
        (groups.cyclic(5), 2, "turns 2 times with r"),
        (GROUPS[-1], 4, "4 dimensions that move together"),
    ],
)
def test_a_label_says_what_the_generators_do(group: Group, index: int, label: str) -> None:
    assert irrep_label(irreps(group)[index]) == label


def test_the_norm_of_a_character_is_that_of_its_type() -> None:
    assert [character_norm(irrep) for irrep in irreps(groups.cyclic(4))] == [1, 1, 2]


@pytest.mark.parametrize("shape", [(4, 4), (5, 2)])
def test_the_polar_part_is_the_nearest_of_all_orthonormal_columns(shape: tuple[int, int]) -> None:
    assert polar(torch.tensor([[3.0, 0.0], [0.0, -0.5]])).tolist() == [[1.0, 0.0], [0.0, -1.0]]
    generator = torch.Generator().manual_seed(0)
    matrix, *others = torch.randn(20, *shape, generator=generator, dtype=torch.float64)
    found = polar(matrix)
    torch.testing.assert_close(found.T @ found, torch.eye(shape[1], dtype=torch.float64))
    distances = [(matrix - torch.linalg.qr(other).Q).norm() for other in others]
    assert (matrix - found).norm() < min(distances)


def test_a_representation_has_a_matrix_for_each_element() -> None:
    with pytest.raises(OrbitLensError, match="matrices"):
        Representation(groups.cyclic(4), torch.ones(3, 2, 2, dtype=torch.float64), "wrong")
