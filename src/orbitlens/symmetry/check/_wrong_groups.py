"""Wrong groups: what the outputs of a symmetric function should not follow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens import actions
from orbitlens.actions import Action, SampledAction
from orbitlens.errors import OrbitLensError
from orbitlens.groups import EXACT_TURNS, Group, cyclic, dihedral, turns_and_flips
from orbitlens.symmetry.check._function import distances, wide
from orbitlens.symmetry.check._moves import Move, Output
from orbitlens.symmetry.check._spread import rounding_of, unit_of, variance_of

_TRIED = 32  # permutations, of which the most wrong one is taken
_FEW = 2  # inputs that tell whether two moves are one
_SAME = 1e-4  # of these inputs: what such moves may differ by


@dataclass(frozen=True)
class OtherGroup:
    """Moves of another group of the same order; without any, the reason.

    A move is None where it is one of the right group, which is no control.
    """

    name: str = ""
    elements: tuple[str, ...] = ()
    moves: tuple[Move | None, ...] = ()
    reason: str = ""


def wrong_moves(
    action: Action | SampledAction,
    output: Output,
    moves: Sequence[Move],
    outputs: Shaped[Tensor, "n *axes"],
    generator: torch.Generator,
) -> list[Move]:
    """Return the moves with the outputs of others: of shuffled elements, or of other draws.

    Where these are the right outputs, too, the outputs come from another input instead: for an
    invariant function, a representation that moves nothing, or two elements.
    """
    if output is not None and len(moves) > 1:
        shuffled = _shuffled_moves(action, moves, generator)
        if any(_differ(*pair, outputs) for pair in zip(moves, shuffled, strict=True)):
            return shuffled
    ring = torch.randperm(len(outputs), generator=generator)
    neighbour = torch.empty_like(ring).scatter_(0, ring, ring.roll(1))
    return [
        Move("another input", move.inputs, partial(_elsewhere, move, neighbour)) for move in moves
    ]


def tells_inverse(moves: Sequence[Move], outputs: Shaped[Tensor, "n *axes"]) -> bool:
    """Tell whether some element moves the outputs in another way than its inverse does."""
    return any(
        each.inverse is not None and _differ(each, replace(each, outputs=each.inverse), outputs)
        for each in moves
    )


def _shuffled_moves(
    action: Action | SampledAction, moves: Sequence[Move], generator: torch.Generator
) -> list[Move]:
    if isinstance(action, SampledAction):
        targets = [*moves[1:], moves[0]]
    else:
        targets = [moves[g - 1] for g in _shuffle(action.group, generator)[1:]]
    name = "another draw" if isinstance(action, SampledAction) else "shuffled elements"
    return [
        Move(name, move.inputs, target.outputs) for move, target in zip(moves, targets, strict=True)
    ]


def _differ(one: Move, other: Move, outputs: Shaped[Tensor, "n *axes"]) -> bool:
    """Tell whether two moves give different outputs, by more than rounding explains."""
    unit = unit_of(outputs)
    apart = distances(one.outputs(outputs), other.outputs(outputs), unit).mean()
    return float(apart) > rounding_of(outputs, unit, variance_of(outputs, unit) ** 0.5)


def other_moves(
    action: Action | SampledAction,
    output: Output,
    moves: Sequence[Move],
    inputs: Shaped[Tensor, "n *axes"],
) -> OtherGroup:
    """Return the inputs moved by another group of that order, the outputs as by the right one."""
    if isinstance(action, SampledAction):
        return OtherGroup(reason=f"{action.group} is drawn from, and has no order")
    try:
        other = _other_action(action)
        other.check(inputs)
    except OrbitLensError:
        reason = f"no other group of order {action.group.order} can move these inputs"
        return OtherGroup(reason=reason)
    own, wrong = (each.orbit(inputs[:_FEW]).transpose(0, 1) for each in (action, other))
    known = _known(own, wrong, anywhere=output is None)[1:]
    if all(known):
        reason = f"{other.group.name} moves these inputs as {action.group.name} does"
        return OtherGroup(reason=reason)
    return OtherGroup(
        name=other.group.name,
        elements=other.group.element_names[1:],
        moves=tuple(
            None if left_out else Move(move.name, partial(other.moved, element=g), move.outputs)
            for g, (move, left_out) in enumerate(zip(moves, known, strict=True), start=1)
        ),
    )


def _elsewhere(move: Move, neighbour: Int[Tensor, " n"], still: Tensor) -> Tensor:
    return move.outputs(still)[neighbour]


def _shuffle(group: Group, generator: torch.Generator) -> Int[np.ndarray, " order"]:
    """Return a permutation of three or more elements that keeps the identity.

    Of some random ones it keeps the fewest other elements, and among these it breaks the most
    products, s(g) s(h) != s(gh): an automorphism would name the elements in another way.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    numbers, own = np.random.default_rng(seed), np.arange(1, group.order)

    def wrongness(shuffle: Int[np.ndarray, " order"]) -> tuple[int, float]:
        broken = group.table[np.ix_(shuffle, shuffle)] != shuffle[group.table]
        return int((shuffle[1:] != own).sum()), float(broken.mean())

    candidates = [np.roll(own, 1), *(numbers.permutation(own) for _ in range(_TRIED))]
    return max((np.append(0, each) for each in candidates), key=wrongness)


def _other_action(action: Action) -> Action:
    """Return the action of another group of that order on such inputs.

    C_2m and D_m have one order: quarter turns against half turns with flips. On images a group may
    have to interpolate.
    """
    known, order = turns_and_flips(action.group), action.group.order
    usual = action.name in ("images", "points") and not {"axis", "matrices"} & {*action.config}
    if known is None or order % 2 or not usual:
        raise OrbitLensError(
            "`action`",
            expected="C_2m or D_m on images or points",
            received=repr(action),
            remedy="take no other group",
        )
    other = cyclic(order) if known[1] else dihedral(order // 2)
    if action.name == "points":
        return actions.points(other, **action.config)
    turns = order if known[1] else order // 2
    return actions.images(other, None if turns in EXACT_TURNS else "bilinear")


def _known(
    own: Shaped[Tensor, "order few *axes"],
    wrong: Shaped[Tensor, "order few *axes"],
    *,
    anywhere: bool,
) -> list[bool]:
    """Tell which moves of a wrong group are moves of the right one, from a few inputs.

    `anywhere` compares with all moves of the right group, as for an invariant function; otherwise
    with the move of the same index.
    """
    right, other = (_flat(each) for each in (own, wrong))
    apart = torch.cdist(other, right, compute_mode="donot_use_mm_for_euclid_dist")
    same = apart <= _SAME * right.norm(dim=1)
    found: list[bool] = (same.any(dim=1) if anywhere else same.diagonal()).tolist()
    return found


def _flat(moved: Shaped[Tensor, "order few *axes"]) -> Shaped[Tensor, "order numbers"]:
    values = wide(moved)
    return (torch.view_as_real(values) if values.is_complex() else values).flatten(1)
