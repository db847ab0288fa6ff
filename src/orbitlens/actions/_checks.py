"""Actions at the door: an argument is an action, and the action is one of its group."""

import re
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.actions._grids import check_grid
from orbitlens.actions._other_order import remedy_of_order
from orbitlens.actions.base import Action
from orbitlens.actions.sampled import SampledAction
from orbitlens.errors import OrbitLensError, warn
from orbitlens.groups import Group

_PRODUCTS = 3  # random products that are compared
_MOST_MOVES = 4096  # products of all elements with the generators that are compared
_MOST_NUMBERS = 2**27  # that these products move
_BATCH = 16  # copies of an input that are moved at once
_ROUNDING = 1e-4  # of an exact action that calculates
_NEAR = 0.8  # an interpolated g(hx) is nearer to (gh)x than this share of the usual distance
# By the forms of the names of groups, the usual actions of these.
_ACTIONS: dict[str, Callable[[str], str]] = {
    r"(?i:[cd]\d+)": "actions.images('{}')".format,
    r"(?i:s\d+)": "actions.graphs('{}')".format,
    r"(?i:oh?)": "actions.volumes('{}')".format,
    r"p[124]|pmm?|p4m": "actions.plane('{}', side=32)".format,
}
_NO_MOVE = 0.5  # an interpolated identity changes inputs by less than this share


def check_action(action: object, name: str = "action") -> Action:
    """Return an action, and refuse anything else; a group does not say how it moves inputs."""
    if isinstance(action, Action):
        return action
    received, remedy = type(action).__name__, "see `orbitlens.actions`"
    if isinstance(action, Group):
        received = f"the group {action.name}"
        remedy = "say how it moves inputs, for example orbitlens.actions.images(group)"
    elif isinstance(action, SampledAction):
        received = f"{action}, whose elements are drawn"
        remedy = "choose one that lists its elements, such as actions.points or actions.graphs"
    elif isinstance(action, str):
        received = repr(action)
        calls = (call for form, call in _ACTIONS.items() if re.fullmatch(form, action))
        remedy = next((f"give for example orbitlens.{each(action)}" for each in calls), remedy)
    elif callable(action):
        remedy = "call the function that builds the action with its group, or make an Action"
    raise OrbitLensError(f"`{name}`", expected="an Action", received=received, remedy=remedy)


def check_is_action(action: Action, inputs: Shaped[Tensor, "n *axes"]) -> None:
    """Check on a few inputs that an action is a left action, as its record says.

        ex = x   and   g(hx) = (gh)x   for some products gh, of generators and at random

    An action that is not of this package is also tried on each element after each generator, on an
    input alone and in a batch, and its `grid` on the places of the inputs. An exact action that
    fails is refused. An interpolated one is never exact, so it is warned of only if g(hx) is hardly
    nearer to (gh)x than another element of the orbit would be.
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
    ours = _is_ours(action)
    if not ours:
        errors |= _after_generators(action, inputs, before)
    _check_left_alone(action, inputs, before)
    worst = max(errors, key=errors.__getitem__)
    names = [action.group.element_names[each] for each in worst]
    found = (
        f"g(hx) that differs from (gh)x by {errors[worst]:.2g} of x for g = {names[0]}, "
        f"h = {names[1]}"
    )
    if errors[worst] > _ROUNDING and action.exact:
        raise _refusal(
            action, "a left action, g(hx) = (gh)x", found, remedy_of_order(action, before)
        )
    others = [_distance(each, before, before) for g, each in moved.items() if g != 0]
    if errors[worst] > _ROUNDING and others and errors[worst] > _NEAR * float(np.mean(others)):
        warn(
            f"action {action.name!r} of {action.group.name}",
            found=found,
            remedy="correct `apply`; interpolation alone hardly changes so much",
        )
    if not ours:
        _check_batches(action, inputs, before)
        few = action.group.order * inputs[0].numel() <= _MOST_NUMBERS
        tried = range(action.group.order) if few else _generators(action.group)
        check_grid(action, before, tried)


def _applied(action: Action, inputs: Tensor, element: int) -> Tensor:
    moved: object = action.moved(inputs, element)
    if not isinstance(moved, Tensor) or (moved.shape, moved.dtype) != (inputs.shape, inputs.dtype):
        raise _refusal(
            action,
            f"moved inputs of shape {list(inputs.shape)} in {inputs.dtype}",
            f"{list(moved.shape)} in {moved.dtype}"
            if isinstance(moved, Tensor)
            else type(moved).__name__,
        )
    if bool(inputs.isfinite().all()) and not bool(moved.isfinite().all()):
        raise _refusal(action, "finite numbers of finite inputs", "NaN or infinity")
    return moved


def _is_ours(action: Action) -> bool:
    """Tell whether an action was built by a function of this package, and is right."""
    parts = [getattr(each, "func", each) for each in (action.apply, action.grid)]
    room = __name__.rpartition(".")[0]
    return all(
        part is None or str(getattr(part, "__module__", "")).startswith(room) for part in parts
    )


def _after_generators(
    action: Action, inputs: Tensor, before: Tensor
) -> dict[tuple[int, int], float]:
    """Return the error of s(hx) = (sh)x for each generator s and all h; nothing if they are many.

    As element 0 is the identity, these products imply all others.
    """
    group, generators = action.group, _generators(action.group)
    moves = group.order * len(generators)
    if moves > _MOST_MOVES or moves * inputs.numel() > _MOST_NUMBERS:
        return {}
    errors = {}
    for h in range(group.order):
        moved = _applied(action, inputs, h)
        for g in generators:
            product = _applied(action, inputs, group.multiply(g, h))
            errors[g, h] = _distance(_applied(action, moved, g), product, before)
    return errors


def _check_batches(action: Action, inputs: Tensor, before: Tensor) -> None:
    """Check that every input of a batch moves as it does alone."""
    for g in _generators(action.group):
        alone = torch.cat([_applied(action, each, g) for each in inputs.split(1)])
        batch = _applied(action, inputs.repeat(_BATCH, *[1] * (inputs.ndim - 1)), g)
        for part in batch.split(len(inputs)):
            error = _distance(part, alone, before)
            if error > _ROUNDING:
                name = action.group.element_names[g]
                raise _refusal(
                    action,
                    "an input that moves in a batch as it moves alone",
                    f"one that differs by {error:.2g} of its size for g = {name}",
                )


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
            remedy_of_order(action, inputs),
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
    wide = torch.complex128 if inputs.is_complex() else torch.float64
    # The square of a large number has no place in float64.
    one, other, inputs = (each.to(wide) for each in (one, other, inputs))
    largest = inputs.abs().max().clamp_min(1.0)
    one, other, inputs = (each / largest for each in (one, other, inputs))
    difference = torch.linalg.vector_norm((one - other).flatten())
    size = torch.linalg.vector_norm(inputs.flatten())
    return float(difference / size) if size > 0 else float(difference)


def _refusal(
    action: Action, expected: str, received: str, remedy: str | None = None
) -> OrbitLensError:
    return OrbitLensError(
        f"action {action.name!r} of {action.group.name}",
        expected=expected,
        received=received,
        remedy=remedy or "correct its `apply`, or the order of the group's elements",
    )
