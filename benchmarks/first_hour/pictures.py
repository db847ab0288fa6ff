"""Cuts the photographs that scikit-image and scikit-learn carry into folders of pictures.

python benchmarks/first_hour/pictures.py        # writes pictures/ and lines/
"""

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_images

COLOUR = (
    "astronaut",
    "chelsea",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
)
TEXT = ("page", "text")


def photographs() -> dict[str, np.ndarray]:
    """The colour photographs of both packages by name, each `[height, width, 3]` in 0 to 255."""
    found = {name: getattr(skimage.data, name)() for name in COLOUR}
    samples = load_sample_images()
    return found | dict(zip(("china", "flower"), samples.images, strict=True))


def save_crops(picture, folder, sizes, seed):
    """Saves one crop of each size (height, width) from a random place as a PNG."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate(sizes(rng)):
        top = rng.integers(picture.shape[0] - height + 1)
        left = rng.integers(picture.shape[1] - width + 1)
        crop = picture[top : top + height, left : left + width]
        Image.fromarray(crop).save(folder / f"{number:03d}.png")


def squares_and_oblongs(rng):
    """56 sizes from 60 to 240 pixels; every second is oblong, up to 2 to 1."""
    for number in range(56):
        side = int(rng.integers(60, 240))
        other = int(side * rng.uniform(0.5, 1.0)) if number % 2 else side
        yield (side, other) if number % 4 == 1 else (other, side)


def wide_strips(rng):
    """64 sizes of 4 to 1 and more, as lines of text have."""
    for _ in range(64):
        height = int(rng.integers(16, 40))
        yield height, int(height * rng.uniform(4.0, 4.6))


def main() -> None:
    """Writes pictures/ (9 classes, 504 crops) and lines/ (7 classes, 448 strips)."""
    for seed, (name, picture) in enumerate(photographs().items()):
        save_crops(picture, Path("pictures") / name, squares_and_oblongs, seed)
    lined = {name: getattr(skimage.data, name)() for name in TEXT}
    lined |= {k: v for k, v in photographs().items() if k in (*COLOUR[:3], "china", "flower")}
    for seed, (name, picture) in enumerate(lined.items()):
        save_crops(picture, Path("lines") / name, wide_strips, 100 + seed)


if __name__ == "__main__":
    main()
