"""Is a map a symmetry of a function? The error of each element, beside two wrong groups.

    e_i(g) = ||f(g x_i) - rho(g) f(x_i)|| / s
    s^2    = mean over i and g of ||f(g x_i) - mean_j f(g x_j)||^2

The error is in units of the spread s of the outputs, as 1 - R^2 is: a constant that is added to the
outputs, or one that dominates them, hides nothing. Two unrelated outputs differ by sqrt(2) s.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.actions import Action, SampledAction
from orbitlens.checks import as_seed, as_tensor
from orbitlens.errors import OrbitLensError, warn
from orbitlens.reps import Representation
from orbitlens.symmetry.check._errors import ElementErrors, element_errors
from orbitlens.symmetry.check._function import distances, drawing_parts, running
from orbitlens.symmetry.check._moves import check_outputs, moves_of, name_of
from orbitlens.symmetry.check._spread import rounding_of, scale_of, unit_of, variance_of
from orbitlens.symmetry.check._trial import CALLS, Trial
from orbitlens.symmetry.check._words import (
    CONSTANT,
    UNCLEAR,
    WIDER,
    kind_of,
    sentence_of,
    verdict_of,
)
from orbitlens.symmetry.check._wrong_groups import other_moves, wrong_moves


@final
@dataclass(frozen=True)
class SymmetryCheck:
    """How far a function is from a symmetry, beside two wrong groups.

    Args:
        group: Name of the group.
        output: How the outputs should move: "invariant", or the name of a representation or action.
        n: Number of inputs.
        errors: e_i(g) of every element but the identity, or of every draw.
        shuffled: The same where the outputs move by other elements than the inputs. Where all
            elements move them alike, as those of an invariant function, or for a group of two
            elements, they come from another input.
        other: The same where the inputs move by another group of that order; None without one.
        reason: Why there is no other group; empty where there is one.
        noise: Mean of ||f(x_i) - f(x_i)|| / s over two calls; 0 for a function of its input.
        scale: The spread s of the outputs; NaN if these are constant.
        rounding: An error that rounding explains, from the number format of the outputs.
    """

    group: str
    output: str
    n: int
    errors: ElementErrors
    shuffled: ElementErrors
    other: ElementErrors | None
    reason: str
    noise: float
    scale: float
    rounding: float

    @property
    def verdict(self) -> str:
        """One of these, for the error of the worst element beside that of `shuffled`.

        "exact": at most a tenth, and rounding explains it. "nearly": at most a tenth. "partly": at
        most half. "none": more. "constant": all inputs get the same output. "unclear": more than a
        tenth, but rounding explains it. Of a function with random numbers the error is that of its
        mean over them: "expectation" if none is seen, and one of half the wrong one would have
        been; "unclear" if it would not.
        """
        return verdict_of(self.errors, self.shuffled, scale=self.scale, rounding=self.rounding)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        return sentence_of(
            self.verdict,
            self.group,
            self.output,
            self.errors,
            self.shuffled,
            self.other,
            self.noise,
            self.rounding,
        )

    def __str__(self) -> str:
        return f"{self.verdict}: {self.sentence}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record; figures that constant outputs do not have are None."""
        rows = [
            {
                **self.errors.figures(place),
                "shuffled": self.shuffled.row(place),
                "other": self.other.row(place) if self.other else None,
            }
            for place in range(len(self.errors.elements))
        ]
        wrong = {"shuffled": self.shuffled, "other": self.other}
        return {
            "group": self.group,
            "output": self.output,
            "n": self.n,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "error": _known(self.errors.overall),
            "noise": _known(self.noise),
            "resolution": self.errors.resolution if self.errors.hidden else None,
            "scale": _known(self.scale),
            "rounding": _known(self.rounding),
            "wrong_groups": {
                key: {"name": each.name, "error": _known(each.overall)} if each else None
                for key, each in wrong.items()
            },
            "reason": self.reason,
            "elements": rows,
        }


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
        function: f, a function of a batch or a network. A network is in evaluation mode meanwhile,
            and as before in the end. f returns a tensor with a row for each input. For a layer,
            give a function that returns its output. Of a network whose parts have an attribute
            `draws` that is True and an integer `seed`, as `symmetrize` makes them, every call draws
            anew; give such a network itself, not a function around it.
        inputs: Inputs [n, ...], at least two that differ.
        action: How the group moves the inputs. Every element of an `Action` is tried but the
            identity. Of a `SampledAction` one element for each input is drawn, 8 times.
        output: rho: None (the default) for an invariant function; a `Representation` on the last
            axis of outputs [n, ..., dim]; or an action of the same group: that on the inputs where
            outputs move as these do, or one of `actions.own`.
        seed: Seed of draws and of the wrong groups, default 0.

    Returns:
        The errors of every element, with their spread over the inputs, beside two wrong groups.

    Raises:
        OrbitLensError: If there are fewer than two inputs, if the action cannot move them or is
            none, if the output belongs to another group or is no representation, or if f fails or
            returns anything but a row of finite numbers for each input.

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
    another = other_moves(action, output, moves, inputs)
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
    check = SymmetryCheck(
        group=action.group if isinstance(action, SampledAction) else action.group.name,
        output=name_of(output),
        n=len(inputs),
        errors=element_errors("the group", names, right, scale, words),
        shuffled=element_errors(shuffled[0].name, names, wrong, scale),
        other=element_errors(another.name, another.elements, others, scale) if others else None,
        reason=another.reason,
        noise=noise / scale,
        scale=scale * unit,
        rounding=rounding_of(first, unit, scale) / scale,
    )
    doubt = _doubt(check, draws=bool(drawing_parts(function)))
    if doubt:
        warn("`function`", found=doubt[0], remedy=doubt[1])
    return check


def _doubt(check: SymmetryCheck, *, draws: bool) -> tuple[str, str] | None:
    """Return why a finding is doubtful, and what to do; None where it is not."""
    if check.verdict == CONSTANT:
        remedy = "give inputs that differ, and a function that tells them apart"
        return check.sentence.removesuffix("."), remedy
    if check.verdict == UNCLEAR:
        symmetric = f"{kind_of(check.output)} under {check.group}"
        if check.errors.hidden is None:
            return f"rounding hides whether it is {symmetric}", WIDER
        way = "let it draw more samples" if draws else "switch them off"
        return f"its random numbers hide whether it is {symmetric}", f"give more inputs, or {way}"
    if check.errors.hidden is not None and not draws:
        found = f"two calls with the same inputs differ by {check.noise:.2g} of the spread"
        return found, "switch its random numbers off, such as dropout outside of evaluation"
    return None


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


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
