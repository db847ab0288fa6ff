"""Feature cards as a page shows them: images as data URIs, numbers as text."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from orbitlens.errors import missing_extra
from orbitlens.report._elements import Element
from orbitlens.report._logos import Logo, draw_logo
from orbitlens.report._notation import SaeStyle, element_label, figure, percent
from orbitlens.report._readings import feature_reading, turning_reading
from orbitlens.report.features import FeatureCard
from orbitlens.typing import Float, Tensor

MAX_SIDE = 96
MAX_BYTES = 3000
_WIDEST = 256  # pixels of a picture that is more than twice as wide as high, such as a sequence
_DOUBLE = 160
_JPEG_QUALITIES = (85, 70, 50, 30)
_PIXEL_ART = 32


@dataclass(frozen=True)
class Picture:
    """A top image as a data URI, its description, its activation and the name of its sample.

    URI and name may be empty, but not both. The feature does not fire on a silent one. The pixels
    of a coarse one are to stay sharp. A wide one gets the room of two or four, which
    `room` says; it is empty for others.
    """

    uri: str
    description: str
    activation: str
    silent: bool
    coarse: bool
    name: str
    room: str


@dataclass(frozen=True)
class Orientation:
    """A row of pictures: its element, firing rate, bar (percent of the largest), and pictures.

    Features of sequences may have a logo.
    """

    element: Element
    rate: str
    bar: float
    pictures: tuple[Picture, ...]
    logo: Logo | None


@dataclass(frozen=True)
class Feature:
    """A latent or atom: its name, how evenly it fires, and its rows of pictures.

    Its label, the action of the group on its direction, may be empty, and so may `turning`, what
    its codes do when the input moves.
    """

    name: str
    reading: str
    label: str
    turning: str
    orientations: tuple[Orientation, ...]


@dataclass(frozen=True)
class Gallery:
    """The features of one SAE; whether they are atoms with one row per orientation; any logos."""

    style: SaeStyle
    features: tuple[Feature, ...]
    oriented: bool
    has_logos: bool


def galleries(
    cards: Iterable[FeatureCard], elements: Sequence[Element], styles: Mapping[str, SaeStyle]
) -> list[Gallery]:
    """Return one gallery per SAE with cards, in the order of the styles, orbit SAEs first."""
    by_sae: dict[str, list[FeatureCard]] = {}
    for card in cards:
        by_sae.setdefault(card.sae, []).append(card)
    found = [
        Gallery(
            style,
            tuple(_feature(card, elements) for card in by_sae[name]),
            oriented=any(card.orientations is not None for card in by_sae[name]),
            has_logos=any(card.letters is not None for card in by_sae[name]),
        )
        for name, style in styles.items()
        if name in by_sae
    ]
    return sorted(found, key=lambda gallery: not gallery.oriented)


def _feature(card: FeatureCard, elements: Sequence[Element]) -> Feature:
    rows = range(len(card.firing_rates)) if card.orientations is None else card.orientations
    named = [elements[g] if g < len(elements) else Element(f"element {g}", "") for g in rows]
    name = f"{'Latent' if card.orientations is None else 'Atom'} {card.latent}"
    place = "under" if card.orientations is None else "in orientation"
    return Feature(
        name=name,
        reading=feature_reading(card, [element.symbol for element in named]),
        label=element_label(card.label or ""),
        turning=turning_reading(card.turning or {}),
        orientations=tuple(
            _orientation(card, row, element, f"{name.lower()} {place}")
            for row, element in enumerate(named)
        ),
    )


def _orientation(card: FeatureCard, row: int, element: Element, feature: str) -> Orientation:
    rate, highest = float(card.firing_rates[row]), float(card.firing_rates.max())
    activations = card.activations[row].tolist()
    nothing = [None] * len(activations)
    images = nothing if card.images is None else card.images[row]
    names = card.names[row] if card.names else [""] * len(activations)
    pictures = [
        Picture(
            uri="" if image is None else data_uri(image),
            description=f"Image {rank} for {feature} {element}, activation {figure(activation)}",
            activation=figure(activation),
            silent=activation == 0,
            coarse=image is not None and max(image.shape[-2:]) <= _PIXEL_ART,
            name=name,
            room="" if image is None else _room(image),
        )
        for rank, (image, activation, name) in enumerate(
            zip(images, activations, names, strict=True), start=1
        )
    ]
    return Orientation(
        element=element,
        rate=percent(rate),
        bar=round(100 * rate / highest, 1) if highest > 0 else 0.0,
        pictures=tuple(pictures),
        logo=None if card.letters is None else draw_logo(card.letters[row], f"{feature} {element}"),
    )


def _is_wide(image: Float[Tensor, "channels height width"]) -> bool:
    return image.shape[2] > 2 * image.shape[1]


def _room(image: Float[Tensor, "channels height width"]) -> str:
    if not _is_wide(image):
        return ""
    return "fourfold" if image.shape[2] > _DOUBLE else "double"


def data_uri(image: Float[Tensor, "channels height width"]) -> str:
    """Encode an image with values in [0, 1] as a data URI.

    Values are clipped, and NaN is black. One channel is grey, three are RGB, any other number is
    averaged. Sides above 96 pixels are scaled down; a picture more than twice as wide as high may
    be 256 wide. The result is the first encoding that fits 3000 bytes: PNG, then JPEG of falling
    quality (the last one whatever its size).
    """
    try:
        from PIL import Image
    except ImportError:
        raise missing_extra("pillow", extra="report") from None
    if len(image) not in (1, 3):
        image = image.mean(dim=0, keepdim=True)
    levels = (image.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    picture = Image.fromarray(levels.permute(1, 2, 0).squeeze(-1).numpy())
    widest = _WIDEST if _is_wide(image) else MAX_SIDE
    picture.thumbnail((widest, MAX_SIDE), Image.Resampling.BOX)
    kind, data = "png", _encode(picture, format="PNG", optimize=True)
    for quality in _JPEG_QUALITIES:
        if len(data) <= MAX_BYTES:
            break
        kind, data = "jpeg", _encode(picture, format="JPEG", quality=quality, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encode(picture: Any, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **settings)
    return buffer.getvalue()
