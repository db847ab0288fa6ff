"""The finding of a check in words."""

import math
from collections.abc import Mapping, Sequence

from orbitlens.symmetry.check._errors import ElementErrors
from orbitlens.symmetry.check._spread import CONSTANT_STEPS, TOLERANCE, certain_of
from orbitlens.symmetry.check._worst_output import WorstOutput

INVARIANT = "invariant"
CONSTANT, EXACT, EXPECTATION = "constant", "exact", "expectation"
NEARLY, PARTLY, NONE, UNCLEAR = "nearly", "partly", "none", "unclear"

WIDER = "calculate in float32 or float64, or leave out what is added to all outputs"

_MOST_OF_NEARLY, _MOST_OF_PARTLY = 0.1, 0.5  # of the error with shuffled elements
_ALIKE = 2  # times the error of the right group
_GONE = 0.1  # of an error that rounding makes, which is left of it in float64
_UNRELATED = math.sqrt(2)  # spreads of two numbers that have nothing to do with each other
_FEW = 3  # elements that are named
_BETTER = 1 / 3  # of the error, at which inverse elements fit clearly better
_VERDICTS: Mapping[str, str] = {
    EXACT: "The function is {} up to rounding",
    NEARLY: "The function is nearly {}",
    PARTLY: "The function is only partly {}",
    NONE: "The function is not {}",
}


def verdict_of(
    errors: ElementErrors,
    shuffled: ElementErrors,
    *,
    scale: float,
    rounding: float,
    in_float64: float | None,
    worst_output: WorstOutput | None,
) -> str:
    """Return the verdict on the worst element, and on the worst number of the outputs."""
    verdict = _of_all(errors, shuffled, scale, rounding, in_float64)
    if worst_output is None or verdict not in (EXACT, NEARLY):
        return verdict
    return NEARLY if worst_output.error <= _MOST_OF_PARTLY * _UNRELATED else PARTLY


def _of_all(
    errors: ElementErrors,
    shuffled: ElementErrors,
    scale: float,
    rounding: float,
    in_float64: float | None,
) -> str:
    if math.isnan(scale):
        return CONSTANT
    error, control = errors.worst[1], shuffled.overall
    if errors.hidden is None and error <= rounding:
        if in_float64 is None or rounding_made(error, in_float64):
            sure = in_float64 is not None or error <= certain_of(rounding)
            return EXACT if sure and error <= _MOST_OF_NEARLY * control else UNCLEAR
        error = in_float64
    if not errors.seen:
        return EXPECTATION if errors.resolution <= _MOST_OF_PARTLY * control else UNCLEAR
    bounds = {NEARLY: _MOST_OF_NEARLY * control, PARTLY: _MOST_OF_PARTLY * control}
    return next((verdict for verdict, bound in bounds.items() if error <= bound), NONE)


def rounding_made(error: float, in_float64: float) -> bool:
    """Tell whether an error is rounding: then little of it is left in float64."""
    return in_float64 <= max(TOLERANCE, _GONE * error)


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
    measured = f"by {errors.overall:.2g} of the spread of the outputs" + (
        f", most under {errors.told(element)} ({worst:.2g})"
        if worst > 0
        else ", under every element"
    )
    if verdict == UNCLEAR and errors.hidden is None:
        return (
            f"Rounding hides whether the function is {symmetric}: {differs} {measured}, and the "
            f"number format may explain {rounding:.2g}; with {_beside(shuffled, other)}. To see "
            f"more, {WIDER}."
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


def nothing_told(group: str, number_format: str) -> str:
    """Return the sentence on constant outputs; the format is empty where they are all the same."""
    found = (
        f"The spread of the outputs is below {CONSTANT_STEPS} steps of {number_format}"
        if number_format
        else "All inputs get the same output"
    )
    return f"{found}, so the check says nothing about {group}."


def asides_of(
    errors: ElementErrors,
    in_float64: float | None,
    worst_output: WorstOutput | None,
    inverse: ElementErrors | None,
    idle: Sequence[str],
    interpolation: float | None,
) -> list[str]:
    """Return what has to be known beside the verdict, in sentences."""
    sentences = []
    if in_float64 is not None:
        gone = rounding_made(errors.worst[1], in_float64)
        explained = "Rounding explains it" if gone else "Rounding does not explain it"
        sentences.append(f"{explained}: in float64 the worst element misses by {in_float64:.2g}.")
    if worst_output is not None:
        name = worst_output.name[0].upper() + worst_output.name[1:]
        sentences.append(
            f"{name} alone is missed by {worst_output.error:.2g} of its own spread, under "
            f"{errors.told(worst_output.element)}; larger outputs hide it."
        )
    if inverse is not None and inverse.overall < _BETTER * errors.overall:
        sentences.append(
            f"With ρ(g⁻¹) in place of ρ(g) it is {inverse.overall:.2g}: the outputs follow the "
            "inverse elements."
        )
    if idle:
        few = ", ".join(idle[:_FEW]) + (" and others" if len(idle) > _FEW else "")
        move = "moves" if len(idle) == 1 else "move"
        sentences.append(f"{few} {move} none of the inputs, which tests nothing.")
    if interpolation is not None:
        sentences.append(
            "The action interpolates and cuts corners off, which counts as an error of the "
            f"function: g(hx) itself differs from (gh)x by up to {interpolation:.2g} of x."
        )
    return sentences


def kind_of(output: str) -> str:
    """Return the name of the symmetry: invariant or equivariant."""
    return INVARIANT if output == INVARIANT else "equivariant"


def _beside(shuffled: ElementErrors, other: ElementErrors | None) -> str:
    return f"{shuffled.name} it is {shuffled.overall:.2g}" + (
        f", with {other.name} {other.overall:.2g}" if other else ""
    )


def _twice(noise: float) -> str:
    return f"Two calls with the same inputs differ by {noise:.2g}"
