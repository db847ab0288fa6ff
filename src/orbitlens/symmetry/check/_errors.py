"""Relative errors of each element, with their spread over the inputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor


@final
@dataclass(frozen=True)
class ElementErrors:
    """Relative errors of each element: mean, standard deviation and largest over the inputs.

    Args:
        name: What moves the outputs, such as "D4" or "shuffled elements".
        elements: Name of each element that moves the inputs.
        mean: Mean error of each element; None for an element that was left out.
        std: Standard deviation of the error over the inputs; None likewise.
        largest: Largest error of one input; None likewise.
    """

    name: str
    elements: tuple[str, ...]
    mean: tuple[float | None, ...]
    std: tuple[float | None, ...]
    largest: tuple[float | None, ...]

    @property
    def overall(self) -> float:
        """Mean error over all elements that were not left out; NaN where none was measured."""
        known = [value for value in self.mean if value is not None]
        return sum(known) / len(known) if known else math.nan

    @property
    def worst(self) -> tuple[str, float]:
        """Name and mean error of the element with the largest mean error."""
        known = [(v, e) for e, v in zip(self.elements, self.mean, strict=True) if v is not None]
        value, element = max(known, default=(math.nan, ""))
        return element, value

    def row(self, place: int) -> dict[str, Any] | None:
        """Return the figures of one element, JSON-ready; None if it was left out."""
        if self.mean[place] is None:
            return None
        return {
            "element": self.elements[place],
            "mean": self.mean[place],
            "std": self.std[place],
            "largest": self.largest[place],
        }


def element_errors(
    name: str,
    elements: Sequence[str],
    distances: Sequence[Float[Tensor, " n"] | None],
    scale: float,
) -> ElementErrors:
    """Return the errors of distances [n], one tensor for each element, in units of `scale`."""
    parts = [None if each is None else each / scale for each in distances]
    return ElementErrors(
        name=name,
        elements=tuple(elements),
        mean=tuple(None if each is None else float(each.mean()) for each in parts),
        std=tuple(None if each is None else float(each.std()) for each in parts),
        largest=tuple(None if each is None else float(each.max()) for each in parts),
    )
