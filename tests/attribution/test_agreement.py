"""Rank correlation, and the reduction of tables by symmetry."""

import pytest
import torch

from orbitlens import groups
from orbitlens.attribution import agreement, reduce_table
from orbitlens.attribution._relative import double_cosets, over_stabilisers
from orbitlens.errors import OrbitLensError


def test_order_counts_and_size_does_not() -> None:
    values = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    assert agreement(values, values**3).everywhere == 1
    assert agreement(values, -values.exp()).above == -1


def test_edges_that_are_nothing_in_both_are_told_apart() -> None:
    attribution = torch.tensor([1.0, 0.0, 3e-5, -2e-5, 0.0])
    effects = torch.tensor([2.0, 4.0, -1e-5, 3e-5, 0.0])
    found = agreement(attribution, effects)
    assert (found.n, found.n_above) == (5, 2)
    assert found.above == -1
    assert agreement(attribution, effects, threshold=0).n_above == 4


@pytest.mark.parametrize(
    ("attribution", "effects", "threshold", "message"),
    [
        (torch.ones(3), torch.ones(2), 0.1, r"expected shape \[3\], .*received \[2\]"),
        (torch.ones(3), torch.ones(3), 1.0, "`threshold`: expected from 0 to below 1"),
        (torch.zeros(3), torch.zeros(3), 0.1, "at least two edges above the threshold, received 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    attribution: torch.Tensor, effects: torch.Tensor, threshold: float, message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        agreement(attribution, effects, threshold=threshold)


@pytest.mark.parametrize("name", ["C4", "D4", "D3"])
def test_a_table_of_relative_elements_is_explained_and_any_other_in_part(name: str) -> None:
    group = groups.from_name(name)
    generator = torch.Generator().manual_seed(0)
    relative = torch.randn(group.order, 2, 3, generator=generator)
    table = torch.empty(group.order, 2, group.order, 3)
    for g in range(group.order):
        for h in range(group.order):
            table[g, :, group.multiply(g, h)] = relative[h]
    found = reduce_table(table, group)
    torch.testing.assert_close(found.relative, relative)
    assert found.explained == pytest.approx(1, abs=1e-6)
    noise = torch.randn(table.shape, generator=generator)
    assert reduce_table(noise, group).explained < 0.5
    assert reduce_table(torch.zeros_like(table), group).explained == 1


def test_orientations_in_which_an_atom_is_the_same_share_its_edges() -> None:
    group = groups.dihedral(2)
    table = torch.zeros(4, 1, 4, 1, dtype=torch.float64)
    table[0, 0, 1, 0] = 8.0
    flip = torch.zeros(4, 1, dtype=torch.bool)
    flip[[0, 2]] = True
    free = torch.zeros(4, 1, dtype=torch.bool)
    free[0] = True
    spread = over_stabilisers(table, group, flip, free)[:, 0, :, 0]
    assert spread[[0, 2], 1].tolist() == [4.0, 4.0]
    assert spread.sum() == 8
    # Both s and the half turn r s then r: H h H' has the first of them for its name.
    assert double_cosets(group, flip, free).flatten().tolist() == [0, 1, 0, 1]
    assert double_cosets(group, flip, flip).flatten().tolist() == [0, 1, 0, 1]
    whole = torch.ones(4, 1, dtype=torch.bool)
    assert double_cosets(group, whole, free).flatten().tolist() == [0, 0, 0, 0]


def test_a_table_is_reduced_by_hand() -> None:
    table = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).reshape(2, 1, 2, 1)
    relative, explained = reduce_table(table, groups.cyclic(2))
    assert (relative.flatten().tolist(), explained) == ([1.0, 2.0], 1.0)


def test_effects_that_are_not_finite_are_refused() -> None:
    effects = torch.tensor([0.0, 2.0, torch.nan, 4.0])
    with pytest.raises(OrbitLensError, match="effects"):
        agreement(torch.arange(4.0), effects)
