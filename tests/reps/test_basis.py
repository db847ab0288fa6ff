"""The isotypic basis: block-diagonal, orthogonal, and the representation comes back from it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps import (
    IsotypicBasis,
    Representation,
    direct_sum,
    irreps,
    isotypic_basis,
    multiplicities,
    regular,
)
from orbitlens.typing import Tensor

QUATERNIONS = groups.permutation_group([(1, 2, 3, 0, 5, 6, 7, 4), (4, 7, 6, 5, 2, 1, 0, 3)], "Q8")
GROUPS = [
    *(groups.cyclic(n) for n in range(1, 9)),
    *(groups.dihedral(n) for n in range(1, 7)),
    groups.symmetric(3),
    groups.product(groups.cyclic(2), groups.cyclic(3)),
    groups.octahedral(),
    groups.from_table(QUATERNIONS.table, name="Q8"),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def seen_in(rep: Representation, basis: Tensor) -> Representation:
    return Representation(rep.group, basis @ rep.matrices @ torch.linalg.inv(basis), "seen")


def turned(rep: Representation, seed: int) -> Representation:
    """The same representation, as orthogonal as before, in a random basis."""
    return seen_in(rep, torch.linalg.qr(random(rep.dim, rep.dim, seed=seed)).Q)


def skewed(rep: Representation, seed: int) -> Representation:
    """The same representation, no longer orthogonal: the axes of its basis differ tenfold."""
    lengths = torch.logspace(-0.5, 0.5, rep.dim, dtype=torch.float64)
    return seen_in(turned(rep, seed), turned_axes(rep.dim, seed + 1) * lengths)


def turned_axes(dim: int, seed: int) -> Tensor:
    return torch.linalg.qr(random(dim, dim, seed=seed)).Q


def blocks(basis: IsotypicBasis) -> Tensor:
    """rho in isotypic coordinates: every irrep beside the identity on its copies."""
    kinds = list(zip(irreps(basis.group), basis.multiplicities, strict=True))
    return torch.stack(
        [
            torch.block_diag(
                *(
                    torch.kron(irrep.matrices[g].contiguous(), torch.eye(m))
                    for irrep, m in kinds
                    if m
                )
            )
            for g in range(basis.group.order)
        ]
    )


def check(rep: Representation, atol: float = 1e-9) -> IsotypicBasis:
    basis = isotypic_basis(rep)
    eye = torch.eye(rep.dim, dtype=torch.float64)
    torch.testing.assert_close(basis.T @ basis.T_inverse, eye, atol=1e-9, rtol=0)
    back = basis.T @ blocks(basis) @ basis.T_inverse
    torch.testing.assert_close(back, rep.matrices.double(), atol=atol, rtol=0)
    return basis


@every_group
def test_blocks_seen_in_the_basis_are_the_representation(group: Group) -> None:
    rep = direct_sum(regular(group), regular(group), irreps(group)[-1])
    for seed in (0, 1):
        for seen in (rep, turned(rep, seed), skewed(rep, seed)):
            assert check(seen).multiplicities == multiplicities(rep)


@given(
    group=st.sampled_from(GROUPS[:-2]),
    counts=st.lists(st.integers(0, 6), min_size=8, max_size=8),
    seed=st.integers(0, 999),
)
def test_any_number_of_copies_of_each_irrep_is_found(
    group: Group, counts: list[int], seed: int
) -> None:
    counts[0] = max(1, counts[0])
    kinds = list(zip(irreps(group), counts, strict=False))
    rep = direct_sum(*(irrep for irrep, count in kinds for _ in range(count)))
    found = check(skewed(rep, seed)).multiplicities
    assert found == tuple(count for _, count in kinds)


@pytest.mark.parametrize("group", [groups.cyclic(3), groups.cyclic(4), GROUPS[-1]])
@pytest.mark.parametrize("seed", range(4))
def test_many_copies_that_do_not_commute_with_real_numbers_alone(group: Group, seed: int) -> None:
    rep = direct_sum(*[regular(group)] * 8)
    for rounding in (torch.float64, torch.float32):
        seen = turned(rep, seed)
        rounded = Representation(group, seen.matrices.to(rounding).double(), "rounded")
        check(rounded, atol=1e-6 if rounding == torch.float32 else 1e-9)


@every_group
def test_the_basis_is_orthogonal_where_the_representation_is(group: Group) -> None:
    rep = direct_sum(regular(group), irreps(group)[-1])
    basis = isotypic_basis(turned(rep, 3))
    torch.testing.assert_close(basis.T_inverse, basis.T.mT, atol=1e-10, rtol=0)


@every_group
def test_coordinates_come_irrep_by_irrep(group: Group) -> None:
    basis = isotypic_basis(direct_sum(regular(group), irreps(group)[-1]))
    sizes = [own.stop - own.start for own in basis.slices]
    expected = [r.dim * m for r, m in zip(irreps(group), basis.multiplicities, strict=True)]
    assert sizes == expected
    # The trivial irrep is first: its coordinates are what the mean over the group keeps.
    mean = blocks(basis).mean(0)
    kept = torch.zeros(len(mean), dtype=torch.float64)
    kept[basis.slices[0]] = 1
    torch.testing.assert_close(mean, kept.diag(), atol=1e-12, rtol=0)


def test_float32_matrices_of_large_norm_are_a_representation_still() -> None:
    group = groups.cyclic(4)
    rep = direct_sum(*[regular(group)] * 6)
    lengths = torch.logspace(0, -2, rep.dim, dtype=torch.float64)
    seen = seen_in(turned(rep, 0), turned_axes(rep.dim, 1) * lengths)
    rounded = Representation(group, seen.matrices.float().double(), "rounded")
    check(rounded, atol=1e-5 * rounded.matrices.abs().max().item())


@pytest.mark.parametrize("change", ["other", "noise", "nothing", "zeros", "nan"])
def test_what_is_no_representation_is_refused_in_one_line(change: str) -> None:
    group = groups.dihedral(4)
    matrices = regular(group).matrices.clone()
    if change == "other":
        matrices = matrices[np.array([0, 2, 1, 3, 4, 5, 6, 7])]
    elif change == "noise":
        matrices += 1e-3 * random(*matrices.shape, seed=0)
    elif change == "zeros":
        matrices *= 0
    else:
        matrices[3] = 0.0 if change == "nothing" else torch.nan
    with pytest.raises(OrbitLensError, match=r"representation broken: expected.*D4.*exactify") as e:
        isotypic_basis(Representation(group, matrices, "broken"))
    assert "\n" not in str(e.value)
