"""An order of the atoms of an attribution in which few edges cross."""

from collections.abc import Sequence

from orbitlens.attribution import Edge

_ROUNDS = 8


def order_atoms(edges: Sequence[Edge]) -> tuple[list[int], list[int]]:
    """Order sources and targets, from top to bottom, so that few edges cross.

    In each round the atoms of one side, then of the other, go to the mean place of their partners.
    """
    ends = [(edge.source, edge.target) for edge in edges]
    left, right = (list(dict.fromkeys(side)) for side in zip(*ends, strict=True))
    for _ in range(_ROUNDS):
        right = _sort_by_mean(right, [(target, source) for source, target in ends], left)
        left = _sort_by_mean(left, ends, right)
    return left, right


def _sort_by_mean(atoms: list[int], ends: list[tuple[int, int]], others: list[int]) -> list[int]:
    def mean(atom: int) -> float:
        places = [others.index(other) for own, other in ends if own == atom]
        return sum(places) / len(places)

    return sorted(atoms, key=mean)
