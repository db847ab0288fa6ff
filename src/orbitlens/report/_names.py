"""How things are called on a page, and the one colour that each SAE or irrep has everywhere."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TRIVIAL = "trivial"

_LABELS = {
    "vanilla": "Vanilla",
    "equivariant_canonical": "Equivariant (canonical)",
    "equivariant_latent": "Equivariant (latent)",
    "equivariant_output": "Equivariant (output)",
    "orbit": "Orbit",
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

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


@dataclass(frozen=True)
class SaeStyle:
    """How one SAE is shown.

    Args:
        label: What it is called on the page.
        slot: Its place in `PALETTE`.
        dashes: Lengths of strokes and gaps of its curve, in points; () for a solid line.
    """

    label: str
    slot: int
    dashes: tuple[float, ...]


def sae_styles(names: Iterable[str]) -> dict[str, SaeStyle]:
    """Give each SAE its label, colour and dashes.

    The five SAEs that a run trains look the same on every page; any other is shown under its own
    name and takes the colours that are left.

    Args:
        names: Names of the SAEs; repeats are ignored.

    Returns:
        One style per name, in the order given.

    Example:
        >>> styles = sae_styles(["mine", "vanilla"])
        >>> styles["vanilla"].label, styles["vanilla"].slot, styles["mine"].slot
        ('Vanilla', 0, 5)
    """
    known = list(_LABELS)
    others = [name for name in dict.fromkeys(names) if name not in _LABELS]
    places = {name: place for place, name in enumerate([*known, *others])}
    return {
        name: SaeStyle(
            label=_LABELS.get(name, name),
            slot=places[name] % len(PALETTE),
            dashes=_DASHES[places[name] % len(_DASHES)],
        )
        for name in dict.fromkeys(names)
    }


@dataclass(frozen=True)
class IrrepStyle:
    """How one irreducible representation is shown.

    Args:
        name: What the library calls it.
        label: What it does, in words.
        dim: Its dimension, or None where it was not recorded.
        slot: Its place in `PALETTE`.
        strength: Opacity of its colour, from 0 to 1.
    """

    name: str
    label: str
    dim: int | None
    slot: int
    strength: float


def irrep_styles(irreps: Iterable[Mapping[str, Any]]) -> list[IrrepStyle]:
    """Give each irrep its label and colour.

    The trivial one has the palette's first colour, which is grey, to itself. The others take the
    rest in turn, paler each time round.

    Args:
        irreps: Name, label and dimension of each; a missing label is replaced by the name.

    Example:
        >>> [(irrep.label, irrep.slot) for irrep in irrep_styles([{"name": "trivial"}, {"dim": 2}])]
        [('trivial', 0), ('irrep 2', 1)]
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
    """Write the powers in an element's name as superscripts.

    Example:
        >>> element_label("r^3 s")
        'r³ s'
    """
    return re.sub(r"\^(-?\d+)", lambda power: power[1].translate(_SUPERSCRIPTS), name)


def short_name(name: str, longest: int) -> str:
    """Shorten the dotted name of a layer in the middle.

    What tells layers apart stays as long as it fits: the last part, the numbers, the part before
    the last, the first part, and then the rest from the right.

    Args:
        name: The name.
        longest: How many characters there is room for.

    Example:
        >>> short_name("vit.encoder.layer.11.attention.output.dense", 26)
        'vit…layer.11…output.dense'
        >>> short_name("a_name_without_any_dots", 9)
        'a_na…dots'
    """
    if len(name) <= longest:
        return name
    parts = name.split(".")
    last = len(parts) - 1
    numbers = [place for place, word in enumerate(parts) if word.isdigit()]
    kept, best = {last}, ""
    for place in dict.fromkeys([last, *numbers, last - 1, 0, *range(last - 2, 0, -1)]):
        candidate = _joined(parts, kept | {place})
        if len(candidate) <= longest:
            kept, best = kept | {place}, candidate
    tail = (longest - 1) // 2
    return best or f"{name[: longest - 1 - tail]}…{name[len(name) - tail :]}"


def _joined(parts: list[str], kept: set[int]) -> str:
    """Join what is kept, with an ellipsis for each stretch that is not."""
    joined = ""
    for place, word in enumerate(parts):
        if place in kept:
            joined += ("." if place - 1 in kept else "") + word
        elif not joined.endswith("…"):
            joined += "…"
    return joined
