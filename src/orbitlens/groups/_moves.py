"""Positions that a group moves: one permutation for each element."""

import numpy as np
from jaxtyping import Int

from orbitlens.groups.base import Group


def check_moves(moves: Int[np.ndarray, "_ position"], group: Group) -> None:
    """Check that `moves[g, p]`, the place to which p moves under g, is an action of the group.

    Raises:
        ValueError: If a row is not a permutation, or the permutations do not multiply as the group.
    """
    order, places = group.order, moves.shape[-1]
    if moves.shape != (order, places) or not np.issubdtype(moves.dtype, np.integer):
        raise ValueError(f"moves of shape {list(moves.shape)} for {group}")
    everyone = np.arange(places)
    if not (np.sort(moves, axis=1) == everyone).all():
        raise ValueError("moves that are not a permutation for each element")
    # (gh) p = g (h p) for generators g and all h implies it for all g.
    composed = all((moves[group.table[g]] == moves[g][moves]).all() for g in group.generators)
    if not (composed and (moves[0] == everyone).all()):
        raise ValueError(f"moves that do not multiply as the elements of {group}")
