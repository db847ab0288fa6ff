"""Verdicts in the words of the bands of R^2, and their marks."""

from collections import Counter
from collections.abc import Iterable, Sequence

from orbitlens.report._table import Record
from orbitlens.report.network._parts import Mark
from orbitlens.transport.bands import BANDS

EQUIVARIANT, INVARIANT, NONE = KINDS = ("equivariant", "invariant", "none")

_STRENGTHS = dict(zip(BANDS, (1.0, 0.75, 0.5, 0.32, 0.18), strict=True))
_LOOKS = {
    EQUIVARIANT: ("dot", "--accent"),
    INVARIANT: ("square", "--series-0"),
    NONE: ("cross", "--muted"),
}


def kind_of(layer: Record) -> str:
    """Return the kind of a layer's verdict, one of `KINDS`; "" for any other text."""
    words = str(layer.get("verdict") or "").replace(",", "").split()
    if words and words[0] == NONE:
        return NONE
    return words[-1] if words and words[-1] in KINDS else ""


def lowest_band(layer: Record) -> str:
    """Return the lower band that a verdict names; "" where it names none."""
    return next(iter(_bands(layer)), "")


def span(layers: Iterable[Record]) -> str:
    """Return the verdicts of some layers as a span: "partly to nearly equivariant, none"."""
    found: dict[str, set[str]] = {}
    for layer in layers:
        found.setdefault(kind_of(layer), set()).update(_bands(layer))
    return ", ".join(
        " ".join([*(" to ".join(_extremes(found[kind])),) * bool(found[kind]), kind])
        for kind in KINDS
        if kind in found
    )


def count_verdicts(layers: Sequence[Record]) -> Counter[tuple[str, str]]:
    """Count the layers of each kind of verdict and lower band, the best first."""
    found = Counter((kind_of(layer), lowest_band(layer)) for layer in layers if kind_of(layer))
    order = [(kind, band) for kind in KINDS for band in ("", *BANDS)]
    return Counter({key: found[key] for key in order if found[key]})


def verdict_mark(layer: Record) -> Mark | None:
    """Return the mark of a layer's verdict; it is fainter the lower the band."""
    kind, band = kind_of(layer), lowest_band(layer)
    if not kind:
        return None
    shape, colour = _LOOKS[kind]
    return Mark(f"{band} {kind}".strip(), shape, colour, _STRENGTHS.get(band, 1.0))


def legend_of(marks: Iterable[Mark | None]) -> tuple[Mark, ...]:
    """Return the marks of some verdicts, each once, the best first."""
    known = {mark for mark in marks if mark is not None}
    return tuple(
        sorted(known, key=lambda mark: (KINDS.index(mark.label.split()[-1]), -mark.strength))
    )


def _bands(layer: Record) -> list[str]:
    words = str(layer.get("verdict") or "").split()
    return [word for word in words if word in BANDS] if kind_of(layer) else []


def _extremes(bands: set[str]) -> list[str]:
    ordered = [band for band in reversed(BANDS) if band in bands]
    return list(dict.fromkeys((ordered[0], ordered[-1])))
