"""Sequence logos: letters as high as what their column says, drawn as SVG.

Source: Schneider and Stephens, *Sequence logos: a new way to display consensus sequences*, Nucleic
Acids Research 18 (1990), doi 10.1093/nar/18.20.6097.
"""

import math
from dataclasses import dataclass

import torch

from orbitlens.typing import Float, Tensor

_LETTERS = "ACGT"
_BITS = 2.0
_COLUMN, _HEIGHT = 10.0, 36.0
_LETTER_WIDTH = 9.4
_LOWEST = 0.02  # bits of a letter that can still be seen
_SURE = 1.0  # bits of a column that is spelled out


@dataclass(frozen=True)
class PlacedLetter:
    """A letter, and the matrix of SVG that brings its outline, 100 by 100, to its place."""

    letter: str
    matrix: str


@dataclass(frozen=True)
class Logo:
    """A logo in a box of `width` by `height`, what it is of, and what it says in words."""

    letters: tuple[PlacedLetter, ...]
    width: float
    height: float
    inputs: str
    description: str


def letter_heights(counts: Float[Tensor, "4 column"]) -> Float[Tensor, "4 column"]:
    """Return the height of each letter of a sequence logo, in bits.

        height(b, l) = f(b, l) R(l),   R(l) = max(0, 2 - (H(l) + e(n))),   e(n) = 3 / (2 n ln 2)

    with the frequency f of letter b in column l, the entropy H of the column in bits and the
    correction e for its n letters.

    Args:
        counts: The number of each letter in each column, shape [4, columns].

    Returns:
        Heights from 0 to 2; 0 in columns without letters.

    Example:
        >>> counts = torch.tensor([[100.0, 25.0], [0.0, 25.0], [0.0, 25.0], [0.0, 25.0]])
        >>> [round(height, 3) for height in letter_heights(counts)[0].tolist()]
        [1.978, 0.0]
    """
    n = counts.double().sum(0)
    shares = counts.double() / n.clamp_min(1e-12)
    entropy = -torch.special.xlogy(shares, shares).sum(0) / math.log(2)
    correction = (len(counts) - 1) / (2 * math.log(2) * n)
    return shares * (_BITS - (entropy + correction)).clamp_min(0)


def draw_logo(counts: Float[Tensor, "4 column"], feature: str) -> Logo | None:
    """Draw a logo of letters counted for a feature; None without any.

    The highest letter of a column is on top. The box is 2 bits high, so logos compare.
    """
    if not counts.any():
        return None
    heights = letter_heights(counts)
    letters = []
    for column, stack in enumerate(heights.T):
        base = _HEIGHT
        for i in stack.argsort(stable=True).tolist():
            if stack[i] < _LOWEST:
                continue
            tall = _HEIGHT * stack[i].item() / _BITS
            base -= tall
            scales = f"{_LETTER_WIDTH / 100:g} 0 0 {tall / 100:.4f}"
            left = column * _COLUMN + (_COLUMN - _LETTER_WIDTH) / 2
            letters.append(PlacedLetter(_LETTERS[i], f"matrix({scales} {left:.1f} {base:.2f})"))
    inputs = f"{round(counts.sum(0).max().item())} inputs"
    return Logo(
        letters=tuple(letters),
        width=_COLUMN * counts.shape[1],
        height=_HEIGHT,
        inputs=inputs,
        description=f"Logo for {feature}, {inputs}: {_consensus(heights)}",
    )


def _consensus(heights: Float[Tensor, "4 column"]) -> str:
    """Spell the columns with at least 1 bit, with N for others between them."""
    sure = heights.sum(0) >= _SURE
    best = zip(heights.argmax(0).tolist(), sure.tolist(), strict=True)
    spelled = "".join(_LETTERS[i] if is_sure else "N" for i, is_sure in best)
    return spelled.strip("N") or "no clear letter"
