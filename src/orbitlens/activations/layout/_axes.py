"""The meaning of the axes of a layer's output: which are channels, which places, in what order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_layout

PLACE_LETTERS = {1: ("l",), 2: ("h", "w"), 3: ("d", "h", "w")}


@final
@dataclass(frozen=True)
class OutputAxes:
    """The axes of a layer's output in the letters of einops.

    Args:
        letters: The axes after n, the axis of inputs: c for channels; l for places in a row, h and
            w for those of a map, d, h and w for those of a volume.
        first: Tokens of l that come first and are no places, such as a class token; None if it is
            not known how many.
        grid: The sizes of the grid that l runs through row by row; () if its places are not a whole
            grid, None (the default) if nothing is known.
    """

    letters: tuple[str, ...]
    first: int | None = 0
    grid: tuple[int, ...] | None = None

    def __str__(self) -> str:
        tokens = f"{self.first}+l" if self.first else "l"
        return " ".join(("n", *(tokens if letter == "l" else letter for letter in self.letters)))

    def channels(self, shape: tuple[int, ...]) -> int:
        """Return the number of channels of an output of this shape."""
        if self.letters == ("c",):
            return math.prod(shape[1:])
        return shape[1 + self.letters.index("c")]

    def places(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the axes of places, in the order d, h, w; tokens count as places."""
        sizes = dict(zip(self.letters, shape[1:], strict=False))
        return tuple(sizes[letter] for letter in "ldhw" if letter in sizes)

    def rows(self, output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch position dim"]:
        """Return one row of channels for each place, row by row."""
        if self.letters == ("c",):
            return output.flatten(1).unsqueeze(1)
        if self.letters == ("l", "c"):
            return output
        return rearrange(output, f"{self._from} -> {self._to}")

    def back(
        self, rows: Float[Tensor, "batch position dim"], output: Float[Tensor, "batch *rest"]
    ) -> Float[Tensor, "batch *rest"]:
        """Return rows in the shape of an output."""
        if self.letters in (("c",), ("l", "c")):
            return rows.reshape(output.shape)
        sizes = dict(zip(self.letters, output.shape[1:], strict=True))
        del sizes["c"]
        return rearrange(rows, f"{self._to} -> {self._from}", **sizes)

    def record(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return a JSON-ready record of an output of this shape."""
        return {
            "axes": str(self),
            "channels": self.channels(shape),
            "places": list(self.places(shape)),
            "first": self.first,
        }

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an output of this shape may have these axes."""
        if self.letters == ("c",):
            return len(shape) == 2 or sum(size > 1 for size in shape[1:]) <= 1
        sizes = dict(zip(self.letters, shape[1:], strict=False))
        return len(shape) == 1 + len(self.letters) and (self.first or 0) < sizes.get("l", 1 << 62)

    @property
    def _from(self) -> str:
        return " ".join(("n", *self.letters))

    @property
    def _to(self) -> str:
        places = [letter for letter in "ldhw" if letter in self.letters]
        return f"n ({' '.join(places)}) c"


def read_layout(text: str, subject: str = "`layout`") -> OutputAxes:
    """Read a layout in the letters of einops, such as "n 1+l c".

    Raises:
        OrbitLensError: If it has other letters, or not one axis of channels.
    """
    return OutputAxes(*as_layout(text, subject))


def layouts_of(shape: tuple[int, ...]) -> list[OutputAxes]:
    """Return the usual layouts of an output of this shape."""
    if len(shape) == 2:
        return [OutputAxes(("c",))]
    places = PLACE_LETTERS.get(len(shape) - 2)
    if places is None:
        return []
    return [OutputAxes(("c", *places)), OutputAxes((*places, "c"))]


def layout_sentence(record: Mapping[str, Any] | None) -> str:
    """Say a recorded layout, such as "48 channels at 60 places"; "" if there is none.

    Example:
        >>> layout_sentence({"axes": "n 1+l c", "channels": 8, "places": [17], "first": 1})
        '8 channels at 16 places after 1 first token'
    """
    if not record:
        return ""
    channels = f"{record['channels']} channel{'s' * (record['channels'] != 1)}"
    places, first = list(record["places"]), record["first"] or 0
    if not places:
        return channels
    places[-1] -= first
    many = "" if places == [1] else "s"
    after = f" after {first} first token{'s' * (first != 1)}" if first else ""
    return f"{channels} at {' x '.join(map(str, places))} place{many}{after}"
