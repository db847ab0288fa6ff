"""Notation of the pages: numbers, names, and the colour of each SAE and each irrep."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TRIVIAL = "trivial"

_ABSENT = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LABELS = {
    "vanilla": "Vanilla",
    "equivariant_canonical": "Equivariant (canonical)",
    "equivariant_latent": "Equivariant (latent)",
    "equivariant_output": "Equivariant (output)",
    "orbit": "Orbit",
}

# After Okabe & Ito (2008), safe for the colour-blind; (on light paper, on dark paper).
PALETTE = (
    ("#6b7280", "#a3abb8"),
    ("#0072b2", "#5ab4e5"),
    ("#d05400", "#f08a4b"),
    ("#00855f", "#2fc79a"),
    ("#a8558a", "#dd94c0"),
    ("#8a6d00", "#e2c044"),
)
_STRENGTHS = (1.0, 0.55, 0.3, 0.15)
_DASHES = ((), (7.0, 2.0), (2.0, 1.5), (7.0, 2.0, 2.0, 2.0))


def finite(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None
    return number if math.isfinite(number) else None


def figure(value: Any) -> str:
    """Write a number with three significant digits; counts in full."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _ABSENT
    if finite(value) is None:
        return "not finite"
    if isinstance(value, int):
        return f"{value:,}".replace("-", _MINUS)
    size = abs(value)
    if size == 0:
        return "0"
    if not 1e-4 <= size < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", _MINUS)
    decimals = max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{decimals}f}".replace("-", _MINUS)


def score(value: Any) -> str:
    """Write a score whose best value is 1 (R^2, F1, an accuracy) with three decimals."""
    number = finite(value)
    if number is None or abs(number) >= 100:
        return figure(value)
    return f"{number:.3f}".replace("-", _MINUS)


def percent(value: Any) -> str:
    """Write a share as a percentage."""
    number = finite(value)
    if number is None:
        return figure(value)
    if 0 < number < 5e-4:
        return "<0.1%"
    if number in (0.0, 1.0):
        return f"{100 * number:.0f}%"
    return f"{100 * number:.1f}%".replace("-", _MINUS)


def duration(seconds: Any) -> str:
    """Write a time in seconds, minutes or hours."""
    number = finite(seconds)
    if number is None:
        return figure(seconds)
    if number < 120:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class SaeStyle:
    """Label of an SAE, its slot in `PALETTE`, and the strokes and gaps of its curve, in points."""

    label: str
    slot: int
    dashes: tuple[float, ...]


def sae_styles(names: Iterable[str]) -> dict[str, SaeStyle]:
    """Give each SAE a label, a colour and dashes.

    The five SAEs of a run look the same on every page. Any other keeps its own name and takes one
    of the remaining colours.
    """
    names = list(dict.fromkeys(names))
    styles = {
        name: SaeStyle(_LABELS.get(name, name), i % len(PALETTE), _DASHES[i % len(_DASHES)])
        for i, name in enumerate(dict.fromkeys([*_LABELS, *names]))
    }
    return {name: styles[name] for name in names}


@dataclass(frozen=True)
class IrrepStyle:
    """Name and label of an irrep, its dimension if known, slot in `PALETTE` and opacity."""

    name: str
    label: str
    dim: int | None
    slot: int
    strength: float


def irrep_styles(irreps: Iterable[Mapping[str, Any]]) -> list[IrrepStyle]:
    """Give each irrep a label and a colour.

    Only the trivial irrep is grey, the first colour of the palette. The others take the remaining
    colours in turn, paler in each round.
    """
    styles: list[IrrepStyle] = []
    moved = 0
    for place, irrep in enumerate(irreps, start=1):
        name = str(irrep.get("name") or f"irrep {place}")
        turn, slot = (0, -1) if name == TRIVIAL else divmod(moved, len(PALETTE) - 1)
        moved += name != TRIVIAL
        strength = _STRENGTHS[turn % len(_STRENGTHS)]
        label = str(irrep.get("label") or name)
        styles.append(IrrepStyle(name, label, irrep.get("dim"), slot + 1, strength))
    return styles


def element_label(name: str) -> str:
    """Write the powers in an element's name as superscripts: r^3 becomes r³."""
    return re.sub(r"\^(-?\d+)", lambda power: power[1].translate(_SUPERSCRIPTS), name)


def short_name(name: str, longest: int) -> str:
    """Shorten the dotted name of a layer in the middle, to at most `longest` characters.

    The parts that distinguish layers stay as long as they fit: the last part, the numbers, the
    part before the last, the first part, and then the rest from the right.
    """
    if len(name) <= longest:
        return name
    parts = name.split(".")
    last = len(parts) - 1
    numbers = [place for place, word in enumerate(parts) if word.isdigit()]
    kept, best = {last}, ""
    for place in dict.fromkeys([last, *numbers, last - 1, 0, *range(last - 2, 0, -1)]):
        candidate = _join(parts, kept | {place})
        if len(candidate) <= longest:
            kept, best = kept | {place}, candidate
    tail = (longest - 1) // 2
    return best or f"{name[: longest - 1 - tail]}…{name[len(name) - tail :]}"


def _join(parts: list[str], kept: set[int]) -> str:
    """Join the kept parts, with an ellipsis for each gap."""
    joined = ""
    for place, word in enumerate(parts):
        if place in kept:
            joined += ("." if place - 1 in kept else "") + word
        elif not joined.endswith("…"):
            joined += "…"
    return joined
