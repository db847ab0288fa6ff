"""Permutations of the elements of a set."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions.base import Action
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, turns_and_flips


def set_permutation(
    group: Group, permutations: Int[np.ndarray, "group element"] | None = None
) -> Action:
    """Return the action of a group that permutes the elements of a set.

    (gx)[permutations[g, i]] = x[i]

    Args:
        group: The group that acts.
        permutations: `permutations[g, i]` is the place to which g sends element i, shape
            [|G|, elements]. By default C_n and D_n act on n places: a turn sends i to i + 1 and the
            flip sends i to -i, modulo n. In D1 and D2 this flip moves nothing.

    Returns:
        The exact action on inputs [n, elements, ...].

    Raises:
        OrbitLensError: If a row is not a permutation, if the rows do not multiply as the group does
            (the message names a pair that fails), or if the group has no default.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> set_permutation(cyclic(3))(torch.tensor([[10, 20, 30]]), 1).tolist()
        [[30, 10, 20]]
    """
    where = _default_permutations(group) if permutations is None else permutations.astype(np.int64)
    _check_homomorphism(group, where)
    return Action(
        name="set_permutation",
        group=group,
        exact=True,
        apply=partial(_move, torch.from_numpy(np.argsort(where, axis=1))),
        check=partial(_check, group, where.shape[1]),
        config={"permutations": where.tolist()},
        grid=partial(_places, group, where),
    )


def _default_permutations(group: Group) -> Int[np.ndarray, "group element"]:
    known = turns_and_flips(group)
    if known is None:
        raise OrbitLensError(
            "`permutations`",
            expected="one permutation per element, as only C_n and D_n have a default",
            received=f"None for {group.name}",
            remedy="pass an array of shape [|G|, elements]",
        )
    n, _ = known
    q, p = np.divmod(np.arange(group.order)[:, None], n)
    return (p + np.where(q == 1, -1, 1) * np.arange(n)) % n


def _move(
    origins: Int[Tensor, "group element"], inputs: Shaped[Tensor, "n element *axes"], g: int
) -> Shaped[Tensor, "n element *axes"]:
    return inputs.index_select(1, origins[g].to(inputs.device))


def _check(group: Group, elements: int, inputs: Tensor) -> None:
    if inputs.ndim < 2 or inputs.shape[1] != elements:
        raise OrbitLensError(
            f"sets under {group.name}",
            expected=f"shape [n, {elements}, ...]",
            received=list(inputs.shape),
            remedy="put the elements of the set on axis 1, or pass other `permutations`",
        )


def _places(
    group: Group, where: Int[np.ndarray, "group element"], height: int, width: int
) -> Int[np.ndarray, "group element"]:
    if (height, width) != (1, where.shape[1]):
        raise OrbitLensError(
            f"feature maps under {group.name}",
            expected=f"1 x {where.shape[1]}, one place per element of the set",
            received=f"{height} x {width}",
            remedy="choose a layer that keeps the elements apart",
        )
    return where.copy()


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
