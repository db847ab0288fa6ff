"""Actions on sequences and sets: the two strands of DNA, periodic shifts, permutations."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions._integers import of_any_integers
from orbitlens.actions._permutations import permutations_of
from orbitlens.actions.base import Action, places_moved
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group, cyclic
from orbitlens.typing import Numbers


def reverse_complement() -> Action:
    """Return the action of C2 on DNA that reads the other strand.

    (sx)[letter, i] = x[complement of letter, length - 1 - i], with A <-> T and C <-> G

    Inputs are one-hot, [n, 4, length]: axis 1 holds the letters in the order A, C, G, T, and axis 2
    the positions of the strand from its 5' end.

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
        group: `groups.cyclic(n)` or its name; its order must divide the length of the inputs.

    Returns:
        The exact action on inputs [n, ..., length]: the last axis counts the positions, and those
        between hold what is known of each, such as channels.

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
            [|G|, elements]. By default S_n permutes n places, as `groups.symmetric` says, and C_n
            and D_n act on n places: a turn sends i to i + 1 and the flip sends i to -i, modulo n.
            In D1 and D2 this flip moves nothing.

    Returns:
        The exact action on inputs [n, elements, ...]: axis 1 counts the elements of a set, and the
        axes after it hold what is known of each, such as its coordinates.

    Raises:
        OrbitLensError: If a row is not a permutation, if the rows do not multiply as the group does
            (the message names a pair that fails), or if the group has no default.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> set_permutation(cyclic(3))(torch.tensor([[10, 20, 30]]), 1).tolist()
        [[30, 10, 20]]
        >>> len(set_permutation("S3").orbit(torch.tensor([[10, 20, 30]]))[0])
        6
    """
    group = as_group(group)
    where = permutations_of(group, permutations)
    return Action(
        name="set_permutation",
        group=group,
        apply=partial(_move, torch.from_numpy(np.argsort(where, axis=1))),
        check=partial(_check, group, where.shape[1]),
        config={"permutations": where.tolist()},
        grid=partial(_places, group, where),
    )


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
