"""The maps of states and actions: read at the door, and checked to be one group together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from orbitlens.actions import Action, check_is_action
from orbitlens.checks import as_axes, as_tensor
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.symmetry.check._laws import (
    ROUNDING,
    as_permutations,
    block_diagonal,
    group_of,
    largest,
    no_group,
    other_elements,
    unit_columns,
)
from orbitlens.symmetry.check._spaces import Array, Spaces
from orbitlens.typing import Tensor

_Move = Callable[[Array, int], Array]


@dataclass(frozen=True)
class Maps:
    """How each element of a group moves states [n, d], and actions [n, m] or their numbers [n].

    Args:
        group: The group that both maps are an action of.
        states: `states(values, g)` returns g s.
        actions: `actions(values, g)` returns g a.
        laws: Largest errors of "closure", "identity", "inverses", and of the "bounds" of actions.
        linear: The matrices on states, [|G|, d, d]; None if they are an `Action`.
    """

    group: Group
    states: _Move
    actions: _Move
    laws: dict[str, float]
    linear: Float[Tensor, "group d d"] | None


def read_maps(states: object, actions: object, spaces: Spaces, sample: tuple[Array, Array]) -> Maps:
    """Return maps that are given as matrices, permutations or actions; refuse what is no group.

    `sample` are some states and actions, on which an `Action` is tried.
    """
    given = [each.group for each in (states, actions) if isinstance(each, Action)]
    _refuse_functions(states, actions)
    on_states = None if isinstance(states, Action) else _state_matrices(states, spaces)
    single = on_states is not None and on_states.ndim == 2
    on_actions = None if isinstance(actions, Action) else _action_matrices(actions, spaces, single)
    if on_states is None or on_actions is None:
        group, laws = given[0], dict.fromkeys(("closure", "identity", "inverses"), 0.0)
        if any(not np.array_equal(each.table, group.table) for each in given):
            raise other_elements(" and ".join(each.name for each in given))
        if on_states is not None:
            on_states, laws = _following(group, on_states)
        if on_actions is not None:
            on_actions, laws = _following(group, on_actions)
    else:
        joint = block_diagonal(on_states, on_actions)
        group, joint, laws = group_of(joint, generated=single)
        on_states, on_actions = (
            joint[:, : spaces.dim, : spaces.dim],
            joint[:, spaces.dim :, spaces.dim :],
        )
    _check_moves(group)
    move_states = _by_action(states, sample[0]) if on_states is None else _by_matrices(on_states)
    if on_actions is None:
        move_actions = _by_action(actions, sample[1])
        laws["bounds"] = _check_stays(move_actions, group, spaces, sample[1])
    elif spaces.n_actions is None:
        move_actions, laws["bounds"] = _by_matrices(on_actions), _check_bounds(on_actions, spaces)
    else:
        move_actions, laws["bounds"] = _by_permutations(on_actions), 0.0
    return Maps(group, move_states, move_actions, laws, on_states)


def _state_matrices(states: object, spaces: Spaces) -> Float[Tensor, "*group d d"]:
    return _matrices("states", states, spaces.dim, "numbers of an observation")


def _action_matrices(actions: object, spaces: Spaces, single: bool) -> Float[Tensor, "*group m m"]:
    """Return matrices of actions; for discrete ones from permutations or permutation matrices.

    [[0, 1], [1, 0]] is both: the two permutations of two actions, and the matrix that swaps them.
    Beside a `single` map of states it is the matrix.
    """
    if spaces.n_actions is None:
        return _matrices("actions", actions, len(spaces.low), "numbers of an action")
    n = spaces.n_actions
    given = as_tensor("actions", actions)
    units = given.ndim in (2, 3) and given.shape[-2:] == (n, n)
    units = units and bool(((given == 0) | (given == 1)).all())
    units = units and bool((given.sum(-1) == 1).all() and (given.sum(-2) == 1).all())
    if units and (n != 2 or given.ndim == 3 or single):
        return given.double()
    return unit_columns(as_permutations("actions", actions, n))


def _refuse_functions(states: object, actions: object) -> None:
    """Refuse plain functions with the line that makes an `Action` of one."""
    for name, value in (("states", states), ("actions", actions)):
        if callable(value) and not isinstance(value, Action):
            moved = "2 * c - s" if name == "states" else "-s"
            raise OrbitLensError(
                f"`{name}`",
                expected="matrices or an Action",
                received="a function",
                remedy="make an Action of it, which tells the elements apart: "
                f'orbitlens.actions.own("C2", lambda s, g: {moved} if g else s.clone())'
                + (" is the reflection about c" if name == "states" else ""),
            )


def _matrices(name: str, value: object, size: int, what: str) -> Float[Tensor, "*group d d"]:
    found = as_tensor(name, value, dtype=torch.float64).detach()
    if found.ndim not in (2, 3) or found.shape[-2:] != (size, size) or len(found) == 0:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"matrices of shape [|G|, {size}, {size}] or one of [{size}, {size}], for the "
            f"{size} {what}",
            received=f"shape {list(found.shape)}",
            remedy="give one matrix for each element, or one that generates the group",
        )
    return as_axes(name, found, "group d d" if found.ndim == 3 else "d d", dtype=torch.float64)


def _following(
    group: Group, matrices: Float[Tensor, "*group d d"]
) -> tuple[Float[Tensor, "group d d"], dict[str, float]]:
    """Return matrices beside an `Action`, one for each element, if they multiply as its group does.

    A single one stands for element 1, if all elements are its powers.
    """
    if matrices.ndim == 2:
        matrices = _powers_in_order(group, matrices)
    if len(matrices) != group.order:
        raise other_elements(f"{len(matrices)} matrices beside an Action of {group.name}")
    table = torch.from_numpy(group.table.copy())
    errors = (matrices[:, None] @ matrices - matrices[table]).abs().amax((2, 3))
    identity = largest(matrices[0] - torch.eye(matrices.shape[1], dtype=matrices.dtype))
    if max(float(errors.max()), identity) > ROUNDING:
        g, h = divmod(int(errors.argmax()), group.order)
        raise no_group(
            f"closure: the product of elements g and h of {group.name} is element gh",
            f"another matrix for g = {g}, h = {h}",
            "bring the matrices into the order of the group's elements",
        )
    inverse = errors[table == 0].max()
    laws = {"closure": float(errors.max()), "identity": identity, "inverses": float(inverse)}
    return matrices, laws


def _powers_in_order(group: Group, generator: Float[Tensor, "d d"]) -> Float[Tensor, "group d d"]:
    powers = {0: torch.eye(len(generator), dtype=generator.dtype)}
    element, power = 1 % group.order, generator
    while element not in powers:
        powers[element], power = power, power @ generator
        element = int(group.table[element, 1])
    if len(powers) != group.order:
        raise other_elements(f"a single map beside an Action of {group.name}")
    return torch.stack([powers[g] for g in range(group.order)])


def _check_moves(group: Group) -> None:
    if group.order == 1:
        raise no_group(
            "a map that moves something", "the identity alone", "give a reflection or a turn"
        )


def _check_stays(move: _Move, group: Group, spaces: Spaces, sample: Array) -> float:
    """Check that an `Action` keeps some actions among those that there are."""
    for g in range(group.order):
        moved = move(sample, g)
        if spaces.n_actions is not None:
            stays = set(move(np.arange(spaces.n_actions), g)) == set(range(spaces.n_actions))
        else:
            stays = bool(
                (moved >= spaces.low - ROUNDING).all() and (moved <= spaces.high + ROUNDING).all()
            )
        if not stays:
            raise OrbitLensError(
                "`actions`",
                expected="maps that keep the actions of the environment",
                received=f"element {g}, which leads out of them",
                remedy="correct the map",
            )
    return 0.0


def _check_bounds(matrices: Float[Tensor, "group m m"], spaces: Spaces) -> float:
    """Return how far an element moves the bounds of the actions; refuse one that does."""
    low, high = moved_bounds(matrices, spaces.low, spaces.high)
    change = np.maximum(_apart(low, spaces.low), _apart(high, spaces.high))
    if change.max() > ROUNDING:
        g, i = divmod(int(change.argmax()), change.shape[1])
        raise OrbitLensError(
            "`actions`",
            expected=f"maps that keep the bounds of actions, {spaces.low[i]:g} to "
            f"{spaces.high[i]:g} of number {i}",
            received=f"element {g}, which moves them to {low[g, i]:g} and {high[g, i]:g}",
            remedy="scale the actions to bounds that the group keeps, or correct the map",
        )
    return float(change.max())


def moved_bounds(
    matrices: Float[Tensor, "group m m"], low: Array, high: Array
) -> tuple[Array, Array]:
    """Return the bounds of a box after each element has moved it, [|G|, m] each."""
    weights = matrices.numpy()
    weights = np.where(np.abs(weights) > ROUNDING, weights, 0.0)
    with np.errstate(invalid="ignore"):
        ends = np.stack([weights * low, weights * high])
    ends = np.where(weights == 0, 0.0, ends)
    return ends.min(0).sum(-1), ends.max(0).sum(-1)


def _apart(found: Array, wanted: Array) -> Array:
    same = found == wanted  # of two infinities, too
    with np.errstate(invalid="ignore"):
        change = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    return np.where(same, 0.0, np.where(np.isnan(change), np.inf, change))


def _by_matrices(matrices: Float[Tensor, "group d d"]) -> _Move:
    arrays = matrices.numpy()
    return lambda values, g: values @ arrays[g].T


def _by_permutations(matrices: Float[Tensor, "group n n"]) -> _Move:
    where = matrices.argmax(1).numpy()
    return lambda values, g: where[g][values]


def _by_action(action: Any, sample: Array) -> _Move:
    check_is_action(action, torch.from_numpy(sample[:8].copy()))
    return lambda values, g: action(torch.from_numpy(values.copy()), g).detach().numpy()
