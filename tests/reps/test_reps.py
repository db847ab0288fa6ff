"""Theorems of representation theory, for every group in the list."""

import math

import pytest
import torch

from orbitlens import groups
from orbitlens.groups import Group
from orbitlens.reps import Representation, character_norm, homomorphism_errors, irreps, regular

GROUPS = [
    *(groups.cyclic(n) for n in (1, 2, 3, 4, 7, 12)),
    *(groups.dihedral(n) for n in (1, 2, 3, 4, 5, 8)),
    groups.product(groups.cyclic(3), groups.cyclic(3)),
    groups.product(groups.cyclic(4), groups.dihedral(3)),
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
