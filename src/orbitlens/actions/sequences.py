"""Actions on sequences: the two strands of DNA, and shifts along a periodic axis."""

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions.base import Action, places_moved
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic


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

    return Action(
        name="reverse_complement",
        group=group,
        exact=True,
        apply=move,
        check=check,
        config={},
        grid=places,
    )


def cyclic_shift(group: Group) -> Action:
    """Return the action of C_n by equal shifts along the last axis, which is periodic.

    (px)[..., i] = x[..., i - p length / n]

    Args:
        group: `groups.cyclic(n)`; its order must divide the length of the inputs [n, ..., length].

    Returns:
        The exact action.

    Raises:
        OrbitLensError: If the group is not cyclic.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> cyclic_shift(cyclic(3))(torch.tensor([[1, 2, 3, 4, 5, 6]]), 1).tolist()
        [[5, 6, 1, 2, 3, 4]]
    """
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

    return Action(
        name="cyclic_shift",
        group=group,
        exact=True,
        apply=move,
        check=check,
        config={},
        grid=places,
    )
