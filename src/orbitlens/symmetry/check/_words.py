"""The finding of a check in words."""

import math
from collections.abc import Mapping

from orbitlens.symmetry.check._errors import ElementErrors

CONSTANT, EXACT, NOISE = "constant", "exact", "noise"
NEARLY, PARTLY, NONE = "nearly", "partly", "none"

_MOST_OF_NEARLY, _MOST_OF_PARTLY = 0.1, 0.5  # of the error with shuffled elements
_MOST_OF_NOISE = 3  # times the noise
_ALIKE = 2  # times the error of the right group
_VERDICTS: Mapping[str, str] = {
    EXACT: "The function is {} up to rounding",
    NOISE: "The function is {} as far as its random numbers let one see",
    NEARLY: "The function is nearly {}",
    PARTLY: "The function is only partly {}",
    NONE: "The function is not {}",
}


def verdict_of(*, scale: float, error: float, rounding: float, noise: float, control: float) -> str:
    """Return the verdict on the mean error of the worst element."""
    if math.isnan(scale):
        return CONSTANT
    bounds = {
        EXACT: rounding,
        NOISE: _MOST_OF_NOISE * noise if noise > rounding else 0.0,
        NEARLY: _MOST_OF_NEARLY * control,
        PARTLY: _MOST_OF_PARTLY * control,
    }
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
        return f"All inputs get the same output, so the check says nothing about {group}."
    invariant = output == "invariant"
    told = _VERDICTS[verdict].format(f"{'invariant' if invariant else 'equivariant'} under {group}")
    element, worst = errors.worst
    sentences = [
        f"{told}: f(gx) differs from {'f(x)' if invariant else 'ρ(g) f(x)'} by "
        f"{errors.overall:.2g} of the spread of the outputs, most under {element} ({worst:.2g}); "
        f"with {shuffled.name} it is {shuffled.overall:.2g}"
        + (f", with {other.name} {other.overall:.2g}." if other else ".")
    ]
    for wrong in filter(None, (shuffled, other)):
        if verdict in (EXACT, NEARLY) and wrong.overall <= max(rounding, _ALIKE * errors.overall):
            name = wrong.name[0].upper() + wrong.name[1:]
            sentences.append(f"{name} does no worse, so this does not tell {group} from it.")
    if noise > rounding:
        sentences.append(f"Two calls with the same inputs differ by {noise:.2g}.")
    return " ".join(sentences)
