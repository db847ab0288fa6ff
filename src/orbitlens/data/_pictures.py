"""One image file, read as a square in [0, 1]: only files of known formats, and only regular ones.

An oblong image is cut, filled up or squeezed: `CROPS` says how.

White is a property of the file: 255 for 8 bits, 65535 for 16 bits of grey, and 4095 for a TIFF of
12 bits. A TIFF whose zero is white is turned round.
"""

import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from PIL import Image

# A file is read by its content, whatever its ending says; other decoders of Pillow stay shut.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_KINDS = {2: "signed whole numbers", 3: "floating point numbers"}

CROPS = ("centre", "none", "pad")
"""Ways to make an oblong image square: cut its sides, squeeze it, or fill it up with black."""

Pixels = Float32[np.ndarray, "channels size size"]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that was read, and what was lost of it.

    Args:
        pixels: The square, in [0, 1].
        brightest: Largest number in the file.
        white: The number that was taken for white.
        oblong: Whether the image was not square.
        cut: Share of the area that was cut off an oblong image.
        pages: Whether the file has further pages or frames, which were not read.
    """

    pixels: Pixels
    brightest: int
    white: int
    oblong: bool
    cut: float
    pages: bool


def picture_reader(
    size: int, channels: str | int, white: int | None, crop: str
) -> Callable[[Path], Picture]:
    """Return the function that reads a file; it raises errors of many kinds."""
    from PIL import Image, ImageOps

    def read(path: Path) -> Picture:
        with open_regular(path) as file, _opened(file) as opened:
            own, turned_round = _white(opened)
            pages = bool(getattr(opened, "is_animated", False))
            if white is not None and white > 255 and _is_cut_to_8_bits(opened):
                raise ValueError("16 bits of colour, of which 8 can be read")
            image = _plain(ImageOps.exif_transpose(opened), own)
        chosen = own if white is None else white
        if chosen > own:
            raise ValueError(f"{own} is the largest number in it, and white is said to be {chosen}")
        numbers = np.asarray(image)
        brightest = int(numbers.max())
        if brightest > chosen:
            raise ValueError(f"a number of {brightest} in it, and white is said to be {chosen}")
        if turned_round:
            image = Image.fromarray(np.float32(chosen) - numbers)
        if channels == 1 and image.mode == "RGB":
            image = image.convert("L")
        short, long = min(image.size), max(image.size)
        cut = 1 - short / long if crop == "centre" else 0.0
        square = image if crop == "none" else _square(image, short if cut else long)
        resized = square.resize((size, size), Image.Resampling.BICUBIC)
        pixels = np.atleast_3d(np.asarray(resized, dtype=np.float32)) / np.float32(chosen)
        pixels = np.ascontiguousarray(pixels.clip(0, 1).transpose(2, 0, 1))
        if channels == 3 and len(pixels) == 1:
            pixels = np.repeat(pixels, 3, axis=0)
        return Picture(pixels, brightest, chosen, short < long, cut, pages)

    return read


def _square(image: "Image.Image", side: int) -> "Image.Image":
    """Return the centred square of a side; beyond the image it is black."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading; a pipe or a device, which might never answer, is an error."""
    # Looked at before, as opening can have effects, and after, as the file may have been exchanged.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is a pipe, a socket or a device")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is a pipe, a socket or a device")
    return os.fdopen(descriptor, "rb")


def quietly(read: Callable[[Path], Picture], path: Path) -> Picture:
    """Read a file without the warnings of Pillow; a size that suggests an attack is an error."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return read(path)


def _opened(file: IO[bytes]) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        raise ValueError(
            f"it is none of {', '.join(_FORMATS)}, or of a kind that Pillow does not read, such as "
            "10 bits per sample"
        ) from None


def _tag(image: "Image.Image", number: int) -> Any:
    """Return the first value of a tag of a TIFF; None for other files."""
    values = getattr(image, "tag_v2", {}).get(number)
    return values[0] if isinstance(values, tuple) else values


def _white(image: "Image.Image") -> tuple[int, bool]:
    """Return the value of white, and whether zero is white and Pillow leaves it so."""
    if image.mode.startswith("I;16"):
        bits = _tag(image, _BITS) or 16
        return 2 ** int(bits) - 1, _tag(image, _PHOTOMETRIC) == 0
    if image.mode in ("I", "F"):
        bits = _tag(image, _BITS) or 32
        kind = _KINDS.get(_tag(image, _SAMPLE_FORMAT) or (3 if image.mode == "F" else 1), "numbers")
        raise ValueError(
            f"{bits} bits per pixel (mode {image.mode}), {kind} whose white is not known"
        )
    return 255, False


def _is_cut_to_8_bits(image: "Image.Image") -> bool:
    return image.mode in ("RGB", "RGBA", "CMYK", "LA") and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
    )


def _plain(image: "Image.Image", white: int) -> "Image.Image":
    """Return the image in mode L, RGB, or F (more than 8 bits of grey)."""
    from PIL import Image

    if white > 255:
        return Image.fromarray(np.asarray(image).astype(np.float32))
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        solid = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid)
    return image.convert("L" if grey else "RGB")
