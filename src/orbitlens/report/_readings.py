"""The figures of a run in plain words: title, summary, headlines, warnings, notices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orbitlens.metrics._turning_words import INVARIANT, MOVES, TURNS, UNKNOWN
from orbitlens.report._notation import SaeStyle, element_label, figure, finite, percent, score
from orbitlens.report._table import Record, is_completed
from orbitlens.report.features import FeatureCard


@dataclass(frozen=True)
class Headline:
    """A number at the top of a page, its title, and another number or name to compare it with."""

    title: str
    value: str
    context: str


def part(metrics: Record, name: str) -> Record:
    """Return a part of the metrics, empty where it is missing or None."""
    return metrics.get(name) or {}


def title(metrics: Record) -> str:
    """Name the run by its data and its group."""
    data = part(metrics, "data").get("name") or part(metrics, "config").get("source") or "A run"
    group = part(metrics, "group").get("name")
    return f"{data} under {group}" if group else str(data)


def summary(metrics: Record) -> str:
    """Describe the run in one or two sentences, without the parts that are unknown."""
    model, data, group = (part(metrics, name) for name in ("model", "data", "group"))
    count = len(part(metrics, "saes"))
    trained = f"{count} sparse autoencoder{' was' if count == 1 else 's were'} trained on "
    width = f"{model['dim']}-dimensional " if model.get("dim") else ""
    place = f" of layer {model['layer']}" if model.get("layer") else ""
    place += f" of {model['name']}" if model.get("name") else ""
    place += f", {model['layout']}" if " at " in str(model.get("layout")) else ""
    source = f" of {data['name']}" if data.get("name") else ""
    samples = f", for {figure(data['n'])} samples{source}" if data.get("n") else ""
    orbits = ""
    if group.get("name"):
        size = len(group.get("elements") or ())
        orbits = f" along the orbits of {group['name']}" + (f" ({size} elements)" if size else "")
    held_out = ""
    if data.get("held_out"):
        held_out = f"; every figure is on {figure(data['held_out'])} held-out samples"
    given = part(model, "input").get("sentence")
    gets = f" The network gets {given}." if given else ""
    return f"{trained}{width}activations{place}{samples}{orbits}{held_out}.{gets}"


def headlines(metrics: Record, styles: Mapping[str, SaeStyle]) -> list[Headline]:
    """Return the headlines: transport, best SAE, orientations found, codes that move."""
    transport, saes = part(metrics, "transport"), part(metrics, "saes")
    lines = []
    if transport:
        context = f"{score(transport.get('identity_r2'))} without a transport (identity)"
        lines.append(Headline("Transport R²", score(transport.get("r2")), context))
    best = best_sae(saes)
    if best is not None:
        error, key = final_error(saes[best])
        vanilla, _ = final_error(part(saes, "vanilla"))
        compared = [
            styles[best].label + (", transported" if key.startswith("transported") else ""),
            *([] if best == "vanilla" or vanilla is None else [f"vanilla {figure(vanilla)}"]),
        ]
        lines.append(Headline("Lowest normalised MSE", figure(error), "; ".join(compared)))
    lines += _best_share(saes, styles, "orientation_accuracy", "Orientation found", "samples")
    lines += _best_share(saes, styles, "moved_codes", "Codes that move as predicted", "codes")
    return lines


def _best_share(
    saes: Record, styles: Mapping[str, SaeStyle], key: str, title: str, things: str
) -> list[Headline]:
    shares = {
        name: share
        for name, sae in saes.items()
        if sae and competes(sae) and (share := finite(sae.get(key))) is not None
    }
    if not shares:
        return []
    best = max(shares, key=lambda name: shares[name])
    return [Headline(title, percent(shares[best]), f"of {things}, by {styles[best].label}")]


def final_error(sae: Record) -> tuple[float | None, str]:
    """Return the normalised MSE of an SAE, after the transport if it has one, and its key."""
    for key in ("transported_normalised_mse", "normalised_mse"):
        if sae.get(key) is not None:
            return finite(sae[key]), key
    return None, "normalised_mse"


def competes(sae: Record) -> bool:
    """Say whether the figures of an SAE compete: it was trained to the end and explains something.

    An SAE with a `final_error` above 1, an R^2 below 0, is no better or worse than another.
    """
    error, _ = final_error(sae)
    return is_completed(sae) and not sae.get("loss_blew_up") and (error is None or error <= 1)


def best_sae(saes: Record) -> str | None:
    """Return the competing SAE with the lowest finite `final_error`, None if there is none."""
    errors = {
        name: error
        for name, sae in saes.items()
        if sae and competes(sae) and (error := final_error(sae)[0]) is not None
    }
    return min(errors, key=lambda name: errors[name], default=None)


def transport_readings(transport: Record) -> list[str]:
    """Explain R^2 and the relation error of a transport."""
    sentences = []
    r2, identity_r2 = finite(transport.get("r2")), finite(transport.get("identity_r2"))
    if r2 is not None and identity_r2 is not None:
        sentences.append(_read_r2(r2, identity_r2))
    error = finite(transport.get("relation_error"))
    if error is not None:
        sentences.append(_read_relation_error(error))
    return sentences


def _read_r2(r2: float, identity_r2: float) -> str:
    if r2 < 0:
        return (
            f"Fixed matrices, one per element, explain nothing of how these activations move: R² "
            f"is {score(r2)}. Do not read the results of the equivariant SAEs."
        )
    if r2 < 0.5:
        return (
            f"Fixed matrices, one per element, do not predict well how these activations move: R² "
            f"is only {score(r2)}. Read the results of the equivariant SAEs with care."
        )
    if identity_r2 >= 0.95:
        return (
            f"The layer hardly changes when its input is moved: without any transport, R² is "
            f"already {score(identity_r2)}. The layer is close to invariant."
        )
    if r2 - identity_r2 < 0.02:
        return (
            f"The transport adds little: R² is {score(r2)} with it and {score(identity_r2)} "
            f"without it."
        )
    return (
        f"The activations move with the group, and one matrix per element predicts how: the "
        f"transport explains {percent(r2)} of their variance. The assumption that they do not move "
        f"explains {percent(max(identity_r2, 0.0))}."
    )


def _read_relation_error(error: float) -> str:
    if error <= 1e-3:
        return (
            "The matrices multiply as the group does: they are a representation up to rounding, "
            "and that of the inverse element undoes each."
        )
    if error <= 0.1:
        return (
            f"The matrices almost multiply as the group does: ρ(g) ρ(h) differs from ρ(gh) by at "
            f"most {percent(error)} of the size of the identity."
        )
    return (
        f"The matrices do not multiply as the group does: ρ(g) ρ(h) differs from ρ(gh) by up to "
        f"{percent(error)} of the size of the identity. The matrices predict single moves. Do not "
        f"rely on their products or inverses along directions with little variance."
    )


def warnings(record: Record, doubts: Sequence[str]) -> list[str]:
    """Return the warnings that a record holds, and those doubts about it that it lacks."""
    return list(dict.fromkeys([*map(str, record.get("warnings") or ()), *doubts]))


def notices(metrics: Record) -> list[str]:
    """Return what a reader of the figures of a run should know."""
    lines = [str(note) for note in metrics.get("notes") or ()]
    lines += action_notices(part(metrics, "action"))
    return lines + passed_over(part(metrics, "data"))


def passed_over(inputs: Record) -> list[str]:
    """Return what was passed over among the inputs; older records list the files alone."""
    skipped = inputs.get("skipped") or ()
    if "passed_over" in inputs or not skipped:
        return [str(sentence) for sentence in inputs.get("passed_over") or ()]
    shown = ", ".join(map(str, skipped[:5])) + (", …" if len(skipped) > 5 else "")
    return [f"{len(skipped)} of the files could not be read and were left out: {shown}"]


def action_notices(action: Record) -> list[str]:
    """Warn of moves that interpolate, and say by how much they differ from a group's."""
    if action.get("exact") is not False:
        return []
    return [
        f"The group moves these inputs by interpolation: the product of two moves differs from the "
        f"two moves in turn by up to {percent(action.get('error'))} of the input."
    ]


