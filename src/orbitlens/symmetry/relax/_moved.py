"""Transitions that elements of a group move, where a gate allows it."""

import torch
from jaxtyping import Int
from torch import Tensor

from orbitlens.reps import Representation
from orbitlens.symmetry.relax._replay import Transitions
from orbitlens.symmetry.relax.gate import SymmetryGate


def moved(
    found: Transitions,
    elements: Int[Tensor, " batch"],
    states: Representation,
    actions: Representation,
    gate: SymmetryGate | None = None,
) -> Transitions:
    """Return transitions g s, g a -> r, g s', each moved by its own element.

    With a gate, those alone are moved for which it is closed at (s, a) and at (g s, g a).

    Args:
        found: Transitions s, a -> r, s'.
        elements: Index of the element g for each of them.
        states: rho_S.
        actions: rho_A, permutation matrices.
        gate: lambda; default None, closed everywhere.

    Example:
        >>> from orbitlens.reps import irreps, regular
        >>> right = torch.tensor([[1.0, 0.0]])
        >>> ended = torch.tensor([True])
        >>> step = Transitions(0 * right, torch.tensor([0]), torch.ones(1), right, ended)
        >>> turned = moved(step, torch.tensor([1]), irreps("C4")[-1], regular("C4"))
        >>> turned.actions.tolist(), turned.following.tolist()
        ([1], [[0.0, 1.0]])
    """
    turns = states.matrices.to(found.states)[elements]
    images = actions.matrices.argmax(1)[elements]
    new = found._replace(
        states=torch.einsum("bij,bj->bi", turns, found.states),
        actions=images.gather(1, found.actions[:, None]).squeeze(1),
        following=torch.einsum("bij,bj->bi", turns, found.following),
    )
    if gate is None:
        return new
    opened = [gate(each.states).gather(1, each.actions[:, None]) > 0 for each in (found, new)]
    still = opened[0] | opened[1]
    return new._replace(
        states=torch.where(still, found.states, new.states),
        actions=torch.where(still.squeeze(1), found.actions, new.actions),
        following=torch.where(still, found.following, new.following),
    )
