"""Drawings of blood cells: images without a preferred orientation, without a download."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
import torch
from jaxtyping import Complex, Float

from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.data.base import Inputs
from orbitlens.errors import out_of_range

_CLASSES = ("red cell", "lymphocyte", "neutrophil", "eosinophil")
_SMALLEST = 16
# Colours of a smear under the usual stain, red, green and blue.
_PLASMA = (0.96, 0.92, 0.90)
_NUCLEUS = (0.36, 0.20, 0.52)

_Places = Complex[np.ndarray, "size size"]
_Distances = Float[np.ndarray, "size size"]
_Colour = tuple[float, float, float] | Float[np.ndarray, "size size 3"]


def cells(n: int, *, size: int = 32, seed: int = 0) -> Inputs:
    """Draw made-up blood cells of four kinds, one per image.

    A "red cell" is a pale, slightly elliptic disc, paler in the middle. A "lymphocyte" is a large
    round nucleus in a thin rim. A "neutrophil" has a nucleus of three or four lobes, joined in an
    arc, among fine granules; an "eosinophil" has two lobes among large orange granules. Position,
    size, details, stain and background are random, and so is the orientation: a turned or mirrored
    image is as probable as the original, so no orientation is canonical.

    Args:
        n: Number of images; the numbers of two classes differ by at most one.
        size: Height and width in pixels, at least 16.
        seed: The same seed gives the same images.

    Returns:
        Images of shape [n, 3, size, size] in random order of their classes; labels 0 to 3: red
        cell, lymphocyte, neutrophil, eosinophil.

    Raises:
        OrbitLensError: If `n` is below 1 or the size below 16.

    Example:
        >>> drawn = cells(10)
        >>> drawn.values.shape, drawn.class_names[drawn.labels[0]]
        (torch.Size([10, 3, 32, 32]), 'red cell')
    """
    n, size, seed = as_count("n", n), as_count("size", size, least=0), as_seed(seed)
    if size < _SMALLEST:
        raise out_of_range("size", f"at least {_SMALLEST} pixels", size)
    subject = f"{n} images of {size} x {size} pixels"
    check_memory(subject, 12 * n * size**2, "choose fewer or smaller images")
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % len(_CLASSES))
    values = np.empty((n, 3, size, size), dtype=np.float32)
    for image, label in zip(values, labels, strict=True):
        image[:] = _draw_cell(_CLASSES[label], size, generator).transpose(2, 0, 1)
    return Inputs("cells", torch.from_numpy(values), labels, _CLASSES)


@final
@dataclass(frozen=True, eq=False)
class _Canvas:
    """An image to paint on in place, the positions of its pixels, and the source of randomness.

    Positions are complex numbers: the sides are at 1, i, -1 and -i.
    """

    image: Float[np.ndarray, "size size 3"]
    places: _Places
    generator: np.random.Generator

    def paint(
        self, distance: _Distances, colour: _Colour, strength: float | _Distances = 1.0
    ) -> None:
        """Paint the pixels with negative distance; edges are one pixel wide."""
        pixel = 2 / len(self.places)
        cover = strength * (1 - np.tanh(2 * distance / pixel)) / 2
        self.image[:] += cover[..., None] * (np.array(colour) - self.image)

    def waves(self, number: int) -> _Distances:
        """Return a sum of random waves, about `number` across the image, with variance 1."""
        count = 8
        angles, phases = self.generator.uniform(0, 2 * np.pi, (2, count, 1, 1))
        lengths = np.pi * number * self.generator.uniform(0.5, 1.5, (count, 1, 1))
        along = (self.places * np.exp(1j * angles)).real
        return np.sqrt(2 / count) * np.cos(lengths * along + phases).sum(0)

    def somewhere(self, radius: float, count: int = 1) -> Complex[np.ndarray, " count"]:
        """Return uniform random positions in a disc around the centre."""
        turns, areas = self.generator.uniform(size=(2, count))
        return radius * np.sqrt(areas) * np.exp(2j * np.pi * turns)


def _draw_cell(name: str, size: int, generator: np.random.Generator) -> Float[np.ndarray, "_ _ 3"]:
    along = (2 * np.arange(size) + 1) / size - 1
    canvas = _Canvas(np.full((size, size, 3), _PLASMA), along - 1j * along[:, None], generator)
    canvas.image[:] += 0.015 * canvas.waves(2)[..., None]
    turn = np.exp(2j * np.pi * generator.uniform())
    _DRAWINGS[name](canvas, (canvas.places - canvas.somewhere(0.15)) * turn)
    # Stain absorbs light, by a random amount that differs between colours.
    stain = generator.uniform(0.85, 1.15) * generator.uniform(0.92, 1.08, 3)
    image = 1 - stain * (1 - canvas.image) + generator.normal(0, 0.012, canvas.image.shape)
    return image.clip(0, 1)


def _red_cell(canvas: _Canvas, places: _Places) -> None:
    stretch = canvas.generator.uniform(1, 1.12)
    radius = canvas.generator.uniform(0.42, 0.54)
    away = np.abs(places.real / stretch + 1j * places.imag * stretch)
    canvas.paint(away - radius, (0.83, 0.50, 0.50))
    pallor = away / (radius * canvas.generator.uniform(0.45, 0.6))
    canvas.paint(away - radius, (0.95, 0.82, 0.80), strength=0.7 * np.exp(-(pallor**4)))


def _lymphocyte(canvas: _Canvas, places: _Places) -> None:
    radius = canvas.generator.uniform(0.50, 0.62)
    canvas.paint(_round(canvas, places, radius), (0.66, 0.74, 0.91))
    centre = canvas.somewhere(0.08 * radius)
    _nucleus(canvas, _round(canvas, places - centre, 0.82 * radius))


def _neutrophil(canvas: _Canvas, places: _Places) -> None:
    radius = canvas.generator.uniform(0.62, 0.74)
    canvas.paint(_round(canvas, places, radius), (0.91, 0.79, 0.83))
    _granules(canvas, places, radius, count=50, share=0.045, colour=(0.74, 0.50, 0.68))
    lobes, step, share = ((3, 1.35, 0.27), (4, 1.1, 0.24))[canvas.generator.integers(2)]
    # The arc is centred on its axis, so that its mirror image is equally probable.
    along = np.arange(lobes) - (lobes - 1) / 2 + canvas.generator.uniform(-0.12, 0.12, lobes)
    _lobed_nucleus(canvas, places, 0.46 * radius * np.exp(1j * step * along), share * radius)


def _eosinophil(canvas: _Canvas, places: _Places) -> None:
    radius = canvas.generator.uniform(0.62, 0.74)
    canvas.paint(_round(canvas, places, radius), (0.95, 0.74, 0.66))
    _granules(canvas, places, radius, count=55, share=0.085, colour=(0.89, 0.38, 0.22))
    half_angle = canvas.generator.uniform(0.9, 1.2)
    centres = 0.46 * radius * np.exp(1j * half_angle * np.array([-1, 1]))
    _lobed_nucleus(canvas, places, centres, 0.34 * radius)


def _round(canvas: _Canvas, places: _Places, radius: float) -> _Distances:
    """Return the distance from a contour that is nearly a circle."""
    heights, angles = canvas.generator.normal(0, 0.03, 2), np.angle(places)
    bumps = heights[0] * np.cos(2 * angles) + heights[1] * np.cos(3 * angles)
    return np.abs(places) - radius * (1 + bumps)


def _lobed_nucleus(
    canvas: _Canvas, places: _Places, centres: Complex[np.ndarray, " lobe"], radius: float
) -> None:
    """Paint a nucleus: lobes around their centres, and a thread from each to the next."""
    distances = []
    for centre in centres:
        size = radius * canvas.generator.uniform(0.88, 1.12)
        distances.append(_round(canvas, places - centre, size))
    for start, end in pairwise(centres):
        # In these units the thread lies on the real line from 0 to 1.
        relative = (places - start) / (end - start)
        nearest = relative.real.clip(0, 1)
        distances.append(np.abs(relative - nearest) * abs(end - start) - 0.3 * radius)
    _nucleus(canvas, np.minimum.reduce(distances))


def _nucleus(canvas: _Canvas, distance: _Distances) -> None:
    grains = 0.04 * canvas.waves(8)[..., None]
    canvas.paint(distance, np.array(_NUCLEUS) + grains)


def _granules(
    canvas: _Canvas, places: _Places, radius: float, *, count: int, share: float, colour: _Colour
) -> None:
    centres = canvas.somewhere(0.86 * radius, count)[:, None, None]
    sizes = share * radius * canvas.generator.uniform(0.8, 1.2, (count, 1, 1))
    canvas.paint((np.abs(places - centres) - sizes).min(0), colour, strength=0.75)


_DRAWINGS = {
    "red cell": _red_cell,
    "lymphocyte": _lymphocyte,
    "neutrophil": _neutrophil,
    "eosinophil": _eosinophil,
}