def feature_reading(card: FeatureCard, elements: list[str]) -> str:
    """Say how evenly a feature fires over the group."""
    rates = card.firing_rates.tolist()
    highest, lowest = max(rates), min(rates)
    if len(rates) == 1:
        return f"fires on {percent(highest)} of samples"
    if lowest >= 0.8 * highest:
        return "fires about equally in every orientation"
    often = [
        element_label(element)
        for element, rate in zip(elements, rates, strict=True)
        if rate >= highest / 2
    ]
    if len(often) <= len(rates) / 2:
        place = "under" if card.orientations is None else "in orientation"
        return f"fires mostly {place} {', '.join(often)}"
    return "fires more in some orientations than in others"


def network_input(inputs: Record) -> list[str]:
    """Return the sentence on what the network gets; none if it is not known."""
    return [f"The network gets {inputs['given']}."] if inputs.get("given") else []


def turning_reading(row: Record) -> str:
    """Say whether a feature turns, with its share and interval; empty without a row."""
    word, seen = row.get("word"), row.get("inputs")
    if not word:
        return ""
    inputs = f"{figure(seen)} input{'' if seen == 1 else 's'}"
    if word == UNKNOWN:
        return f"{word.capitalize()} what it does: it fires on the orbits of {inputs}."
    turns, stays = percent(row.get("turns")), percent(row.get("stays"))
    moves = word in (TURNS, MOVES)
    interval = f"(95% interval {percent(row.get('low'))} to {percent(row.get('high'))})"
    if word == INVARIANT or (not moves and row.get("share") == row.get("stays")):
        told = f"{stays} of its strength stays when the input moves {interval}"
        other = "" if word == INVARIANT else f", {turns} moves as predicted"
    else:
        told = f"{turns} of its strength moves as predicted {interval}"
        other = "" if moves else f", {stays} stays"
    return f"{word.capitalize()}: {told}{other}; {inputs}."
