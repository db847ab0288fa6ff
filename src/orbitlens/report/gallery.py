"""The feature cards as the page shows them: pictures encoded, numbers written out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orbitlens.report.features import FeatureCard
from orbitlens.report.images import data_uri
from orbitlens.report.names import SaeStyle, element_label
from orbitlens.report.numbers import figure, percent
from orbitlens.report.readings import feature_reading

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
    """The row of one group element.

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
    """One latent.

    Args:
        latent: Its index.
        reading: How evenly it fires over the group, in words.
        orientations: One row per group element.
    """

    latent: int
    reading: str
    orientations: tuple[Orientation, ...]


@dataclass(frozen=True)
class Gallery:
    """The features of one SAE.

    Args:
        style: Label and colour of the SAE.
        features: Its features.
    """

    style: SaeStyle
    features: tuple[Feature, ...]


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
    cards = list(cards)
    return [
        Gallery(style, tuple(_feature(card, elements) for card in cards if card.sae == name))
        for name, style in styles.items()
        if any(card.sae == name for card in cards)
    ]


def _feature(card: FeatureCard, elements: Sequence[str]) -> Feature:
    order = len(card.firing_rates)
    names = [*elements[:order], *(f"element {g}" for g in range(len(elements), order))]
    return Feature(
        latent=card.latent,
        reading=feature_reading(card, names),
        orientations=tuple(_orientation(card, g, element_label(names[g])) for g in range(order)),
    )


def _orientation(card: FeatureCard, element: int, label: str) -> Orientation:
    rate, highest = float(card.firing_rates[element]), float(card.firing_rates.max())
    pictures = []
    for rank, (image, activation) in enumerate(
        zip(card.images[element], card.activations[element].tolist(), strict=True), start=1
    ):
        written = figure(activation)
        pictures.append(
            Picture(
                uri=data_uri(image),
                description=f"Image {rank} for latent {card.latent} under {label}, "
                f"activation {written}",
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
