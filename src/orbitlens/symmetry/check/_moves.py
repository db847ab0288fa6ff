"""What is compared: how each element moves the inputs, and how the outputs should move then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.actions import (
    Action,
    SampledAction,
    check_action,
    check_is_action,
    describe_elements,
)
from orbitlens.errors import OrbitLensError
from orbitlens.reps import Representation, check_multiplies
from orbitlens.symmetry.check._function import wide

_DRAWS = 8
_TRIED = 2  # inputs on which the action is tried
_MEASURED = 64  # the largest group whose interpolation is measured

Output = Representation | Action | SampledAction | None


@dataclass(frozen=True)
class Move:
    """One element, or one draw: its name, what it does to inputs and outputs, and its words.

    `inverse` does to outputs what g^-1 does; None where this is what g does.
    """

    name: str
    inputs: Callable[[Tensor], Tensor]
    outputs: Callable[[Tensor], Tensor]
    words: str = ""
    inverse: Callable[[Tensor], Tensor] | None = None


def moves_of(
    action: Action | SampledAction,
    output: Output,
    inputs: Shaped[Tensor, "n *axes"],
    generator: torch.Generator,
) -> list[Move]:
    """Return the moves of all elements but the identity, or of some that are drawn.

    Raises:
        OrbitLensError: If there is no such element, if the action cannot move the inputs or is no
            action, or if `output` belongs to another group.
    """
    if isinstance(action, SampledAction):
        return _drawn(action, output, inputs, generator)
    action = check_action(action)
    if action.group.order == 1:
        raise OrbitLensError(
            "`action`",
            expected="a group with more than its identity",
            received=action.group.name,
            remedy="every function is symmetric under it; give a larger group",
        )
    _check_output(output, (Representation, Action), action.group.name)
    if isinstance(output, Representation | Action):
        _check_group(output, action)
    with torch.no_grad():
        action.check(inputs)
        check_is_action(action, inputs[:_TRIED])
    words, inverses = _words(action), action.group.inverses.tolist()
    return [
        Move(
            action.group.element_names[g],
            partial(action.moved, element=g),
            partial(_follow, output, g),
            words[g],
            None if output is None or inverses[g] == g else partial(_follow, output, inverses[g]),
        )
        for g in range(1, action.group.order)
    ]


def idle_moves(moves: Sequence[Move], inputs: Shaped[Tensor, "n *axes"]) -> tuple[str, ...]:
    """Return the names of the elements that leave all inputs as they are.

    Raises:
        OrbitLensError: If these are all of them: then every function passes.
    """
    with torch.no_grad():
        idle = tuple(each.name for each in moves if torch.equal(each.inputs(inputs), inputs))
    if len(idle) == len(moves):
        raise OrbitLensError(
            "`action`",
            expected="a group that moves the inputs",
            received="one that leaves all of them as they are",
            remedy="correct its `apply`, which may forget the element, or give "
            "inputs that it moves",
        )
    return idle


def interpolation_of(
    action: Action | SampledAction, inputs: Shaped[Tensor, "n *axes"]
) -> float | None:
    """Return how far an action that interpolates is from one; None for an exact or large one."""
    if isinstance(action, SampledAction) or action.exact or action.group.order > _MEASURED:
        return None
    with torch.no_grad():
        return action.error(inputs[:_TRIED])


def _words(action: Action) -> tuple[str, ...]:
    """Return what each element does, in words; empty ones for an action without."""
    try:
        words = describe_elements(action.group, action.name, action.config)
    except (OrbitLensError, TypeError, ValueError):  # an action of one's own by a known name
        words = ()
    return words if len(words) == action.group.order else ("",) * action.group.order


def _follow(output: Output, element: int, values: Tensor) -> Tensor:
    """Return rho(g) f(x) for an element of a finite group."""
    match output:
        case Representation():
            return _multiplied(output, values, element)
        case Action():
            return output(values, element)
        case _:
            return values


def check_outputs(output: Output, outputs: Shaped[Tensor, "n *axes"]) -> None:
    """Check that an action on the outputs can move them, and is an action."""
    if isinstance(output, Action):
        output.check(outputs)
        check_is_action(output, outputs[:_TRIED])


def name_of(output: Output) -> str:
    """Return how the outputs should move, in one or two words."""
    return "invariant" if output is None else output.name


def _check_group(output: Representation | Action, action: Action) -> None:
    if output.group != action.group:
        raise _other_group(output.group.name, action.group.name)
    if isinstance(output, Representation):
        check_multiplies(output, "`output`")


def _drawn(
    action: SampledAction, output: Output, inputs: Tensor, generator: torch.Generator
) -> list[Move]:
    _check_output(output, (SampledAction,), action.group)
    if isinstance(output, SampledAction) and output.group != action.group:
        raise _other_group(output.group, action.group)
    action.check(inputs)
    like = torch.empty(0, dtype=torch.float64, device=inputs.device)
    draws = [action.draw(len(inputs), generator, like) for _ in range(_DRAWS)]
    moved = output if isinstance(output, SampledAction) else None
    return [
        Move(
            f"draw {number}",
            partial(_follow_drawn, action, drawn),
            partial(_follow_drawn, moved, drawn),
            inverse=partial(_follow_drawn, moved, action.inverse(drawn)) if moved else None,
        )
        for number, drawn in enumerate(draws, start=1)
    ]


def _follow_drawn(
    action: SampledAction | None, drawn: tuple[Tensor, ...], values: Tensor
) -> Tensor:
    """Return inputs or outputs moved by one drawn element each."""
    return values if action is None else action(values, tuple(each.to(values) for each in drawn))


def _check_output(output: object, kinds: tuple[type, ...], group: str) -> None:
    if output is None or isinstance(output, kinds):
        return
    drawn = SampledAction in kinds
    listed = " or ".join(kind.__name__ for kind in kinds)
    regular = (
        ""
        if drawn
        else (
            f"for outputs by the regular representation reps.regular({group!r}), of m features "
            f"reps.direct_sum(*[reps.regular({group!r})] * m); "
        )
    )
    raise OrbitLensError(
        "`output`",
        expected=f"None for an invariant function, or an object {listed} of {group}",
        received=repr(output) if isinstance(output, str) else type(output).__name__,
        remedy=f"for outputs that move as the inputs do give the action itself; {regular}"
        "a function of outputs and elements becomes an Action with actions.own",
    )


def _other_group(received: str, expected: str) -> OrbitLensError:
    return OrbitLensError(
        "`output`",
        expected=f"an action of {expected}, as that on the inputs",
        received=f"one of {received}",
        remedy="give both the same group",
    )


def _multiplied(output: Representation, values: Tensor, element: int) -> Tensor:
    if values.ndim < 2 or values.shape[-1] != output.dim:
        raise OrbitLensError(
            f"outputs under {output.name}",
            expected=f"shape [n, ..., {output.dim}]",
            received=list(values.shape),
            remedy="give a representation of the width of the outputs, for example "
            "reps.direct_sum of several",
        )
    values = wide(values)
    return values @ output.matrices[element].to(values.device, values.dtype).T
