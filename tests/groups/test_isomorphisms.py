"""A product table read as that of a group: one way for each automorphism, or none."""

import numpy as np
import pytest

from orbitlens import groups


@pytest.mark.parametrize(
    ("name", "automorphisms"),
    [("C1", 1), ("C2", 1), ("C4", 2), ("C5", 4), ("D2", 6), ("S3", 6), ("D4", 8), ("S4", 24)],
)
def test_a_group_fits_its_own_table_once_for_each_automorphism(
    name: str, automorphisms: int
) -> None:
    group = groups.from_name(name)
    found = {tuple(f.tolist()) for f in groups.isomorphisms(group, group.table)}
    assert len(found) == automorphisms
    assert tuple(range(group.order)) in found


@pytest.mark.parametrize("name", ["C6", "D4", "S3", "C2xC4"])
def test_every_isomorphism_carries_products_to_products(name: str) -> None:
    group = groups.from_name(name)
    order = np.r_[0, 1 + np.random.default_rng(0).permutation(group.order - 1)]
    table = np.argsort(order)[group.table[np.ix_(order, order)]]
    found = list(groups.isomorphisms(group, table))
    assert np.argsort(order).tolist() in [f.tolist() for f in found]
    for f in found:
        for g in range(group.order):
            assert [table[f[g], f[h]] for h in range(group.order)] == f[group.table[g]].tolist()


@pytest.mark.parametrize(
    ("name", "other"), [("C4", "C2xC2"), ("C6", "S3"), ("C2xC4", "D4"), ("C8", "C2xC4")]
)
def test_groups_that_differ_have_none(name: str, other: str) -> None:
    table = groups.from_name(other).table
    assert list(groups.isomorphisms(groups.from_name(name), table)) == []


def test_a_table_that_is_no_group_has_none() -> None:
    assert list(groups.isomorphisms(groups.cyclic(3), np.zeros((3, 3), dtype=np.int64))) == []
    assert list(groups.isomorphisms(groups.cyclic(3), np.full((3, 3), 2))) == []
