"""Pictures as data URIs, small enough that a page holds a thousand of them."""

import base64
import io
from typing import Any

import torch

from orbitlens.errors import missing_extra
from orbitlens.typing import Float, Tensor

MAX_SIDE = 96
MAX_BYTES = 3000
_JPEG_QUALITIES = (85, 70, 50, 30)


def data_uri(image: Float[Tensor, "channels height width"]) -> str:
    """Encode an image as a data URI.

    Images with sides above 96 pixels are scaled down. The first encoding that fits 3000 bytes is
    taken: lossless PNG, then JPEG of falling quality (the last whatever its size).

    Args:
        image: Values in [0, 1] (clipped; NaN is black), shape [channels, height, width]. One
            channel is grey, three are RGB; of any other number the mean is shown.

    Returns:
        "data:image/png;base64,..." or "data:image/jpeg;base64,...".

    Raises:
        MissingExtraError: If pillow is not installed.

    Example:
        >>> data_uri(torch.zeros(1, 8, 8)).partition(",")[0]
        'data:image/png;base64'
    """
    try:
        from PIL import Image
    except ImportError:
        raise missing_extra("pillow", extra="report") from None
    if len(image) not in (1, 3):
        image = image.mean(dim=0, keepdim=True)
    levels = (image.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    picture = Image.fromarray(levels.permute(1, 2, 0).squeeze(-1).numpy())
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
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
