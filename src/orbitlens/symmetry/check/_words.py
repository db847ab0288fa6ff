"""The finding of a check in words."""

import math
from collections.abc import Mapping

from orbitlens.symmetry.check._errors import ElementErrors

INVARIANT = "invariant"
CONSTANT, EXACT, EXPECTATION = "constant", "exact", "expectation"
NEARLY, PARTLY, NONE, UNCLEAR = "nearly", "partly", "none", "unclear"

WIDER = "calculate in float32 or float64, or leave out what is added to all outputs"

_MOST_OF_NEARLY, _MOST_OF_PARTLY = 0.1, 0.5  # of the error with shuffled elements
_ALIKE = 2  # times the error of the right group
_VERDICTS: Mapping[str, str] = {
    EXACT: "The function is {} up to rounding",
    NEARLY: "The function is nearly {}",
    PARTLY: "The function is only partly {}",
    NONE: "The function is not {}",
}


def verdict_of(
    errors: ElementErrors, shuffled: ElementErrors, *, scale: float, rounding: float
) -> str:
    """Return the verdict on the error of the worst element."""
    if math.isnan(scale):
        return CONSTANT
    error, control = errors.worst[1], shuffled.overall
    if errors.hidden is None and error <= rounding:
        return EXACT if error <= _MOST_OF_NEARLY * control else UNCLEAR
    if not errors.seen:
        return EXPECTATION if errors.resolution <= _MOST_OF_PARTLY * control else UNCLEAR
    bounds = {NEARLY: _MOST_OF_NEARLY * control, PARTLY: _MOST_OF_PARTLY * control}
    return next((verdict for verdict, bound in bounds.items() if error <= bound), NONE)


def sentence_of(
    verdict: str,
    group: str,
    output: str,
    errors: ElementErrors,
    shuffled: ElementErrors,
    other: ElementErrors | None,
    noise: float,
    rounding: float,
) -> str:
    """Return the verdict as a sentence, with the errors that it rests on."""
    if verdict == CONSTANT:
        return (
            "All inputs get the same output up to rounding, so the check says nothing about "
            f"{group}."
        )
    symmetric = f"{kind_of(output)} under {group}"
    if verdict == EXPECTATION:
        return (
            f"The function is {symmetric} in expectation, as far as its random numbers let one "
            f"see: an error above {errors.resolution:.2g} of the spread of the outputs would have "
            f"been seen; with {_beside(shuffled, other)}. {_twice(noise)}."
        )
    target = "f(x)" if output == INVARIANT else "ρ(g) f(x)"
    element, worst = errors.worst
    differs = f"f(gx) differs from {target}"
    measured = (
        f"by {errors.overall:.2g} of the spread of the outputs, most under {errors.told(element)} "
        f"({worst:.2g})"
    )
    if verdict == UNCLEAR and errors.hidden is None:
        return (
            f"Rounding hides whether the function is {symmetric}: {differs} {measured}, and the "
            f"number format explains {rounding:.2g}; with {_beside(shuffled, other)}. To see more, "
            f"{WIDER}."
        )
    if verdict == UNCLEAR:
        return (
            f"The random numbers of the function hide whether it is {symmetric}. {_twice(noise)}, "
            f"so that an error of {errors.resolution:.2g} could not be seen; with "
            f"{_beside(shuffled, other)}. More inputs, or more samples within the function, show "
            "more."
        )
    if errors.hidden is not None:
        differs = f"its random numbers set aside, {differs}"
    sentences = [
        f"{_VERDICTS[verdict].format(symmetric)}: {differs} {measured}; with "
        f"{_beside(shuffled, other)}."
    ]
    explained = min(rounding, _MOST_OF_NEARLY * shuffled.overall)
    for wrong in filter(None, (shuffled, other)):
        if verdict in (EXACT, NEARLY) and wrong.overall <= max(explained, _ALIKE * errors.overall):
            name = wrong.name[0].upper() + wrong.name[1:]
            sentences.append(f"{name} does no worse, so this does not tell {group} from it.")
    if errors.hidden is not None:
        sentences.append(f"{_twice(noise)}.")
    return " ".join(sentences)


def kind_of(output: str) -> str:
    """Return the name of the symmetry: invariant or equivariant."""
    return INVARIANT if output == INVARIANT else "equivariant"


def _beside(shuffled: ElementErrors, other: ElementErrors | None) -> str:
    return f"{shuffled.name} it is {shuffled.overall:.2g}" + (
        f", with {other.name} {other.overall:.2g}" if other else ""
    )


def _twice(noise: float) -> str:
    return f"Two calls with the same inputs differ by {noise:.2g}"
