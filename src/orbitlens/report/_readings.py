"""What the figures say, in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass

from orbitlens.report._names import SaeStyle, element_label
from orbitlens.report._numbers import figure, finite, percent, score
from orbitlens.report._table import Record, completed
from orbitlens.report.features import FeatureCard


@dataclass(frozen=True)
class Headline:
    """One of the numbers at the head of the page.

    Args:
        title: What was measured.
        value: The number.
        context: What to hold it against.
    """

    title: str
    value: str
    context: str


def part(metrics: Record, name: str) -> Record:
    """Return a part of the metrics, empty where it is missing or None.

    Example:
        >>> part({"data": None}, "data")
        {}
    """
    return metrics.get(name) or {}


def title(metrics: Record) -> str:
    """Name the run: its data and its group."""
    data = part(metrics, "data").get("name") or part(metrics, "config").get("source") or "A run"
    group = part(metrics, "group").get("name")
    return f"{data} under {group}" if group else str(data)


def summary(metrics: Record) -> str:
    """Say in one sentence what was run; what is not known is left out.

    Example:
        >>> summary({"saes": {"vanilla": {}}, "group": {"name": "C2", "elements": ["e", "r"]}})
        '1 sparse autoencoder was trained on activations along the orbits of C2 (2 elements).'
    """
    model, data, group = (part(metrics, name) for name in ("model", "data", "group"))
    count = len(part(metrics, "saes"))
    trained = f"{count} sparse autoencoder{' was' if count == 1 else 's were'} trained on "
    width = f"{model['dim']}-dimensional " if model.get("dim") else ""
    place = f" of layer {model['layer']}" if model.get("layer") else ""
    place += f" of {model['name']}" if model.get("name") else ""
    source = f" of {data['name']}" if data.get("name") else ""
    samples = f", for {figure(data['n'])} samples{source}" if data.get("n") else ""
    orbits = ""
    if group.get("name"):
        size = len(group.get("elements") or ())
        orbits = f" along the orbits of {group['name']}" + (f" ({size} elements)" if size else "")
    held_out = ""
    if data.get("held_out"):
        held_out = f"; every figure is on {figure(data['held_out'])} held-out samples"
    return f"{trained}{width}activations{place}{samples}{orbits}{held_out}."


def headlines(metrics: Record, styles: Mapping[str, SaeStyle]) -> list[Headline]:
    """Return the numbers at the head: transport, the best SAE, orientations found, codes moved."""
    transport, saes = part(metrics, "transport"), part(metrics, "saes")
    lines = []
    if transport:
        lines.append(
            Headline(
                "Transport R²",
                score(transport.get("r2")),
                f"{score(transport.get('identity_r2'))} without a transport (identity)",
            )
        )
    best = best_sae(saes)
    if best is not None:
        error, key = final_error(saes[best])
        vanilla, _ = final_error(part(saes, "vanilla"))
        held_against = [
            styles[best].label + (", transported" if key.startswith("transported") else ""),
            *([] if best == "vanilla" or vanilla is None else [f"vanilla {figure(vanilla)}"]),
        ]
        lines.append(
            Headline("Lowest normalised MSE", figure(error), "; ".join(held_against)),
        )
    lines += _best_share(saes, styles, "orientation_accuracy", "Orientation found", "samples")
    lines += _best_share(saes, styles, "moved_codes", "Codes that move as predicted", "codes")
    return lines


def _best_share(
    saes: Record, styles: Mapping[str, SaeStyle], key: str, title: str, things: str
) -> list[Headline]:
    shares = {
        name: share
        for name, sae in saes.items()
        if sae and completed(sae) and (share := finite(sae.get(key))) is not None
    }
    if not shares:
        return []
    best = max(shares, key=lambda name: shares[name])
    return [Headline(title, percent(shares[best]), f"of {things}, by {styles[best].label}")]


def final_error(sae: Record) -> tuple[float | None, str]:
    """Return the normalised MSE of what an SAE gives in the end, and which figure that is.

    Example:
        >>> final_error({"normalised_mse": 0.9, "transported_normalised_mse": 0.1})
        (0.1, 'transported_normalised_mse')
    """
    for key in ("transported_normalised_mse", "normalised_mse"):
        if sae.get(key) is not None:
            return finite(sae[key]), key
    return None, "normalised_mse"


def best_sae(saes: Record) -> str | None:
    """Find the SAE with the lowest normalised MSE, after the transport where one completes it.

    Args:
        saes: The figures of each SAE.

    Returns:
        Its name: None where no SAE that completed has a finite one.

    Example:
        >>> best_sae({"vanilla": {"normalised_mse": 0.3}, "a": {"transported_normalised_mse": 0.2}})
        'a'
    """
    errors = {
        name: error
        for name, sae in saes.items()
        if sae and completed(sae) and (error := final_error(sae)[0]) is not None
    }
    return min(errors, key=lambda name: errors[name], default=None)


def transport_readings(transport: Record) -> list[str]:
    """Say what R^2 and the relation error of a transport mean.

    Example:
        >>> transport_readings({"relation_error": 1e-7})[0].partition(":")[0]
        'The matrices multiply as the group does'
    """
    sentences = []
    r2, identity_r2 = finite(transport.get("r2")), finite(transport.get("identity_r2"))
    if r2 is not None and identity_r2 is not None:
        sentences.append(_read_r2(r2, identity_r2))
    error = finite(transport.get("relation_error"))
    if error is not None:
        sentences.append(_read_relation_error(error))
    return sentences


def _read_r2(r2: float, identity_r2: float) -> str:
    if r2 < 0.5:
        return (
            f"No fixed matrix per element predicts well how these activations move: R² is only "
            f"{score(r2)}. Read what the equivariant SAEs show with care."
        )
    if identity_r2 >= 0.95:
        return (
            f"The layer hardly changes when its input is moved: without any transport R² is "
            f"already {score(identity_r2)}. It is close to invariant."
        )
    if r2 - identity_r2 < 0.02:
        return (
            f"The transport adds little: {score(r2)} against {score(identity_r2)} for activations "
            f"taken as they are."
        )
    return (
        f"The activations move with the group, and one matrix per element predicts how: it "
        f"explains {percent(r2)} of their variance, against {percent(max(identity_r2, 0.0))} "
        f"when they are taken as unmoved."
    )


def _read_relation_error(error: float) -> str:
    if error <= 1e-3:
        return (
            "The matrices multiply as the group does: they are a representation up to rounding, "
            "and their inverses can be trusted."
        )
    if error <= 0.1:
        return (
            f"The matrices almost multiply as the group does: the product of two differs from the "
            f"one it should be by at most {percent(error)} of the size of the identity."
        )
    return (
        f"The matrices do not multiply as the group does: the product of two differs from the one "
        f"it should be by up to {percent(error)} of the size of the identity. They predict single "
        f"moves; along directions that carry little variance do not rely on their products or "
        f"inverses."
    )


def notices(metrics: Record, styles: Mapping[str, SaeStyle]) -> list[str]:
    """Collect what a reader must know before trusting the figures."""
    lines = [str(note) for note in metrics.get("notes") or ()]
    for name, sae in part(metrics, "saes").items():
        if not completed(sae or {}):
            lines.append(
                f"{styles[name].label}: training {sae['status']}; its figures mean little and "
                f"compete for nothing."
            )
    lines += action_notices(part(metrics, "action"))
    skipped = part(metrics, "data").get("skipped") or ()
    if skipped:
        shown = ", ".join(map(str, skipped[:5])) + (", …" if len(skipped) > 5 else "")
        lines.append(f"{len(skipped)} of the files could not be read and were left out: {shown}")
    return lines


def action_notices(action: Record) -> list[str]:
    """Say how far the moves themselves are from a group's, where they interpolate.

    Example:
        >>> action_notices({"exact": True, "error": 0.0})
        []
    """
    if action.get("exact") is not False:
        return []
    return [
        f"The group moves these inputs by interpolation: two moves in turn differ from the one "
        f"they make by up to {percent(action.get('error'))} of the input."
    ]


def feature_reading(card: FeatureCard, elements: list[str]) -> str:
    """Say how evenly a latent fires over the group.

    Example:
        >>> import torch
        >>> images, activations = torch.zeros(2, 1, 1, 4, 4), torch.ones(2, 1)
        >>> rates = torch.tensor([0.5, 0.0])
        >>> feature_reading(FeatureCard("vanilla", 0, rates, images, activations), ["e", "r"])
        'fires mostly under e'
    """
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
