"""Graphs of one cycle or of two: what they are made of, and what cannot tell them apart."""

import jaxtyping
import numpy as np
import pytest
import torch

from orbitlens.actions import graphs
from orbitlens.data import cycle_pairs
from orbitlens.errors import OrbitLensError


@pytest.mark.parametrize("nodes", [6, 12, 14])
def test_the_label_counts_the_cycles(nodes: int) -> None:
    found = cycle_pairs(20, nodes=nodes, seed=0)
    assert found.labels is not None
    for values, label in zip(found.values, found.labels, strict=True):
        adjacency = values[:, :nodes]
        assert torch.equal(adjacency, adjacency.T)
        reached = torch.linalg.matrix_power(adjacency + torch.eye(nodes), nodes) > 0
        assert reached.sum(1).tolist() == [nodes // (1 + label)] * nodes


def test_every_node_has_degree_two_and_no_edge_to_itself() -> None:
    values = cycle_pairs(20, seed=1).values
    assert torch.equal(values[:, :, :12].sum(2), torch.full((20, 12), 2.0))
    assert torch.equal(values[:, :, 12], torch.full((20, 12), 2.0))
    assert values[:, range(12), range(12)].sum() == 0


def test_classes_are_balanced_and_mixed() -> None:
    labels = cycle_pairs(101, seed=0).labels
    assert labels is not None
    assert labels.sum() == 50
    assert 30 < np.abs(np.diff(labels)).sum() < 70


def test_neighbours_are_equally_likely_everywhere() -> None:
    """A node has two of eleven others as neighbours, in either class."""
    found = cycle_pairs(4000, seed=0)
    for label in (0, 1):
        shares = found.values[torch.from_numpy(found.labels == label)][:, :, :12].mean(0)
        off = shares[~torch.eye(12, dtype=torch.bool)]
        assert (off - 2 / 11).abs().max() < 5 * (2 / 11 * 9 / 11 / 2000) ** 0.5


def test_graphs_are_inputs_of_the_action_on_graphs() -> None:
    values = cycle_pairs(3, nodes=6, seed=0).values
    moved = graphs("C6")(values, 1)
    assert torch.equal(moved[:, :, :6].roll((-1, -1), (1, 2)), values[:, :, :6])


def test_the_same_seed_gives_the_same_graphs() -> None:
    first, again, other = (cycle_pairs(50, seed=seed).digest for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("nodes", [4, 7, 0])
def test_nodes_that_make_no_two_cycles_are_refused(nodes: int) -> None:
    message = f"`nodes`: expected an even number, at least 6, for two cycles, received {nodes}"
    with pytest.raises(OrbitLensError, match=message):
        cycle_pairs(4, nodes=nodes, seed=0)


def test_numbers_of_other_kinds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`n_graphs`: expected at least 1, received 0"):
        cycle_pairs(0, seed=0)
    with pytest.raises(OrbitLensError, match="`seed`: expected a whole number"):
        cycle_pairs(4, seed=None)  # type: ignore[arg-type]
