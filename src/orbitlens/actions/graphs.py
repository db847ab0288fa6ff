"""Relabelling the nodes of graphs: a permutation acts on both axes of the adjacency."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions._permutations import permutations_of
from orbitlens.actions.base import Action
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.typing import Numbers


def graphs(group: Group | str, permutations: Numbers | None = None) -> Action:
    """Return the action of a group that relabels the nodes of graphs.

    (gx)[p(i), p(j)] = x[i, j]   and   (gx)[p(i), nodes + f] = x[i, nodes + f]

    with p = permutations[g], for nodes i and j and feature f.

    Inputs are [n, nodes, nodes + features]. Row i belongs to node i: first its row of the adjacency
    matrix, then its features, if there are any. `torch.cat([adjacency, features], 2)` makes them;
    the network takes `x[:, :, :nodes]` and `x[:, :, nodes:]` apart again.

    Args:
        group: The group that acts, or its name, such as "S4" for all relabellings of 4 nodes.
        permutations: `permutations[g, i]` is the new label of node i, shape [|G|, nodes]. By
            default S_n, C_n and D_n act on n nodes, see `set_permutation`.

    Returns:
        The exact action. Its `grid` moves one place for each node (1 x nodes), or one for each pair
        of nodes (nodes x nodes).

    Raises:
        OrbitLensError: If a row is not a permutation, if the rows do not multiply as the group does
            (the message names a pair that fails), or if the group has no default.

    Example:
        >>> edge = torch.tensor([[[0, 1, 0, 7], [0, 0, 0, 8], [0, 0, 0, 9]]])  # from 0 to 1
        >>> graphs("C3")(edge, 1).tolist()  # from 1 to 2
        [[[0, 0, 0, 9], [0, 0, 1, 7], [0, 0, 0, 8]]]
    """
    group = as_group(group)
    where = permutations_of(group, permutations)
    return Action(
        name="graphs",
        group=group,
        apply=partial(_move, torch.from_numpy(np.argsort(where, axis=1))),
        check=partial(_check, group, where.shape[1]),
        config={"permutations": where.tolist()},
        grid=partial(_places, group, where),
    )


def _move(
    origins: Int[Tensor, "group node"], inputs: Shaped[Tensor, "n node columns"], g: int
) -> Shaped[Tensor, "n node columns"]:
    nodes = origins[g].to(inputs.device)
    features = torch.arange(len(nodes), inputs.shape[2], device=inputs.device)
    return inputs.index_select(1, nodes).index_select(2, torch.cat([nodes, features]))


def _check(group: Group, nodes: int, inputs: Tensor) -> None:
    if inputs.ndim != 3 or inputs.shape[1] != nodes or inputs.shape[2] < nodes:
        raise OrbitLensError(
            f"graphs under {group.name}",
            expected=f"shape [n, {nodes}, {nodes} + features], rows of the adjacency matrix with "
            "the features of their nodes after them",
            received=list(inputs.shape),
            remedy="put both together with torch.cat([adjacency, features], 2), or pass other "
            "`permutations`",
        )


def _places(
    group: Group, where: Int[np.ndarray, "group node"], height: int, width: int
) -> Int[np.ndarray, "group position"]:
    order, nodes = where.shape
    if (height, width) == (1, nodes):
        return where.copy()
    if (height, width) == (nodes, nodes):
        return (where[:, :, None] * nodes + where[:, None, :]).reshape(order, nodes**2)
    raise OrbitLensError(
        f"feature maps under {group.name}",
        expected=f"1 x {nodes}, one place per node, or {nodes} x {nodes}, one per pair of nodes",
        received=f"{height} x {width}",
        remedy="choose a layer that keeps the nodes apart",
    )
