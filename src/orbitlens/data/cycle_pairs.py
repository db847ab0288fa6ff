"""Graphs of one cycle or of two, which no message passing between neighbours can tell apart."""

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.data.base import Inputs
from orbitlens.errors import out_of_range

_SHORTEST = 3  # nodes of a cycle


def cycle_pairs(n_graphs: int, *, nodes: int = 12, seed: int) -> Inputs:
    """Draw graphs of one long cycle or of two cycles of half its length, relabelled at random.

        label 0: C_n        label 1: C_(n/2) + C_(n/2)

    Every node has two neighbours, so all nodes look alike to message passing, however deep: the
    first Weisfeiler-Leman test cannot separate the two classes. A network that reads the adjacency
    matrix can, but each class has many matrices: 11! / 2 for one cycle of 12 nodes.

    Half of the graphs, rounded down, have label 1. The order of the labels is random.

    Args:
        n_graphs: Number of graphs.
        nodes: Nodes n of each graph; even, at least 6.
        seed: The same seed gives the same graphs.

    Returns:
        Graphs as `actions.graphs` takes them: the adjacency matrix and then the degree of each
        node, shape [n_graphs, nodes, nodes + 1], float32; with labels 0 and 1.

    Raises:
        OrbitLensError: If `n_graphs` is below 1, or if `nodes` is odd or below 6.

    Example:
        >>> graphs = cycle_pairs(10, nodes=6, seed=0)
        >>> graphs.values.shape, graphs.class_names, int(graphs.labels.sum())
        (torch.Size([10, 6, 7]), ('one cycle', 'two cycles'), 5)
        >>> graphs.values[0, :, :6].sum(0).tolist()  # two neighbours each
        [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    n_graphs, nodes = as_count("n_graphs", n_graphs), as_count("nodes", nodes, least=0)
    if nodes < 2 * _SHORTEST or nodes % 2:
        raise out_of_range("nodes", "an even number, at least 6, for two cycles", nodes)
    check_memory(f"{n_graphs} graphs of {nodes} nodes", 8 * n_graphs * nodes**2, "choose fewer")
    generator = np.random.default_rng(as_seed(seed))
    labels = generator.permutation(np.arange(n_graphs) % 2).astype(np.int64)
    names = torch.from_numpy(generator.permuted(np.tile(np.arange(nodes), (n_graphs, 1)), axis=1))
    canonical = torch.stack([_cycles(nodes, 1), _cycles(nodes, 2)])[torch.from_numpy(labels)]
    rows = canonical.take_along_dim(names[:, :, None], 1)
    adjacency = rows.take_along_dim(names[:, None, :], 2).float()
    values = torch.cat([adjacency, adjacency.sum(2, keepdim=True)], 2)
    return Inputs("cycle pairs", values, labels, ("one cycle", "two cycles"))


def _cycles(nodes: int, count: int) -> Bool[Tensor, "nodes nodes"]:
    """Return the adjacency of `count` cycles of equal length, side by side."""
    length = nodes // count
    step = torch.eye(length, dtype=torch.bool).roll(1, 1)
    return torch.block_diag(*[step | step.T] * count)
