"""How much each layer uses of its symmetric and of its free parts: where it stands, in words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orbitlens.report._notation import figure, finite, percent, short_name
from orbitlens.report._readings import part
from orbitlens.report._table import Record
from orbitlens.report.network._branches import layer_name
from orbitlens.report.network._parts import Axis, share_axis, spread_axis

SPREAD, EFFECTIVE = "spread", "effective"
_SYMMETRIC_SPREAD = 0.01
_DROPPED_SHARE = 0.01
# Of the paths of a mixed block, those that are symmetric under shifts.
_SYMMETRIC_PATHS = frozenset({"conv", "s-conv", "p4"})
_LISTED, _LONGEST_NAME = 5, 40


@dataclass(frozen=True)
class UseKind:
    """A kind of use: heading, unit and meaning of its figures, their axis and how to write them."""

    heading: str
    unit: str
    meaning: str
    part_meaning: str
    axis: Callable[[Sequence[float]], Axis]
    write: Callable[[object], str]


USE_KINDS: Mapping[str, UseKind] = {
    SPREAD: UseKind(
        "Bank spread",
        "0 is symmetric",
        "Largest minus smallest relaxation weight of a filter bank over the layer's own group; 0 "
        f"is symmetric, and so is in the text what is below {_SYMMETRIC_SPREAD}",
        "Spread of the relaxation weights of {} over the layer's own group",
        spread_axis,
        figure,
    ),
    EFFECTIVE: UseKind(
        "Path use",
        "near 0% is dropped",
        "Share of the parameters of a path that the data determine, γ / P with the effective "
        f"dimension γ of its P parameters; dropped in the text where it is below "
        f"{_DROPPED_SHARE:.0%}",
        "Share of the parameters of the path {} that the data determine",
        share_axis,
        percent,
    ),
}


@dataclass(frozen=True)
class LayerUse:
    """How much a layer uses of its parts, each with its value where that is a finite number."""

    name: str
    layer: str
    kind: str
    parts: Mapping[str, float | None]

    @property
    def values(self) -> list[float]:
        """The values that are finite numbers."""
        return [value for value in self.parts.values() if value is not None]

    @property
    def is_whole(self) -> bool:
        """Whether every part has a value."""
        return len(self.values) == len(self.parts)

    @property
    def brief(self) -> str:
        """A name that fits into a sentence."""
        return short_name(self.layer, _LONGEST_NAME)


def uses_of(record: Record) -> list[LayerUse]:
    """Return the uses that a record has, without layers that have no part."""
    uses = ((str(name), use or {}) for name, use in part(record, "use").items())
    return [
        LayerUse(
            name,
            layer_name({"layer": name}),
            use["kind"],
            {str(each): finite(value) for each, value in use["parts"].items()},
        )
        for name, use in uses
        if use.get("kind") and use.get("parts")
    ]


def part_names(uses: Iterable[LayerUse], kind: str) -> list[str]:
    """Return the names of all parts of one kind, in the order in which they come."""
    return list(dict.fromkeys(name for use in uses if use.kind == kind for name in use.parts))


def last_inside(use: LayerUse, layers: Sequence[Record], taken: Iterable[int] = ()) -> int | None:
    """Return the place of the last measured layer inside a block, if there is one."""
    start = f"{use.name}." if use.name else ""
    inside = (i for i, each in enumerate(layers) if str(each.get("layer") or "").startswith(start))
    return max(set(inside) - set(taken), default=None)


def own_places(layers: Sequence[Record], uses: Sequence[LayerUse]) -> dict[int, LayerUse]:
    """Return the uses of layers that were measured, by the place of their own row."""
    known = {use.layer: use for use in uses}
    places = {layer_name(layer): place for place, layer in reversed(list(enumerate(layers)))}
    return {places[name]: use for name, use in known.items() if name in places}


def places_in_picture(layers: Sequence[Record], uses: Sequence[LayerUse]) -> dict[int, LayerUse]:
    """Return which use stands in which row of the picture.

    A block that was not measured itself stands by the last measured layer inside it, inner blocks
    before outer ones. Where there is none, only the table has it.
    """
    placed = own_places(layers, uses)
    shown = {use.name for use in placed.values()}
    others = [use for use in uses if use.name not in shown]
    for use in sorted(others, key=lambda use: -len(use.name)):
        place = last_inside(use, layers, placed)
        if place is not None:
            placed[place] = use
    return placed


def standing_sentence(layers: Sequence[Record], uses: Sequence[LayerUse]) -> str:
    """Say where the uses of blocks stand that were not measured themselves."""
    placed = places_in_picture(layers, uses)
    own = own_places(layers, uses)
    beside = [
        f"that of {use.brief} by {short_name(layer_name(layers[place]), _LONGEST_NAME)}"
        for place, use in sorted(placed.items())
        if place not in own
    ]
    shown = {use.name for use in placed.values()}
    alone = [use.brief for use in uses if use.name not in shown]
    sentences = (
        f"The use of a block that was not measured itself stands by its last measured layer: "
        f"{listed(beside)}."
        if beside
        else "",
        f"In the table alone, as nothing inside was measured: the use of {listed(alone)}."
        if alone
        else "",
    )
    return " ".join(filter(None, sentences))


def use_sentences(uses: Sequence[LayerUse]) -> list[str]:
    """Say which layers are symmetric, and which paths are dropped."""
    relaxed = [use for use in uses if use.kind == SPREAD and (use.is_whole or _has_left(use))]
    mixed = [use for use in uses if use.kind == EFFECTIVE and use.values]
    return [*_relaxed(relaxed), *_dropped(mixed)]


def unknown_parts(uses: Sequence[LayerUse]) -> list[str]:
    """Return the layers of which some part has no finite number, with these parts."""
    holes = {use.brief: [n for n, value in use.parts.items() if value is None] for use in uses}
    return [f"{name} ({listed(parts)})" for name, parts in holes.items() if parts]


def listed(entries: Sequence[str]) -> str:
    """Write the first few entries of a list."""
    return ", ".join(entries[:_LISTED]) + (", …" if len(entries) > _LISTED else "")


def _has_left(use: LayerUse) -> bool:
    return max(use.values, default=0.0) >= _SYMMETRIC_SPREAD


def _relaxed(uses: Sequence[LayerUse]) -> list[str]:
    kept = [use for use in uses if not _has_left(use)]
    left = sorted(filter(_has_left, uses), key=lambda use: -max(use.values))
    told = listed([f"{use.brief} ({figure(max(use.values))})" for use in left])
    names = listed([use.brief for use in kept])
    group = "its own group" if len(uses) == 1 else "their own group"
    bound = f"less than {_SYMMETRIC_SPREAD} over {group}"
    if not uses:
        return []
    if len(uses) == 1 and left:
        spread = figure(max(left[0].values))
        return [
            f"The relaxed layer {left[0].brief} has left its symmetry: its weights spread by "
            f"{spread} over {group}."
        ]
    if len(uses) == 1:
        return [f"The relaxed layer {names} is symmetric: its weights spread by {bound}."]
    if not kept:
        return [
            f"All {len(uses)} relaxed layers have left their symmetry; the largest spread of "
            f"their weights over {group}: {told}."
        ]
    if not left:
        return [f"All {len(uses)} relaxed layers are symmetric: their weights spread by {bound}."]
    verb = "is" if len(kept) == 1 else "are"
    have = "1 has left its" if len(left) == 1 else f"{len(left)} have left their"
    return [
        f"Of {len(uses)} relaxed layers {len(kept)} {verb} symmetric, with weights that spread "
        f"by {bound}: {names}; {have} symmetry: {told}."
    ]


def _dropped(uses: Sequence[LayerUse]) -> list[str]:
    known = [(use, name, v) for use in uses for name, v in use.parts.items() if v is not None]
    dropped = [(use, name, value) for use, name, value in known if value < _DROPPED_SHARE]
    if not known or not (dropped or all(use.is_whole for use in uses)):
        return []
    if not dropped:
        least = percent(min(value for *_, value in known))
        return [f"No path is dropped: the data determine at least {least} of each."]
    names = [f"{short_name(name, _LONGEST_NAME)} in {use.brief}" for use, name, _ in dropped]
    if len(dropped) == 1:
        ((use, name, value),) = dropped
        told = f"The {short_name(name, _LONGEST_NAME)} path is dropped in {use.brief}: the data "
        told += f"determine {percent(value)} of it."
    else:
        shares = zip(names, (percent(value) for *_, value in dropped), strict=True)
        told = f"{len(dropped)} paths are dropped, as the data determine less than "
        told += f"{_DROPPED_SHARE:.0%} of each: "
        told += f"{listed([f'{each} ({share})' for each, share in shares])}."
    symmetric = [use.brief for use in uses if _is_left_symmetric(use)]
    left = f"What is left of {listed(symmetric)} is symmetric under shifts." if symmetric else ""
    return [told, left] if left else [told]


def _is_left_symmetric(use: LayerUse) -> bool:
    """Tell whether all free paths are dropped, and some symmetric one is not."""
    kept = {n for n, value in use.parts.items() if value is None or value >= _DROPPED_SHARE}
    return bool(kept) and kept <= _SYMMETRIC_PATHS and not use.parts.keys() <= _SYMMETRIC_PATHS
