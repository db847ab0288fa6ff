"""The figures of a network in plain words: title, lead, headlines, notices."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from orbitlens.report._notation import TRIVIAL, figure, finite, percent, score, short_name
from orbitlens.report._readings import Headline, action_notices, network_input, part, passed_over
from orbitlens.report._table import Record
from orbitlens.report.network._branches import ends, is_unknown, known_before, layer_name
from orbitlens.report.network._representations import regular_sentence
from orbitlens.report.network._use import unknown_parts, use_sentences, uses_of
from orbitlens.report.network._words import EQUIVARIANT, INVARIANT, KINDS, NONE, count_verdicts

_COST = 0.02
_SMALL_SHARE = 0.01
_MOST_OF_VARIANCE = 0.99
_LISTED = 5
_IN_A_SENTENCE, _IN_A_BOX = 40, 26
_FEW_ENDS = 3
_HIGH = ("exactly", "nearly")

_Point = tuple[str, float]


def layers_of(record: Record) -> list[Record]:
    """Return the records of the layers, in the order in which the network calls them."""
    return [layer for layer in record.get("layers") or () if layer]


def title(record: Record) -> str:
    """Name the network and the group."""
    model = part(record, "model").get("name") or "a network"
    return f"How {model} moves under {_group(record)}"


def lead(record: Record) -> str:
    """Describe the known findings in a few sentences."""
    sentences = (
        _verdicts(record),
        branch_sentence(layers_of(record)),
        regular_sentence(record, layers_of(record)),
        _growth(record),
        _fall_sentence(record),
        *use_sentences(uses_of(record)),
        _inputs(record),
    )
    return " ".join(filter(None, sentences))


def headlines(record: Record) -> list[Headline]:
    """Return the headlines: verdicts, median R^2, share of invariance, largest fall of R^2."""
    layers = layers_of(record)
    lines = _verdict_headline(record)
    if (r2 := _median(layers, "r2")) is not None:
        without = (
            (_median(layers, "identity_r2"), "without a transport"),
            (_median(layers, "control_r2"), "with shuffled elements"),
        )
        known = (f"{score(value)} {words}" for value, words in without if value is not None)
        median_layer = "median layer" if r2 >= 0 else "median layer, explains nothing"
        context = "; ".join((median_layer, *known))
        lines.append(Headline("R² of the exact transport", score(r2), context))
    if (growth := _invariant_growth(record)) is not None:
        (first, low), lasts = growth
        lowest, highest = min(high for _, high in lasts), max(high for _, high in lasts)
        high = f"{lowest:.0%}" + (f" to {highest:.0%}" if len(lasts) > 1 else "")
        end = short_name(lasts[0][0], _IN_A_BOX) if len(lasts) == 1 else f"the {len(lasts)} ends"
        context = f"from {short_name(first, _IN_A_BOX)} to {end}"
        lines.append(Headline("Energy that does not move", f"{low:.0%} → {high}", context))
    if (fall := _largest_fall(layers)) is not None:
        (_, before), (name, after) = fall
        context = f"at {short_name(name, _IN_A_BOX)}: from {score(before)} to {score(after)}"
        lines.append(Headline("Largest fall of R²", score(before - after), context))
    return lines


def notices(record: Record) -> list[str]:
    """Return warnings about the figures of the layers."""
    layers = layers_of(record)
    costs = sorted(
        ((_brief(x), cost) for x in layers if (cost := _cost(x)) > _COST),
        key=lambda point: -point[1],
    )
    return [
        *action_notices(part(record, "action")),
        *passed_over(part(record, "inputs")),
        *order_notices(layers),
        *_notice(
            "the exact transport loses more than 0.02 of R² to the unconstrained one",
            [f"{name} ({score(cost)})" for name, cost in costs],
        ),
        *_notice(
            "some directions carry no variance, and the transport does not move them",
            [
                f"{_brief(x)} ({_count(x['dim'] - x['rank'])} of {_count(x['dim'])})"
                for x in layers
                if _below(x.get("rank"), finite(x.get("dim")))
            ],
        ),
        *_notice(
            "the mean over places was measured, as the movement of places is unknown",
            [
                f"{_brief(x)} ({_count(x['all_places'])} places)"
                for x in layers
                if x.get("places") == 1 and _below(1, finite(x.get("all_places")))
            ],
        ),
        *_notice(
            "the measured directions hold less than 99% of the variance",
            [
                f"{_brief(x)} ({percent(x['kept_variance'])} in {_count(x.get('dim'))})"
                for x in layers
                if _below(x.get("kept_variance"), _MOST_OF_VARIANCE)
            ],
        ),
        *_notice(
            "R² is no higher than with shuffled elements, so it says nothing about the group",
            [_brief(x) for x in layers if _fails_control(x)],
        ),
        *_notice(
            "R² of the exact transport is not a finite number",
            [_brief(x) for x in layers if x.get("r2") is not None and finite(x["r2"]) is None],
        ),
        *_notice("the use of some parts is not a finite number", unknown_parts(uses_of(record))),
    ]


def _notice(fact: str, entries: Sequence[str]) -> list[str]:
    if not entries:
        return []
    listed = ", ".join(entries[:_LISTED]) + (", …" if len(entries) > _LISTED else "")
    return [f"At {len(entries)} {'layer' if len(entries) == 1 else 'layers'} {fact}: {listed}"]


def _brief(layer: Record) -> str:
    """Return a name that fits into a sentence; the table has the full name."""
    return short_name(layer_name(layer), _IN_A_SENTENCE)


def _group(record: Record) -> str:
    return str(part(record, "group").get("name") or "the group")


def order_notices(layers: Sequence[Record]) -> list[str]:
    """Say so where it is not known which layers feed which."""
    if not is_unknown(layers):
        return []
    return [
        "It could not be found which layers feed which, so each layer is taken to follow the one "
        "before it, in the order of the calls"
    ]


def branch_sentence(layers: Sequence[Record]) -> str:
    """Name the ends of parallel branches; empty where the layers are successive."""
    names = [_brief(layers[place]) for place in ends(layers)]
    if len(names) < 2:
        return ""
    listed = (
        f"{', '.join(names[:_LISTED])}, …"
        if len(names) > _LISTED
        else f"{', '.join(names[:-1])} and {names[-1]}"
    )
    return f"The network ends in {len(names)} parallel branches: {listed}."


def _verdicts(record: Record) -> str:
    layers = layers_of(record)
    counts = count_verdicts(layers)
    one = len(layers) == 1
    if not layers:
        return "No layer was measured."
    if not counts:
        return f"{len(layers)} {'layer was' if one else 'layers were'} measured."
    parts: list[str] = []
    for kind in (EQUIVARIANT, INVARIANT):
        bands = [(band, count) for (found, band), count in counts.items() if found == kind]
        words = [f"{count} {band}".strip() for band, count in bands]
        if words:
            words[0] = f"{words[0]} {kind}"
            parts.append(", ".join(words))
    still = counts[NONE, ""]
    parts += [f"{still} neither"] if still else []
    count, rest = parts[0].split(" ", 1)
    verb = "is" if count == "1" else "are"
    told = "; ".join([f"{count} {verb} {rest}", *parts[1:]])
    return f"Of {len(layers)} {'layer' if one else 'layers'} under {_group(record)}, {told}."


def _verdict_headline(record: Record) -> list[Headline]:
    layers = layers_of(record)
    counts = count_verdicts(layers)
    if not counts:
        return []
    high = sum(counts[EQUIVARIANT, band] for band in ("", *_HIGH))
    others = [
        f"{count} {band}"
        for (kind, band), count in counts.items()
        if kind == EQUIVARIANT and band not in ("", *_HIGH)
    ]
    words = {INVARIANT: "invariant", NONE: "neither"}
    for kind in KINDS[1:]:
        total = sum(count for (found, _), count in counts.items() if found == kind)
        others += [f"{total} {words[kind]}"] if total else []
    skipped = len(part(record, "skipped"))
    others += [f"{skipped} skipped"] if skipped else []
    context = ", ".join(others) or "all measured layers"
    return [Headline("Exactly or nearly equivariant", f"{high} of {len(layers)}", context)]


def _growth(record: Record) -> str:
    growth = _invariant_growth(record)
    if growth is None:
        return ""
    (first, low), lasts = growth
    subject = f"The share of energy that {_group(record)} leaves unchanged"
    if len(lasts) > 1:
        told = [f"{percent(high)} at {name}" for name, high in lasts]
        return f"{subject} is {percent(low)} at {first}, {', '.join(told[:-1])} and {told[-1]}."
    ((last, high),) = lasts
    if abs(high - low) < _SMALL_SHARE:
        return f"{subject} is about the same at the start and the end, {percent(high)} at {last}."
    verb = "grows" if high > low else "shrinks"
    return f"{subject} {verb} from {percent(low)} at {first} to {percent(high)} at {last}."


def _fall_sentence(record: Record) -> str:
    fall = _largest_fall(layers_of(record))
    if fall is None:
        return ""
    (_, before), (name, after) = fall
    if before - after <= _COST:
        explains = all((finite(x.get("r2")) or 0.0) >= 0 for x in layers_of(record))
        where = "" if explains else ", where it is above 0"
        falls = "never falls by more than 0.02 from one layer to the next"
        return f"R² of the exact transport {falls}{where}."
    step = f"from {score(before)} to {score(after)}"
    return f"From one layer to the next, R² falls most at {name}, {step}."


def _inputs(record: Record) -> str:
    inputs = part(record, "inputs")
    if not inputs.get("held_out"):
        return ""
    of = f" of {_count(inputs['n'])}" if inputs.get("n") else ""
    name = f" ({inputs['name']})" if inputs.get("name") else ""
    figures = f"Every figure is on {_count(inputs['held_out'])} held-out{of} inputs{name}."
    return " ".join([figures, *network_input(inputs)])


def _invariant_growth(record: Record) -> tuple[_Point, list[_Point]] | None:
    """Return the share of energy in the trivial irrep at the first layer and where branches end.

    Of many branches only the last counts.
    """
    irreps = part(record, "group").get("irreps") or ()
    names = [str((irrep or {}).get("name")) for irrep in irreps]
    layers = layers_of(record)
    if TRIVIAL not in names:
        return None
    place = names.index(TRIVIAL)
    spectra = [layer.get("spectrum") or () for layer in layers]
    shares = [finite(each[place]) if place < len(each) else None for each in spectra]
    known = [
        (row, (_brief(layer), share))
        for row, (layer, share) in enumerate(zip(layers, shares, strict=True))
        if share is not None
    ]
    if len(known) < 2:
        return None
    (_, first), *rest = known
    last = set(ends(layers))
    found = [point for row, point in rest if row in last]
    return first, found if 0 < len(found) <= _FEW_ENDS else [rest[-1][1]]


def _largest_fall(layers: Sequence[Record]) -> tuple[_Point, _Point] | None:
    """Return the two successive layers between which R^2 falls most, if it ever falls.

    Parallel layers are not successive. Where branches join, the lowest of them counts: what it
    lacks was lost before. An R^2 below 0 is that of a transport that explains nothing, so there is
    no fall to it, nor from it; the warnings name its layers.
    """
    values = [finite(layer.get("r2")) for layer in layers]
    falls: list[tuple[_Point, _Point]] = []
    for layer, after, places in zip(layers, values, known_before(layers, values), strict=True):
        before = [((values[each] or 0.0), each) for each in sorted(places)]
        if after is None or not before:
            continue
        r2, place = min(before)
        if r2 > after >= 0:
            falls.append(((_brief(layers[place]), r2), (_brief(layer), after)))
    return max(falls, key=lambda step: step[0][1] - step[1][1], default=None)


def _median(layers: Sequence[Record], key: str) -> float | None:
    known = [number for x in layers if (number := finite(x.get(key))) is not None]
    return median(known) if known else None


def _cost(layer: Record) -> float:
    free, exact = finite(layer.get("free_r2")), finite(layer.get("r2"))
    # Below 0 nothing is explained, so nothing more can be lost.
    return 0.0 if free is None or exact is None else max(free, 0.0) - max(exact, 0.0)


def _below(value: Any, bound: float | None) -> bool:
    number = finite(value)
    return number is not None and bound is not None and number < bound


def _fails_control(layer: Record) -> bool:
    # Any labels predict a layer that does not move equally well.
    if "invariant" in str(layer.get("verdict")):
        return False
    r2, control = finite(layer.get("r2")), finite(layer.get("control_r2"))
    return r2 is not None and control is not None and r2 <= control


def _count(value: Any) -> str:
    number = finite(value)
    return figure(value if number is None else round(number))
