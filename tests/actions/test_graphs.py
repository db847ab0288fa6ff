"""Theorems of a left action, for relabelled graphs; and S_n on sets by default."""

import json
from itertools import permutations as all_orders

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from orbitlens import groups
from orbitlens.actions import Action, check_is_action, graphs, set_permutation
from orbitlens.errors import OrbitLensError

ACTIONS = [graphs(name) for name in ("S1", "S2", "S3", "S4", "C5", "D4")]
every_action = pytest.mark.parametrize("action", ACTIONS, ids=repr)


def nodes_of(action: Action) -> int:
    return len(action.config["permutations"][0])


def random_graphs(nodes: int, features: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 9, (3, nodes, nodes + features), generator=generator)


@every_action
@pytest.mark.parametrize("features", [0, 3])
def test_a_left_action_for_every_pair_of_elements(action: Action, features: int) -> None:
    x, group = random_graphs(nodes_of(action), features), action.group
    orbit = action.orbit(x)
    assert torch.equal(orbit[:, 0], x)
    for g in range(group.order):
        moved = action.apply(orbit.flatten(0, 1), g).unflatten(0, orbit.shape[:2])
        assert torch.equal(moved, orbit[:, group.table[g].tolist()])
    check_is_action(action, x)


@given(st.data())
def test_a_relabelled_graph_has_its_edges_between_the_new_labels(data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(ACTIONS))
    g = data.draw(st.integers(0, action.group.order - 1))
    nodes = nodes_of(action)
    x, where = random_graphs(nodes), action.config["permutations"][g]
    moved = action(x, g)
    for i in range(nodes):
        assert torch.equal(moved[:, where[i], nodes:], x[:, i, nodes:])
        for j in range(nodes):
            assert torch.equal(moved[:, where[i], where[j]], x[:, i, j])


@every_action
def test_places_are_nodes_or_pairs_of_nodes(action: Action) -> None:
    nodes = nodes_of(action)
    x = random_graphs(nodes, 1)
    assert action.grid is not None
    one, pairs = action.grid(1, nodes), action.grid(nodes, nodes)
    for g in range(action.group.order):
        moved = action(x, g)
        assert torch.equal(moved[:, one[g], nodes:], x[:, :, nodes:])
        flat = moved[:, :, :nodes].flatten(1)
        if nodes > 1:
            assert torch.equal(flat[:, pairs[g]], x[:, :, :nodes].flatten(1))


def test_settings_are_json_and_build_the_action_again() -> None:
    action = graphs("C2", [[0, 1, 2], [2, 1, 0]])
    again = graphs("C2", json.loads(json.dumps(action.config))["permutations"])
    assert torch.equal(again.orbit(random_graphs(3)), action.orbit(random_graphs(3)))


@pytest.mark.parametrize("n", range(1, 6))
def test_s_n_permutes_n_elements_of_a_set_in_the_order_of_its_names(n: int) -> None:
    action = set_permutation(f"S{n}")
    assert action.group == groups.symmetric(n)
    found = [tuple(row) for row in action.config["permutations"]]
    assert sorted(found) == list(all_orders(range(n)))
    for name, row in zip(action.group.element_names, found, strict=True):
        assert (groups.cycles(row) or "e") == name


def test_a_cycle_of_s3_by_hand() -> None:
    action = set_permutation("S3")
    cycle = action.group.element_names.index("(0 1 2)")  # 0 goes to 1, 1 to 2, 2 to 0
    assert action(torch.tensor([[10, 20, 30]]), cycle).tolist() == [[30, 10, 20]]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 2), r"\[n, 3, 3\] \+ features|shape \[n, 3, 3 \+ features\]"),
        (torch.zeros(2, 4, 4), r"graphs under S3: expected shape \[n, 3, 3 \+ features\]"),
        (torch.zeros(3, 3), r"received \[3, 3\]; put both together with torch.cat"),
    ],
)
def test_what_is_no_graph_of_so_many_nodes_is_refused(x: Tensor, message: str) -> None:
    for use in (graphs("S3").check, graphs("S3").orbit):
        with pytest.raises(OrbitLensError, match=message):
            use(x)


@pytest.mark.parametrize(
    ("group", "permutations", "message"),
    [
        ("O", None, "only C_n, D_n and S_n have a default, received None for O"),
        ("C2", [[0, 1], [0, 0]], r"row 1 with \[0, 0\]"),
        ("C3", [[0, 1, 2], [1, 2, 0], [0, 2, 1]], r"fails for g = r \(1\), h = r \(1\)"),
        ("C3", [0, 1, 2], r"`permutations`: expected shape \[group, element\]"),
        ("S7", None, "S1 to S6"),
        (3, None, "`group`: expected a group"),
    ],
)
def test_groups_and_permutations_that_do_not_fit_are_refused(
    group: str, permutations: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for build in (graphs, set_permutation):
        with pytest.raises(OrbitLensError, match=message):
            build(group, permutations)


@pytest.mark.parametrize("sizes", [(2, 3), (1, 4), (4, 4)])
def test_maps_that_are_of_no_nodes_are_refused(sizes: tuple[int, int]) -> None:
    places = graphs("S3").grid
    assert places is not None
    with pytest.raises(OrbitLensError, match=r"1 x 3, one place per node, or 3 x 3.*received"):
        places(*sizes)
    assert np.array_equal(places(1, 3), graphs("S3").config["permutations"])
