"""Is a map a symmetry of a function? The error of each element, beside two wrong groups.

    e_i(g) = ||f(g x_i) - rho(g) f(x_i)|| / s
    s^2    = mean over i and g of ||f(g x_i) - mean_j f(g x_j)||^2

The error is in units of the spread s of the outputs, as 1 - R^2 is: a constant that is added to the
outputs, or one that dominates them, hides nothing. Two unrelated outputs differ by sqrt(2) s.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.actions import Action, SampledAction
from orbitlens.checks import as_seed, as_tensor
from orbitlens.errors import OrbitLensError, warn
from orbitlens.reps import Representation
from orbitlens.symmetry.check._errors import element_errors
from orbitlens.symmetry.check._function import distances, drawing_parts, running
from orbitlens.symmetry.check._moves import (
    check_outputs,
    idle_moves,
    interpolation_of,
    moves_of,
    name_of,
)
from orbitlens.symmetry.check._spread import (
    TOLERANCE,
    rounding_of,
    scale_of,
    unit_of,
    variance_of,
)
from orbitlens.symmetry.check._symmetry_record import SymmetryCheck, doubt_of
from orbitlens.symmetry.check._trial import CALLS, Trial
from orbitlens.symmetry.check._wider import outcomes_in_float64, worst_of
from orbitlens.symmetry.check._worst_output import keeps_numbers_apart, worst_output
from orbitlens.symmetry.check._wrong_groups import other_moves, tells_inverse, wrong_moves


def check_symmetry(
    function: nn.Module | Callable[[Tensor], Tensor],
    inputs: Shaped[Tensor, "n *axes"],
    action: Action | SampledAction,
    output: Representation | Action | SampledAction | None = None,
    *,
    seed: int = 0,
) -> SymmetryCheck:
    """Measure how far f(gx) is from rho(g) f(x), and from what two wrong groups would do.

        e_i(g) = ||f(g x_i) - rho(g) f(x_i)|| / s,   s^2 = mean ||f(g x_i) - mean_j f(g x_j)||^2

    Source: the relative error of a representation with the convention of R^2 that the transports
    have, about the mean of each feature of the target.

    Args:
        function: f, a function of a batch or a network, in TorchScript too. A network, or one that
            the function names, is in evaluation mode meanwhile, and as before in the end; one that
            is hidden deeper stays as it is: call network.eval() first. f returns a tensor with a
            row for each input, alone or as the first of a record without another. For a layer,
            give a function that returns its output. Of a network whose parts have an attribute
            `draws` that is True and an integer `seed`, as `symmetrize` makes them, every call draws
            anew.
        inputs: Inputs [n, ...], at least two that differ.
        action: How the group moves the inputs. Every element of an `Action` is tried but the
            identity. Of a `SampledAction` one element for each input is drawn, 8 times.
        output: rho: None (the default) for an invariant function; a `Representation` on the last
            axis of outputs [n, ..., dim]; or an action of the same group: that on the inputs where
            outputs move as these do, or one of `actions.own`.
        seed: Seed of draws and of the wrong groups, default 0.

    Returns:
        The errors of every element, with their spread over the inputs, beside two wrong groups, and
        beside inverse elements where these move the outputs in another way.

    Raises:
        OrbitLensError: If there are fewer than two inputs, if the action cannot move them, moves
            none of them or is none, if the output belongs to another group or is no representation,
            or if f fails or returns anything but a row of finite numbers for each input.

    Warns:
        OrbitLensWarning: If f gives all inputs the same output, or one input two outputs though no
            part of it says that it draws, or if random numbers or rounding hide what f does.

    Example:
        >>> from orbitlens import actions, groups, reps
        >>> turns, x = actions.images("C4"), torch.rand(20, 1, 8, 8)
        >>> check_symmetry(lambda x: x.mean((-1, -2)), x, turns).verdict
        'exact'
        >>> from orbitlens.models import GroupCNN
        >>> net = GroupCNN(groups.cyclic(4), features=2)
        >>> def layer(x):  # 8 channels f |G| + g, without their places
        ...     return net.conv1(net.lift(x).relu()).mean((-1, -2))
        >>> check_symmetry(layer, x, turns, reps.direct_sum(*[reps.regular("C4")] * 2)).verdict
        'exact'
    """
    inputs = _as_inputs(inputs)
    generator = torch.Generator().manual_seed(as_seed(seed))
    moves = moves_of(action, output, inputs, generator)
    idle, another = idle_moves(moves, inputs), other_moves(action, output, moves, inputs)
    with running(function, generator) as run:
        still = [run(inputs), run(inputs)]
        first, unit = still[0], unit_of(still[0])
        check_outputs(output, first)
        shuffled = wrong_moves(action, output, moves, first, generator)
        noise = float(distances(first, still[1], unit).mean())
        variance = variance_of(first, unit)
        random = noise > rounding_of(first, unit, variance**0.5)
        more = [run(inputs) for _ in range(2, CALLS)] if random else []
        trial = Trial(run, inputs, (*still, *more) if random else (first,), unit)
        outcomes = [trial.outcome(*pair) for pair in zip(moves, shuffled, strict=True)]
        others = [None if move is None else trial.difference(move) for move in another.moves]
        scale = scale_of(first, unit, [variance, *(each.variance for each in outcomes)])
        names, words = [move.name for move in moves], [move.words for move in moves]
        right, wrong = [each.right for each in outcomes], [each.wrong for each in outcomes]
        errors = element_errors("the group", names, right, scale, words)
        rounding = rounding_of(first, unit, scale) / scale
        wider = cache(lambda: outcomes_in_float64(function, run, inputs, moves, unit))
        doubtful = not random and TOLERANCE < errors.worst[1] <= rounding
        known = wider() if doubtful else None
        apart = not random and not math.isnan(scale) and keeps_numbers_apart(output)
        worst = worst_output(first, names, outcomes, unit, wider) if apart else None
    same = bool((first == first[:1]).all())
    back = [each.inverse for each in outcomes] if tells_inverse(moves, first) else []
    check = SymmetryCheck(
        group=action.group if isinstance(action, SampledAction) else action.group.name,
        output=name_of(output),
        n=len(inputs),
        errors=errors,
        shuffled=element_errors(shuffled[0].name, names, wrong, scale),
        other=element_errors(another.name, another.elements, others, scale) if others else None,
        reason=another.reason,
        noise=noise / scale,
        scale=scale * unit,
        rounding=rounding,
        number_format="" if same else str(first.dtype).removeprefix("torch."),
        in_float64=None if known is None else worst_of(known, scale),
        worst_output=worst,
        inverse=element_errors("inverse elements", names, back, scale) if back else None,
        idle=idle,
        interpolation=interpolation_of(action, inputs),
    )
    doubt = doubt_of(check, draws=bool(drawing_parts(function)))
    if doubt:
        warn("`function`", found=doubt[0], remedy=doubt[1])
    return check


def _as_inputs(inputs: object) -> Shaped[Tensor, "n *axes"]:
    found = inputs if isinstance(inputs, Tensor) else as_tensor("inputs", inputs, dtype=None)
    if found.ndim == 0 or len(found) < 2:
        raise OrbitLensError(
            "`inputs`",
            expected="at least two that differ, [n, ...]",
            received=f"shape {list(found.shape)}",
            remedy="give more; errors are in units of the spread of the outputs",
        )
    if found.is_floating_point():
        as_tensor("inputs", found, dtype=None)
    return found.detach()
