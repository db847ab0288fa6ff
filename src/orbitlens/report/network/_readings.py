"""The figures of a network in plain words: title, lead, headlines, notices."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from orbitlens.report._notation import TRIVIAL, figure, finite, percent, score, short_name
from orbitlens.report._readings import Headline, action_notices, part, passed_over
from orbitlens.report._table import Record

_COST = 0.02
_SMALL_SHARE = 0.01
_MOST_OF_VARIANCE = 0.99
_LISTED = 5
_IN_A_SENTENCE, _IN_A_BOX = 40, 26
_OTHERS = {
    "partly equivariant": "in part",
    "invariant": "invariant",
    "partly invariant": "invariant in part",
    "none": "neither",
}

_Point = tuple[str, float]


def layers_of(record: Record) -> list[Record]:
    """Return the records of the layers, in the order in which the network calls them."""
    return [layer for layer in record.get("layers") or () if layer]


def layer_name(layer: Record) -> str:
    """Return the full name of a layer."""
    return str(layer.get("layer") or "the network")


def title(record: Record) -> str:
    """Name the network and the group."""
    model = part(record, "model").get("name") or "a network"
    return f"How {model} moves under {_group(record)}"


def lead(record: Record) -> str:
    """Describe the known findings in a few sentences."""
    sentences = (_verdicts(record), _growth(record), _fall_sentence(record), _inputs(record))
    return " ".join(filter(None, sentences))


def headlines(record: Record) -> list[Headline]:
    """Return the headlines: verdicts, median R^2, share of invariance, largest fall of R^2."""
    layers, counts = layers_of(record), _counts(record)
    skipped = len(part(record, "skipped"))
    lines = []
    if counts:
        others = [f"{counts[v]} {words}" for v, words in _OTHERS.items() if counts[v]]
        others += [f"{skipped} skipped"] if skipped else []
        context = ", ".join(others) or "all measured layers"
        equivariant = f"{counts['equivariant']} of {len(layers)}"
        lines.append(Headline("Equivariant layers", equivariant, context))
    if (r2 := _median(layers, "r2")) is not None:
        without = (
            (_median(layers, "identity_r2"), "without a transport"),
            (_median(layers, "control_r2"), "with shuffled elements"),
        )
        known = (f"{score(value)} {words}" for value, words in without if value is not None)
        median_layer = "median layer" if r2 >= 0 else "median layer, explains nothing"
        context = "; ".join((median_layer, *known))
        lines.append(Headline("R² of the exact transport", score(r2), context))
    shares = _invariant_shares(record)
    if len(shares) > 1:
        (first, low), (last, high) = shares[0], shares[-1]
        context = f"from {short_name(first, _IN_A_BOX)} to {short_name(last, _IN_A_BOX)}"
        lines.append(Headline("Energy that does not move", f"{low:.0%} → {high:.0%}", context))
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


def _counts(record: Record) -> Counter[str]:
    return Counter(str(x["verdict"]) for x in layers_of(record) if x.get("verdict"))


def _verdicts(record: Record) -> str:
    count, counts = len(layers_of(record)), _counts(record)
    if not count:
        return "No layer was measured."
    if not counts:
        return f"{count} {'layer was' if count == 1 else 'layers were'} measured."
    moving, partly, invariant = (
        counts[verdict] for verdict in ("equivariant", "partly equivariant", "invariant")
    )
    layers = "layer" if count == 1 else "layers"
    moves = "moves" if moving == 1 else "move"
    others = f", {partly} in part" if partly else ""
    others += f"; {invariant} {'is' if invariant == 1 else 'are'} invariant" if invariant else ""
    return f"{moving} of {count} {layers} {moves} as a representation of {_group(record)}{others}."


def _growth(record: Record) -> str:
    shares = _invariant_shares(record)
    if len(shares) < 2:
        return ""
    (first, low), (last, high) = shares[0], shares[-1]
    subject = f"The share of energy that {_group(record)} leaves unchanged"
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
    return f"Every figure is on {_count(inputs['held_out'])} held-out{of} inputs{name}."


def _invariant_shares(record: Record) -> list[_Point]:
    """Return the share of energy in the trivial irrep, for layers where it is known."""
    irreps = part(record, "group").get("irreps") or ()
    names = [str((irrep or {}).get("name")) for irrep in irreps]
    if TRIVIAL not in names:
        return []
    place = names.index(TRIVIAL)
    spectra = ((_brief(x), x.get("spectrum") or ()) for x in layers_of(record))
    return _known((name, spectrum[place]) for name, spectrum in spectra if place < len(spectrum))


def _largest_fall(layers: Sequence[Record]) -> tuple[_Point, _Point] | None:
    """Return the two neighbouring layers between which R^2 falls most, if it ever falls.

    An R^2 below 0 is that of a transport that explains nothing, so there is no fall to it, nor from
    it; the warnings name its layers.
    """
    points = _known((_brief(layer), layer.get("r2")) for layer in layers)
    falls = [(before, after) for before, after in pairwise(points) if before[1] > after[1] >= 0]
    return max(falls, key=lambda step: step[0][1] - step[1][1], default=None)


def _known(points: Iterable[tuple[str, Any]]) -> list[_Point]:
    return [(name, number) for name, value in points if (number := finite(value)) is not None]


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
