"""The record of a check of a function: its figures, its verdict and its sentence."""

import math
from dataclasses import asdict, dataclass
from typing import Any, final

from orbitlens.symmetry.check._errors import ElementErrors
from orbitlens.symmetry.check._words import (
    CONSTANT,
    NEARLY,
    PARTLY,
    UNCLEAR,
    WIDER,
    asides_of,
    kind_of,
    nothing_told,
    sentence_of,
    verdict_of,
)
from orbitlens.symmetry.check._worst_output import WorstOutput

_HIDDEN = 2  # an output is named if its error is so many times that of all outputs together


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
        rounding: An error that rounding may explain, from the number format of the outputs: 1e-5,
            or 30 of its steps.
        number_format: That format, such as "float32"; empty where all outputs are the same.
        in_float64: The mean error of the worst element in float64, measured where rounding may
            explain more than 1e-5; None elsewhere, and where f has no float64.
        worst_output: The number of the outputs that is missed by most in units of its own spread,
            beyond rounding; None without one, or where elements mix the numbers.
        inverse: The errors where the outputs move by g^-1; None where this is no other move.
        idle: The elements that leave all inputs as they are.
        interpolation: How far the action itself is from one, `Action.error`; None if it is exact.
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
    number_format: str = ""
    in_float64: float | None = None
    worst_output: WorstOutput | None = None
    inverse: ElementErrors | None = None
    idle: tuple[str, ...] = ()
    interpolation: float | None = None

    @property
    def verdict(self) -> str:
        """One of these, for the error of the worst element beside that of `shuffled`.

        "exact": at most a tenth, and rounding explains it: at most 1e-5, or at most 30 steps of the
        number format of which a tenth is left in float64, or 2 steps where f has no float64.
        "nearly": at most a tenth. "partly": at most half. "none": more. "constant": the outputs
        have no spread. "unclear": at most 30 steps, but more than a tenth, or more than 2 steps
        where f has no float64. A single output
        that misses by more than rounding makes "nearly" of "exact", and "partly" where it misses by
        half of what unrelated ones do.

        Of a function with random numbers the error is that of its mean over them: "expectation" if
        none is seen, and one of half the wrong one would have been; "unclear" if it would not.
        """
        return verdict_of(
            self.errors,
            self.shuffled,
            scale=self.scale,
            rounding=self.rounding,
            in_float64=self.in_float64,
            worst_output=self.worst_output,
        )

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.verdict == CONSTANT:
            return nothing_told(self.group, self.number_format)
        finding = sentence_of(
            self.verdict,
            self.group,
            self.output,
            self.errors,
            self.shuffled,
            self.other,
            self.noise,
            self.rounding,
        )
        asides = asides_of(
            self.errors,
            self.in_float64,
            self.worst_output if self._hides_one() else None,
            self.inverse,
            self.idle,
            self.interpolation,
        )
        return " ".join([finding, *asides])

    def _hides_one(self) -> bool:
        """Tell whether one of the outputs is far worse than all of them together."""
        worst = self.worst_output
        told = worst is not None and worst.error > _HIDDEN * self.errors.worst[1]
        return told and self.verdict in (NEARLY, PARTLY)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.sentence}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record; figures that constant outputs do not have are None."""
        rows = [
            {
                **self.errors.figures(place),
                "shuffled": self.shuffled.row(place),
                "other": self.other.row(place) if self.other else None,
                "inverse": self.inverse.row(place) if self.inverse else None,
            }
            for place in range(len(self.errors.elements))
        ]
        wrong = {"shuffled": self.shuffled, "other": self.other, "inverse": self.inverse}
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
            "number_format": self.number_format,
            "in_float64": self.in_float64,
            "worst_output": asdict(self.worst_output) | {"place": list(self.worst_output.place)}
            if self.worst_output
            else None,
            "idle": list(self.idle),
            "interpolation": self.interpolation,
            "wrong_groups": {
                key: {"name": each.name, "error": _known(each.overall)} if each else None
                for key, each in wrong.items()
            },
            "reason": self.reason,
            "elements": rows,
        }


def doubt_of(check: SymmetryCheck, *, draws: bool) -> tuple[str, str] | None:
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


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
