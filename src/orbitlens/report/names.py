"""How things are called on the page, and the one colour that each SAE has everywhere."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LABELS = {
    "vanilla": "Vanilla",
    "equivariant_canonical": "Equivariant (canonical)",
    "equivariant_latent": "Equivariant (latent)",
    "equivariant_output": "Equivariant (output)",
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

    The four SAEs that a run trains look the same on every page; any other is shown under its own
    name and takes the colours that are left.

    Args:
        names: Names of the SAEs; repeats are ignored.

    Returns:
        One style per name, in the order given.

    Example:
        >>> styles = sae_styles(["orbit", "vanilla"])
        >>> styles["vanilla"].label, styles["vanilla"].slot, styles["orbit"].slot
        ('Vanilla', 0, 4)
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


def element_label(name: str) -> str:
    """Write the powers in an element's name as superscripts.

    Example:
        >>> element_label("r^3 s")
        'r³ s'
    """
    return re.sub(r"\^(-?\d+)", lambda power: power[1].translate(_SUPERSCRIPTS), name)
