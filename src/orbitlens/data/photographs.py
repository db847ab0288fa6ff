"""Patches of the two photographs that come with scikit-learn: natural images, no download."""

import numpy as np
import torch
from jaxtyping import UInt8

from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.data.base import Inputs
from orbitlens.errors import OrbitLensError, missing_extra

_CLASSES = ("china fine", "china coarse", "flower fine", "flower coarse")
_COARSE = 4
# A coarse patch must fit into the 427 rows of a photograph; in tiny ones contrast is rare.
_SMALLEST, _LARGEST = 8, 106
_CONTRAST = 0.08


def photographs(n: int, *, size: int = 32, seed: int = 0) -> Inputs:
    """Cut random square patches out of scikit-learn's photographs of a temple and of a flower.

    Patches are upright, as the camera saw them. A "fine" patch is a square of size x size pixels; a
    "coarse" patch is a square with four times that side, resized bicubically with antialiasing. The
    position is uniform over the photograph. A square whose grey values (the mean of the three
    channels, in [0, 1]) have a standard deviation below 0.08, such as plain sky, is drawn again.
    Patches overlap, so held-out patches show no new scenes.

    Source: china.jpg and flower.jpg of `sklearn.datasets.load_sample_images`, CC BY 2.0, by the
    Flickr users danielbuechele and vultilion.

    Args:
        n: Number of patches; the numbers of two classes differ by at most one.
        size: Height and width in pixels, 8 to 106.
        seed: The same seed gives the same patches.

    Returns:
        Images of shape [n, 3, size, size] in random order of their classes; labels 0 to 3: china
        fine, china coarse, flower fine, flower coarse.

    Raises:
        OrbitLensError: If `n` is below 1, the size is out of range, or scikit-learn or pillow is
            not installed.

    Example:
        >>> patches = photographs(10)
        >>> patches.values.shape, patches.class_names[patches.labels[0]]
        (torch.Size([10, 3, 32, 32]), 'china fine')
    """
    n, size, seed = as_count("n", n), as_count("size", size, least=0), as_seed(seed)
    if not _SMALLEST <= size <= _LARGEST:
        raise OrbitLensError(
            "`size` of photographs",
            expected=f"{_SMALLEST} to {_LARGEST} pixels",
            received=size,
            remedy="choose for example 32 (command line: --image-size 32)",
        )
    try:
        from PIL import Image
    except ImportError:
        raise missing_extra("pillow", extra="data") from None
    try:
        from sklearn.datasets import load_sample_image
    except ImportError:
        raise missing_extra("scikit-learn", extra="data") from None
    subject = f"{n} images of {size} x {size} pixels"
    check_memory(subject, 12 * n * size**2, "choose fewer or smaller images")
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % len(_CLASSES))
    names_and_scales = [name.split() for name in _CLASSES]
    bundled = {name: load_sample_image(f"{name}.jpg") for name, _ in names_and_scales}
    values = np.empty((n, 3, size, size), dtype=np.float32)
    for patch, label in zip(values, labels, strict=True):
        name, scale = names_and_scales[label]
        side = _COARSE * size if scale == "coarse" else size
        square = Image.fromarray(_cut_square(bundled[name], side, generator))
        resized = square.resize((size, size), Image.Resampling.BICUBIC)
        patch[:] = np.asarray(resized).transpose(2, 0, 1) / 255
    return Inputs("photographs", torch.from_numpy(values), labels, _CLASSES)


def _cut_square(
    photograph: UInt8[np.ndarray, "height width 3"], side: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the first random square with contrast; at least about one in ten has it."""
    height, width, _ = photograph.shape
    while True:
        top, left = generator.integers((height - side + 1, width - side + 1))
        square = photograph[top : top + side, left : left + side]
        if square.mean(2).std() >= 255 * _CONTRAST:
            return square
