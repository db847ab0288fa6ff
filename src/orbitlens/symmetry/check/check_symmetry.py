"""Is a map a symmetry of a function? The error of each element, beside two wrong groups.

    e_i(g) = ||f(g x_i) - rho(g) f(x_i)|| / s
    s^2    = mean over i and g of ||f(g x_i) - mean_j f(g x_j)||^2

The error is in units of the spread s of the outputs, as 1 - R^2 is: a constant that is added to the
outputs, or one that dominates them, hides nothing. Two unrelated outputs differ by sqrt(2) s.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action, SampledAction
from orbitlens.checks import as_seed, as_tensor
from orbitlens.errors import OrbitLensError, warn
from orbitlens.reps import Representation
from orbitlens.symmetry.check._errors import ElementErrors, element_errors
from orbitlens.symmetry.check._function import Function, distances, running, wide
from orbitlens.symmetry.check._moves import Move, check_outputs, moves_of, name_of
from orbitlens.symmetry.check._words import CONSTANT, NOISE, sentence_of, verdict_of
from orbitlens.symmetry.check._wrong_groups import other_moves, shuffled_moves

_ROUNDING, _STEPS = 1e-5, 30  # an error, and steps of the number format, that rounding explains
_CONSTANT = 16  # steps of the number format that outputs differ by at least
_REMEDIES = {
    CONSTANT: "give inputs that differ, and a function that tells them apart",
    NOISE: "switch its random numbers off: dropout with training=self.training, fixed seeds",
}


@final
@dataclass(frozen=True)
class SymmetryCheck:
    """How far a function is from a symmetry, beside two wrong groups.

    Args:
        group: Name of the group.
        output: How the outputs should move: "invariant", or the name of a representation or action.
        n: Number of inputs.
        errors: e_i(g) of every element but the identity, or of every draw.
        shuffled: The same where the outputs move by other elements than the inputs. For an
            invariant function, and for a group of two elements, they come from another input.
        other: The same where the inputs move by another group of that order; None without one.
        reason: Why there is no other group; empty where there is one.
        noise: Mean of ||f(x_i) - f(x_i)|| / s over two calls; 0 for a function of its input.
        scale: The spread s of the outputs; NaN, as all errors, if these are constant.
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
        """One of "constant", "exact", "noise", "nearly", "partly" and "none"."""
        return verdict_of(
            scale=self.scale,
            error=self.errors.worst[1],
            rounding=self.rounding,
            noise=self.noise,
            control=self.shuffled.overall,
        )

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

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record; figures of constant outputs are not finite."""
        rows = [
            {
                **(self.errors.row(place) or {}),
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
            "error": self.errors.overall,
            "noise": self.noise,
            "scale": self.scale,
            "rounding": self.rounding,
            "wrong_groups": {
                key: {"name": each.name, "error": each.overall} if each else None
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
            and as before in the end. f returns a tensor with a row for each input.
        inputs: Inputs [n, ...], at least two that differ.
        action: How the group moves the inputs. Every element of an `Action` is tried but the
            identity. Of a `SampledAction` one element for each input is drawn, 8 times.
        output: rho: None (the default) for an invariant function; a `Representation` on the last
            axis of outputs [n, ..., dim]; or an action of the same group, see `actions.own`.
        seed: Seed of draws and of the wrong groups, default 0.

    Returns:
        The errors of every element, with their spread over the inputs, beside two wrong groups.

    Raises:
        OrbitLensError: If there are fewer than two inputs, if the action cannot move them or is
            none, if the output belongs to another group or is no representation, or if f fails or
            returns anything but a row of finite numbers for each input.

    Warns:
        OrbitLensWarning: If f gives all inputs the same output, or one input two outputs.

    Example:
        >>> from orbitlens import actions
        >>> turns = actions.images("C4")
        >>> found = check_symmetry(lambda x: x.mean((-1, -2)), torch.rand(20, 1, 8, 8), turns)
        >>> found.verdict
        'exact'
    """
    inputs = _as_inputs(inputs)
    generator = torch.Generator().manual_seed(as_seed(seed))
    moves = moves_of(action, output, inputs, generator)
    shuffled = shuffled_moves(action, output, moves, len(inputs), generator)
    another = other_moves(action, output, moves, inputs)
    with running(function) as run:
        still = run(inputs)
        check_outputs(output, still)
        noise = distances(run(inputs), still)
        outcomes = [
            _outcome(run, inputs, still, pair) for pair in zip(moves, shuffled, strict=True)
        ]
        others = [_distance(run, inputs, still, move) for move in another.moves]
    scale = _scale(still, [_variance(still), *(each.variance for each in outcomes)])
    names = [move.name for move in moves]
    right, wrong = [each.right for each in outcomes], [each.wrong for each in outcomes]
    check = SymmetryCheck(
        group=action.group if isinstance(action, SampledAction) else action.group.name,
        output=name_of(output),
        n=len(inputs),
        errors=element_errors("the group", names, right, scale),
        shuffled=element_errors(shuffled[0].name, names, wrong, scale),
        other=element_errors(another.name, another.elements, others, scale) if others else None,
        reason=another.reason,
        noise=float(noise.mean()) / scale,
        scale=scale,
        rounding=max(_ROUNDING, _STEPS * _step(still) / scale),
    )
    if check.verdict in (CONSTANT, NOISE):
        warn("`function`", found=check.sentence, remedy=_REMEDIES[check.verdict])
    return check


class _Outcome(NamedTuple):
    """Distances [n] of f(gx) from rho(g) f(x) and from a wrong target; the variance of f(gx)."""

    right: Float[Tensor, " n"]
    wrong: Float[Tensor, " n"]
    variance: float


def _outcome(run: Function, inputs: Tensor, still: Tensor, pair: tuple[Move, Move]) -> _Outcome:
    move, shuffled = pair
    moved = run(move.inputs(inputs))
    return _Outcome(
        distances(moved, move.outputs(still)),
        distances(moved, shuffled.outputs(still)),
        _variance(moved),
    )


def _distance(
    run: Function, inputs: Tensor, still: Tensor, move: Move | None
) -> Float[Tensor, " n"] | None:
    return None if move is None else distances(run(move.inputs(inputs)), move.outputs(still))


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


def _variance(outputs: Shaped[Tensor, "n *axes"]) -> float:
    """Return the mean of ||f(x_i) - mean_j f(x_j)||^2 over the inputs."""
    values = wide(outputs)
    return float(distances(values, values.mean(0, keepdim=True).expand_as(values)).square().mean())


def _scale(still: Tensor, variances: Sequence[float]) -> float:
    """Return s; NaN where outputs that are constant but for rounding have none."""
    scale = (sum(variances) / len(variances)) ** 0.5
    return scale if scale > _CONSTANT * _step(still) else math.nan


def _step(outputs: Shaped[Tensor, "n *axes"]) -> float:
    """Return a step of rounding of the outputs: their size times that of 1."""
    size = float(torch.linalg.vector_norm(wide(outputs))) / len(outputs) ** 0.5
    floats = outputs.is_floating_point() or outputs.is_complex()
    return size * torch.finfo(outputs.dtype if floats else torch.float64).eps
