"""Handwritten digits: 1,797 real images that come with scikit-learn, without a download."""

import numpy as np
import torch

from orbitlens.checks import as_count, check_memory
from orbitlens.data.base import Inputs
from orbitlens.errors import missing_extra, out_of_range


def digits(size: int = 32) -> Inputs:
    """Return scikit-learn's 8 x 8 digits, with grey values scaled from 0..16 to [0, 1].

    Args:
        size: Height and width in pixels, a multiple of 8; every pixel becomes a square.

    Returns:
        Images of shape [1797, 1, size, size], labels 0 to 9.

    Raises:
        OrbitLensError: If the size is no multiple of 8, or scikit-learn is not installed.

    Example:
        >>> digits(size=16).values.shape
        torch.Size([1797, 1, 16, 16])
    """
    size = as_count("size", size, least=0)
    if size < 8 or size % 8:
        raise out_of_range("size", "a multiple of 8 pixels, such as 32", size)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing_extra("scikit-learn", extra="data") from None
    bundled = load_digits()
    subject = f"{len(bundled.images)} images of {size} x {size} pixels"
    check_memory(subject, 4 * len(bundled.images) * size**2, "choose smaller images")
    scale = size // 8
    values = torch.from_numpy(bundled.images / 16).float()[:, None]
    return Inputs(
        name="digits",
        values=values.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3),
        labels=bundled.target.astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
    )
