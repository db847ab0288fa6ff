"""How much each layer uses of its symmetric and of its free parts: where it stands, in words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orbitlens.report._notation import figure, finite, percent, short_name
from orbitlens.report._readings import part
from orbitlens.report._table import Record
from orbitlens.report.network._branches import layer_name
from orbitlens.report.network._parts import Axis, share_axis, spread_axis
from orbitlens.transport._use import OTHER_REPRESENTATION, ROUNDING

SPREAD, EFFECTIVE = "spread", "effective"
_SYMMETRIC_SPREAD = 0.01
_LITTLE_SHARE = 0.01
_OTHER_REPRESENTATION = OTHER_REPRESENTATION.replace("R^2", "R²")
# Of the paths of a mixed block, those that are symmetric under shifts.
_SYMMETRIC_PATHS = frozenset({"conv", "s-conv", "p4"})
_LISTED, _LONGEST_NAME = 5, 40


@dataclass(frozen=True)
class PartUse:
    """The use of a part; of a path also how many of its parameters the data determine.

    Records of earlier versions do not have these numbers, and do not tell whether it is dropped.
    """

    value: float
    determined: float | None = None
    size: int | None = None
    is_dropped: bool = False

    @property
    def is_little(self) -> bool:
        """Whether the share of a path is small, and yet it is not dropped."""
        return self.value < _LITTLE_SHARE and not self.is_dropped

    @property
    def of_all(self) -> str:
        """The parameters that the data determine, of all: "8.6 of 4,640"."""
        if self.determined is None or self.size is None:
            return ""
        return f"{self.determined:,.1f} of {self.size:,}"


def write_spread(part: object) -> str:
    """Write the spread of a filter bank."""
    return figure(part.value if isinstance(part, PartUse) else part)


def write_share(part: object) -> str:
    """Write the share of a path, after the number of parameters where it is known."""
    if not isinstance(part, PartUse):
        return percent(part)
    share = percent(part.value)
    return f"{part.of_all} ({share})" if part.of_all else share


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
        f"is symmetric, and so is in the text what is below {_SYMMETRIC_SPREAD}. "
        f"{_OTHER_REPRESENTATION}",
        "Spread of the relaxation weights of {} over the layer's own group",
        spread_axis,
        write_spread,
    ),
    EFFECTIVE: UseKind(
        "Path use",
        "near 0% is little used",
        "Parameters of a path that the data determine, γ of P with the effective dimension γ, and "
        f"their share. Little used in the text where the share is below {_LITTLE_SHARE:.0%}; "
        "dropped where γ is below 1 or its prior precision is at the upper bound",
        "Share of the parameters of the path {} that the data determine",
        share_axis,
        write_share,
    ),
}


@dataclass(frozen=True)
class LayerUse:
    """How much a layer uses of its parts, each with its use where that is a finite number.

    A layer that does not know its use has no parts; the reason may be told.
    """

    name: str
    layer: str
    kind: str
    parts: Mapping[str, PartUse | None]
    unknown: str = ""

    @property
    def known(self) -> dict[str, PartUse]:
        """The parts whose values are finite numbers."""
        return {name: each for name, each in self.parts.items() if each is not None}

    @property
    def values(self) -> list[float]:
        """The values that are finite numbers."""
        return [each.value for each in self.known.values()]

    @property
    def is_whole(self) -> bool:
        """Whether every part has a value."""
        return len(self.values) == len(self.parts)

    @property
    def brief(self) -> str:
        """A name that fits into a sentence."""
        return short_name(self.layer, _LONGEST_NAME)


def uses_of(record: Record) -> list[LayerUse]:
    """Return the uses that a record has, without layers that have no part and no reason for it."""
    uses = ((str(name), use or {}) for name, use in part(record, "use").items())
    return [
        LayerUse(
            name,
            layer_name({"layer": name}),
            use["kind"],
            {str(each): _part_use(use, each) for each in use.get("parts") or {}},
            str(use.get("unknown") or ""),
        )
        for name, use in uses
        if use.get("kind") and (use.get("parts") or use.get("unknown"))
    ]


def _part_use(use: Record, name: str) -> PartUse | None:
    value = finite(use["parts"][name])
    if value is None:
        return None
    gamma, size = finite(_entry(use, "determined", name)), finite(_entry(use, "sizes", name))
    dropped = use.get("dropped")
    is_dropped = isinstance(dropped, list) and name in dropped
    return PartUse(value, gamma, None if size is None else round(size), is_dropped)


def _entry(use: Record, key: str, name: str) -> object:
    found = use.get(key)
    return found.get(name) if isinstance(found, Mapping) else None


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
    others = [use for use in uses if use.parts and use.name not in shown]
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
    alone = [use.brief for use in uses if use.parts and use.name not in shown]
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
    """Say which layers are symmetric, which paths are dropped, and what is not known."""
    relaxed = [use for use in uses if use.kind == SPREAD and (use.is_whole or _has_left(use))]
    mixed = [use for use in uses if use.kind == EFFECTIVE and use.values]
    spread = [use for use in uses if use.kind == SPREAD and max(use.values, default=0.0) > ROUNDING]
    names = listed([use.brief for use in spread])
    beside = [f"At {names}, {_OTHER_REPRESENTATION}."] if spread else []
    return [*_relaxed(relaxed), *beside, *_paths(mixed), *_unknown(uses)]


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


def _paths(uses: Sequence[LayerUse]) -> list[str]:
    """Say which paths are dropped, and which are little used."""
    known = [(use, name, each) for use in uses for name, each in use.known.items()]
    dropped = [(use, name, each) for use, name, each in known if each.is_dropped]
    little = [(use, name, each) for use, name, each in known if each.is_little]
    told = [*_told(dropped, "dropped"), *_told(little, "little used")]
    if told:
        symmetric = listed([use.brief for use in uses if _is_left_symmetric(use)])
        left = f"Without dropped paths, {symmetric} is symmetric under shifts by the stride."
        return [*told[:1], left, *told[1:]] if symmetric else told
    if not known or not all(use.is_whole for use in uses):
        return []
    least = percent(min(each.value for *_, each in known))
    return [f"No path is dropped: the data determine at least {least} of each."]


def _told(paths: Sequence[tuple[LayerUse, str, PartUse]], what: str) -> list[str]:
    if not paths:
        return []
    if len(paths) == 1:
        ((use, name, each),) = paths
        share = percent(each.value)
        of = f"{each.of_all} parameters ({share})" if each.of_all else f"{share} of it"
        path = short_name(name, _LONGEST_NAME)
        return [f"The {path} path is {what} in {use.brief}: the data determine {of}."]
    entries = [
        f"{short_name(name, _LONGEST_NAME)} in {use.brief} ({write_share(each)})"
        for use, name, each in paths
    ]
    return [f"{len(paths)} paths are {what}; the data determine of each: {listed(entries)}."]


def _unknown(uses: Sequence[LayerUse]) -> list[str]:
    """Name the layers whose use is not known, and say why."""
    reasons = dict.fromkeys(use.unknown for use in uses if use.unknown)
    return [
        f"The use of {listed([use.brief for use in uses if use.unknown == reason])} is not known: "
        f"{reason}."
        for reason in reasons
    ]


def _is_left_symmetric(use: LayerUse) -> bool:
    """Tell whether all free paths are dropped, and some symmetric one is not."""
    kept = {name for name, each in use.parts.items() if each is None or not each.is_dropped}
    return bool(kept) and kept <= _SYMMETRIC_PATHS and not use.parts.keys() <= _SYMMETRIC_PATHS
