"""Permutations of places, one for each element of a group: the usual ones, or given ones."""

import math

import numpy as np
from jaxtyping import Int

from orbitlens.checks import as_indices
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, permutations, symmetric, turns_and_flips
from orbitlens.typing import Numbers

_LARGEST_N = 6  # of the symmetric groups that there are


def permutations_of(group: Group, given: Numbers | None) -> Int[np.ndarray, "group element"]:
    """Return `where[g, i]`, the place to which g sends place i, as given or by default.

    C_n and D_n act on n places: a turn sends i to i + 1 and the flip sends i to -i, modulo n. S_n
    permutes n places, as `groups.symmetric` says. Other groups need `given`.

    Raises:
        OrbitLensError: If a row is not a permutation, if the rows do not multiply as the group
            does, or if the group has no default.
    """
    where = _default(group) if given is None else _as_given(given)
    _check_homomorphism(group, where)
    return where


def _default(group: Group) -> Int[np.ndarray, "group element"]:
    known = turns_and_flips(group)
    if known is not None:
        n, _ = known
        q, p = np.divmod(np.arange(group.order)[:, None], n)
        return (p + np.where(q == 1, -1, 1) * np.arange(n)) % n
    for n in range(1, _LARGEST_N + 1):
        if math.factorial(n) == group.order and np.array_equal(symmetric(n).table, group.table):
            turn, swap = (*range(1, n), 0), (1, 0, *range(2, n))
            return permutations(group, [turn, swap][: len(group.generators)])
    raise OrbitLensError(
        "`permutations`",
        expected="one permutation per element, as only C_n, D_n and S_n have a default",
        received=f"None for {group.name}",
        remedy="pass an array of shape [|G|, elements]",
    )


def _as_given(given: Numbers) -> Int[np.ndarray, "group element"]:
    axes, most = "group element", np.iinfo(np.int64).max
    return as_indices("permutations", given, axes, most=most).numpy()


def _check_homomorphism(group: Group, where: Int[np.ndarray, "group element"]) -> None:
    places = np.arange(where.shape[1])
    wrong_rows = np.flatnonzero((np.sort(where, axis=1) != places).any(axis=1))
    if len(where) != group.order or len(wrong_rows):
        raise OrbitLensError(
            "`permutations`",
            expected=f"{group.order} rows, each with the places 0 to {len(places) - 1} once",
            received=f"row {wrong_rows[0]} with {where[wrong_rows[0]].tolist()}"
            if len(wrong_rows)
            else f"{len(where)} rows",
            remedy=f"give one permutation per element of {group.name}",
        )
    for g in range(group.order):
        wrong = np.flatnonzero((where[g][where] != where[group.table[g]]).any(axis=1))
        if len(wrong):
            name, other = group.element_names[g], group.element_names[wrong[0]]
            raise OrbitLensError(
                "`permutations`",
                expected=f"a left action of {group.name}: g(h i) = (g h) i",
                received=f"one that fails for g = {name} ({g}), h = {other} ({wrong[0]})",
                remedy="correct the permutations, or reverse them if they are right actions",
            )
