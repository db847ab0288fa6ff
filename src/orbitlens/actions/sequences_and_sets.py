"""Actions on sequences and sets: the two strands of DNA, periodic shifts, permutations."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions._integers import of_any_integers
from orbitlens.actions.base import Action, places_moved
from orbitlens.checks import as_indices
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group, cyclic, turns_and_flips
from orbitlens.typing import Numbers


def reverse_complement() -> Action:
    """Return the action of C2 on DNA that reads the other strand.

    (sx)[letter, i] = x[complement of letter, length - 1 - i], with A <-> T and C <-> G

    Inputs are one-hot, [n, 4, length], with the letters in the order A, C, G, T.

    Returns:
        The exact action of `groups.cyclic(2)`.

    Example:
        >>> strands = reverse_complement()
        >>> one_hot = torch.eye(4)[[0, 0, 1]].T[None]  # AAC
        >>> ["ACGT"[i] for i in strands(one_hot, 1)[0].argmax(0)]
        ['G', 'T', 'T']
    """
    group = cyclic(2)

    @of_any_integers
    def move(inputs: Shaped[Tensor, "n 4 length"], element: int) -> Shaped[Tensor, "n 4 length"]:
        # In the order A, C, G, T the complement of a letter is its mirror image.
        return inputs.flip(-2, -1) if element else inputs.clone()

    def check(inputs: Tensor) -> None:
        if inputs.ndim != 3 or inputs.shape[1] != 4:
            raise OrbitLensError(
                "sequences",
                expected="one-hot letters A, C, G, T, shape [n, 4, length]",
                received=list(inputs.shape),
                remedy="move the letters to axis 1 with sequences.transpose(1, 2)",
            )

    def places(height: int, width: int) -> Int[np.ndarray, "group position"]:
        if height != 1:
            raise OrbitLensError(
                "feature maps under reverse_complement",
                expected="height 1, one place per letter or window",
                received=f"{height} x {width}",
                remedy="choose a layer with one spatial axis",
            )
        return np.stack([np.arange(width), np.arange(width)[::-1]])

    return Action("reverse_complement", group, apply=move, check=check, grid=places)


def cyclic_shift(group: Group | str) -> Action:
    """Return the action of C_n by equal shifts along the last axis, which is periodic.

    (px)[..., i] = x[..., i - p length / n]

    Args:
        group: `groups.cyclic(n)` or its name; its order must divide the length of the inputs
            [n, ..., length].

    Returns:
        The exact action.

    Raises:
        OrbitLensError: If the group is not cyclic.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> cyclic_shift(cyclic(3))(torch.tensor([[1, 2, 3, 4, 5, 6]]), 1).tolist()
        [[5, 6, 1, 2, 3, 4]]
    """
    group = as_group(group)
    if group != cyclic(group.order):
        raise OrbitLensError(
            "`group` of cyclic_shift",
            expected="C_n with its elements in the order of groups.cyclic",
            received=group.name,
            remedy=f"use groups.cyclic({group.order})",
        )

    def move(inputs: Shaped[Tensor, "n *axes"], element: int) -> Shaped[Tensor, "n *axes"]:
        return torch.roll(inputs, element * inputs.shape[-1] // group.order, dims=-1)

    def check(inputs: Tensor) -> None:
        if inputs.ndim < 2 or inputs.shape[-1] % group.order:
            raise OrbitLensError(
                f"inputs under shifts of {group.name}",
                expected=f"shape [n, ..., length] with a length divisible by {group.order}",
                received=list(inputs.shape),
                remedy="crop the last axis or choose a divisor of its length",
            )

    def places(height: int, width: int) -> Int[np.ndarray, "group position"]:
        if width % group.order:
            raise OrbitLensError(
                f"feature maps under shifts of {group.name}",
                expected=f"a width divisible by {group.order}",
                received=f"{height} x {width}",
                remedy="choose another layer or a divisor of its width",
            )
        return places_moved(move, group.order, height, width)

    return Action("cyclic_shift", group, apply=move, check=check, grid=places)


def set_permutation(group: Group | str, permutations: Numbers | None = None) -> Action:
    """Return the action of a group that permutes the elements of a set.

    (gx)[permutations[g, i]] = x[i]

    Args:
        group: The group that acts, or its name.
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
    group = as_group(group)
    where = _default_permutations(group) if permutations is None else _given(permutations)
    _check_homomorphism(group, where)
    return Action(
        name="set_permutation",
        group=group,
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


def _given(permutations: Numbers) -> Int[np.ndarray, "group element"]:
    axes, most = "group element", np.iinfo(np.int64).max
    return as_indices("permutations", permutations, axes, most=most).numpy()


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
