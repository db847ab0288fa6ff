"""Actions at the door: an argument is an action, and the action is one of its group."""

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.actions.base import Action
from orbitlens.errors import OrbitLensError, warn
from orbitlens.groups import Group

_PRODUCTS = 3  # random products that are compared
_ROUNDING = 1e-4  # of an exact action that calculates
_NEAR = 0.8  # an interpolated g(hx) is nearer to (gh)x than this share of the usual distance
_NO_MOVE = 0.5  # an interpolated identity changes inputs by less than this share


def check_action(action: object, name: str = "action") -> Action:
    """Return an action, and refuse anything else; a group does not say how it moves inputs."""
    if isinstance(action, Action):
        return action
    received, remedy = type(action).__name__, "see `orbitlens.actions`"
    if isinstance(action, Group):
        received = f"the group {action.name}"
        remedy = "say how it moves inputs, for example orbitlens.actions.images(group)"
    elif isinstance(action, str):
        received = repr(action)
        remedy = "give for example orbitlens.actions.images(orbitlens.groups.from_name('C4'))"
    elif callable(action):
        remedy = "call the function that builds the action with its group, or make an Action"
    raise OrbitLensError(f"`{name}`", expected="an Action", received=received, remedy=remedy)


def check_is_action(action: Action, inputs: Shaped[Tensor, "n *axes"]) -> None:
    """Check on a few inputs that an action is a left action, as its record says.

        ex = x   and   g(hx) = (gh)x   for some products gh, of generators and at random

    An exact action that fails is refused. An interpolated one is never exact, so it is warned of
    only if g(hx) is hardly nearer to (gh)x than another element of the orbit would be.
    """
    if len(inputs) == 0:
        return
    before, inputs = inputs, inputs.clone()
    moved = {g: _applied(action, inputs, g) for g in (0, *_generators(action.group))}
    _check_left_alone(action, inputs, before)
    _check_identity(action, moved[0], before)
    factors = _products(action.group)
    for g, h in factors:
        for element in (h, action.group.multiply(g, h)):
            if element not in moved:
                moved[element] = _applied(action, inputs, element)
    errors = {
        (g, h): _distance(_applied(action, moved[h], g), moved[action.group.multiply(g, h)], before)
        for g, h in factors
    }
    _check_left_alone(action, inputs, before)
    worst = max(errors, key=errors.__getitem__)
    if errors[worst] <= _ROUNDING:
        return
    names = [action.group.element_names[each] for each in worst]
    found = (
        f"g(hx) that differs from (gh)x by {errors[worst]:.2g} of x for g = {names[0]}, "
        f"h = {names[1]}"
    )
    if action.exact:
        raise _refusal(action, "a left action, g(hx) = (gh)x", found)
    others = [_distance(each, before, before) for g, each in moved.items() if g != 0]
    if others and errors[worst] > _NEAR * float(np.mean(others)):
        warn(
            f"action {action.name!r} of {action.group.name}",
            found=found,
            remedy="correct `apply`; interpolation alone hardly changes so much",
        )


def _applied(action: Action, inputs: Tensor, element: int) -> Tensor:
    moved: object = action.apply(inputs, element)
    if not isinstance(moved, Tensor) or (moved.shape, moved.dtype) != (inputs.shape, inputs.dtype):
        raise _refusal(
            action,
            f"moved inputs of shape {list(inputs.shape)} in {inputs.dtype}",
            f"{list(moved.shape)} in {moved.dtype}"
            if isinstance(moved, Tensor)
            else type(moved).__name__,
        )
    return moved


def _check_left_alone(action: Action, inputs: Tensor, before: Tensor) -> None:
    """Check that an action wrote nothing into the inputs that it was given."""
    same = (inputs == before) | ((inputs != inputs) & (before != before))
    if not bool(same.all()):
        raise _refusal(action, "moved inputs apart from the given ones", "it writes into them")


def _check_identity(action: Action, moved: Tensor, inputs: Tensor) -> None:
    """Check that element 0 leaves inputs as they are."""
    error = _distance(moved, inputs, inputs)
    if error > (_ROUNDING if action.exact else _NO_MOVE):
        raise _refusal(
            action,
            "inputs that its element 0, the identity, leaves as they are",
            f"inputs changed by {error:.2g} of their size",
        )


def _generators(group: Group) -> list[int]:
    return list(group.generators) or [0]


def _products(group: Group) -> list[tuple[int, int]]:
    """Return each generator with its inverse, and random pairs, if possible ones with gh != hg."""
    pairs = [(g, int(group.inverses[g])) for g in _generators(group)]
    found = np.argwhere(group.table != group.table.T)
    if len(found) == 0:
        found = np.argwhere(group.table >= 0)
    drawn = np.random.default_rng(0).permutation(len(found))[:_PRODUCTS]
    return list(dict.fromkeys(pairs + [(int(g), int(h)) for g, h in found[drawn]]))


def _distance(one: Tensor, other: Tensor, inputs: Tensor) -> float:
    """Return ||one - other|| / ||inputs||; 0 where all is zero."""
    wide = torch.promote_types(inputs.dtype, torch.float64)
    difference = torch.linalg.vector_norm((one.to(wide) - other.to(wide)).flatten())
    size = torch.linalg.vector_norm(inputs.to(wide).flatten())
    return float(difference / size) if size > 0 else float(difference)


def _refusal(action: Action, expected: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"action {action.name!r} of {action.group.name}",
        expected=expected,
        received=received,
        remedy="correct its `apply`, or the order of the group's elements",
    )
