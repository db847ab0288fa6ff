"""Relative errors of each element, with their spread over the inputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

_LOW, _HIGH = 0.1, 0.9  # of the inputs
_SIGMAS = 3.0  # standard errors that are seen, of very many inputs
_OF_FEW = 7.5  # the same tail of Student's t, to first order: 3 + (3^3 + 3) / (4 degrees)


class Difference(NamedTuple):
    """How far outputs are from their targets, input by input.

    Attributes:
        distances: ||a - b||, shape [n].
        products: <a - b, a' - b'> with a' and b' of other calls, shape [n]: its mean is the
            squared distance without random numbers. None for a function without any.
        numbers: Mean squared distance of each number of the outputs; None with random numbers.
    """

    distances: Float[Tensor, " n"]
    products: Float[Tensor, " n"] | None
    numbers: Float[Tensor, " numbers"] | None = None


@final
@dataclass(frozen=True)
class ElementErrors:
    """Relative errors of each element: their mean and their spread over the inputs.

    Args:
        name: What moves the outputs, such as "D4" or "shuffled elements".
        elements: Name of each element that moves the inputs.
        mean: Mean error of each element; None for an element that was left out, and for all of
            them where outputs are constant.
        low: Error that a tenth of the inputs stay below; None likewise.
        high: Error that nine tenths of the inputs stay below; None likewise.
        largest: Largest error of one input; None likewise.
        expected: Root mean square error of the mean of f over its random numbers; None likewise.
            The field is None for a function without random numbers.
        hidden: Error of that mean that random numbers can hide at these inputs; None likewise.
        words: What each element does, such as "quarter turn left"; empty where it is not known.
    """

    name: str
    elements: tuple[str, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    largest: tuple[float | None, ...]
    expected: tuple[float | None, ...] | None = None
    hidden: tuple[float | None, ...] | None = None
    words: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[float | None, ...]:
        """The errors that count: `mean`, or `expected` of a function with random numbers."""
        return self.mean if self.expected is None else self.expected

    @property
    def overall(self) -> float:
        """Mean of `judged` over all elements that were not left out; NaN where none is known."""
        known = [value for value in self.judged if value is not None]
        return sum(known) / len(known) if known else math.nan

    @property
    def worst(self) -> tuple[str, float]:
        """Name and error of the element with the largest of `judged`."""
        known = [(v, e) for e, v in zip(self.elements, self.judged, strict=True) if v is not None]
        value, element = max(known, default=(math.nan, ""))
        return element, value

    @property
    def seen(self) -> bool:
        """Whether random numbers, if there are any, do not explain the error of some element."""
        pairs = zip(self.judged, self.hidden or (0.0,) * len(self.judged), strict=True)
        return any(e is not None and h is not None and e > h for e, h in pairs)

    @property
    def resolution(self) -> float:
        """Error of any element that random numbers could not hide; 0 without random numbers."""
        return max((value for value in self.hidden or () if value is not None), default=0.0)

    def told(self, element: str) -> str:
        """Return the name of an element with what it does, where this is known."""
        words = self.words[self.elements.index(element)] if self.words else ""
        return f"{element}, {words}" if words and words != element else element

    def row(self, place: int) -> dict[str, Any] | None:
        """Return the figures of one element, JSON-ready; None if it was left out."""
        return None if self.mean[place] is None else self.figures(place)

    def figures(self, place: int) -> dict[str, Any]:
        """Return the figures of one element, JSON-ready; None for each that is not known."""
        return {
            "element": self.elements[place],
            "words": self.words[place] if self.words else "",
            "mean": self.mean[place],
            "low": self.low[place],
            "high": self.high[place],
            "largest": self.largest[place],
            "expected": self.expected[place] if self.expected else None,
            "hidden": self.hidden[place] if self.hidden else None,
        }


def element_errors(
    name: str,
    elements: Sequence[str],
    differences: Sequence[Difference | None],
    scale: float,
    words: Sequence[str] = (),
) -> ElementErrors:
    """Return the errors of the differences of each element, in units of `scale`."""
    if math.isnan(scale):
        differences = [None] * len(differences)
    parts = [None if each is None else each.distances / scale for each in differences]
    drawn = any(each is not None and each.products is not None for each in differences)
    pairs = [_expected(each, scale) for each in differences]
    return ElementErrors(
        name=name,
        elements=tuple(elements),
        mean=tuple(None if each is None else float(each.mean()) for each in parts),
        low=tuple(None if each is None else float(each.quantile(_LOW)) for each in parts),
        high=tuple(None if each is None else float(each.quantile(_HIGH)) for each in parts),
        largest=tuple(None if each is None else float(each.max()) for each in parts),
        expected=tuple(error for error, _ in pairs) if drawn else None,
        hidden=tuple(hidden for _, hidden in pairs) if drawn else None,
        words=tuple(words) if any(words) else (),
    )


def _expected(difference: Difference | None, scale: float) -> tuple[float | None, float | None]:
    """Return the error of the mean over random numbers, and what may hide behind these."""
    if difference is None or difference.products is None:
        return None, None
    squares = difference.products / scale**2
    n = len(squares)
    sigmas = _SIGMAS + _OF_FEW / (n - 1)
    hidden = sigmas * float(squares.std()) / n**0.5
    return max(float(torch.mean(squares)), 0.0) ** 0.5, hidden**0.5
