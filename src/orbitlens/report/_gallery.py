"""The feature cards as the page shows them: pictures encoded, numbers written out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orbitlens.report._images import data_uri
from orbitlens.report._names import SaeStyle, element_label
from orbitlens.report._numbers import figure, percent
from orbitlens.report._readings import feature_reading
from orbitlens.report.features import FeatureCard

_PIXEL_ART = 32


@dataclass(frozen=True)
class Picture:
    """One of the top images.

    Args:
        uri: The picture as a data URI.
        description: What it is, for those who cannot see it.
        activation: The latent's activation on it, written out.
        silent: Whether the latent does not fire on it.
        coarse: Whether it is so small that its pixels must stay sharp when it is enlarged.
    """

    uri: str
    description: str
    activation: str
    silent: bool
    coarse: bool


@dataclass(frozen=True)
class Orientation:
    """The row of one group element, or of one orientation of an atom.

    Args:
        element: Name of the element.
        rate: Share of samples on which the latent fires, written out.
        bar: The same relative to the element with the largest, in percent.
        pictures: The top images, strongest first.
    """

    element: str
    rate: str
    bar: float
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Feature:
    """One latent or atom.

    Args:
        name: What it is, with its index.
        reading: How evenly it fires over the group, in words.
        label: What the group does to it, in words; empty where that is not known.
        orientations: One row per group element, or per orientation.
    """

    name: str
    reading: str
    label: str
    orientations: tuple[Orientation, ...]


@dataclass(frozen=True)
class Gallery:
    """The features of one SAE.

    Args:
        style: Label and colour of the SAE.
        features: Its features.
        oriented: Whether they are atoms, and rows their orientations.
    """

    style: SaeStyle
    features: tuple[Feature, ...]
    oriented: bool


def galleries(
    cards: Iterable[FeatureCard], elements: Sequence[str], styles: Mapping[str, SaeStyle]
) -> list[Gallery]:
    """Prepare the cards for the page, SAE by SAE in the order of the styles.

    Args:
        cards: The features of all SAEs.
        elements: Names of the group elements; an element without one is called by its index.
        styles: Label and colour of each SAE.

    Returns:
        One gallery per SAE that has a card.
    """
    by_sae: dict[str, list[FeatureCard]] = {}
    for card in cards:
        by_sae.setdefault(card.sae, []).append(card)
    return [
        Gallery(
            style,
            tuple(_feature(card, elements) for card in by_sae[name]),
            oriented=any(card.orientations is not None for card in by_sae[name]),
        )
        for name, style in styles.items()
        if name in by_sae
    ]


def _feature(card: FeatureCard, elements: Sequence[str]) -> Feature:
    rows = range(len(card.firing_rates)) if card.orientations is None else card.orientations
    names = [elements[g] if g < len(elements) else f"element {g}" for g in rows]
    name = f"{'Latent' if card.orientations is None else 'Atom'} {card.latent}"
    place = "under" if card.orientations is None else "in orientation"
    return Feature(
        name=name,
        reading=feature_reading(card, names),
        label=element_label(card.label or ""),
        orientations=tuple(
            _orientation(card, row, element_label(label), f"{name.lower()} {place}")
            for row, label in enumerate(names)
        ),
    )


def _orientation(card: FeatureCard, row: int, label: str, what: str) -> Orientation:
    rate, highest = float(card.firing_rates[row]), float(card.firing_rates.max())
    pictures = []
    for rank, (image, activation) in enumerate(
        zip(card.images[row], card.activations[row].tolist(), strict=True), start=1
    ):
        written = figure(activation)
        pictures.append(
            Picture(
                uri=data_uri(image),
                description=f"Image {rank} for {what} {label}, activation {written}",
                activation=written,
                silent=activation == 0,
                coarse=max(image.shape[-2:]) <= _PIXEL_ART,
            )
        )
    return Orientation(
        element=label,
        rate=percent(rate),
        bar=round(100 * rate / highest, 1) if highest > 0 else 0.0,
        pictures=tuple(pictures),
    )
