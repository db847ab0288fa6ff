"""Images from a folder, flat or with one subfolder per class."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from orbitlens.data._digest import header_hash
from orbitlens.data._folder_files import FolderFiles, find_files
from orbitlens.data._pictures import CROPS, Picture, Pixels, picture_reader, quietly
from orbitlens.data.base import Inputs
from orbitlens.data.lazy import LazyInputs
from orbitlens.errors import (
    OrbitLensError,
    missing_extra,
    one_line,
    out_of_range,
    printable,
    unknown_name,
    warn,
)

_SHOWN = 3
_DARK = {255: 31}  # brightest number that is doubtful; of more bits than 8, a quarter of white
_SQUARED = {"none": "squeezed into squares", "pad": "filled up to squares with black"}

_NO_PIXELS = np.zeros((0, 0, 0), dtype=np.float32)

_Reader = Callable[[Path], Picture]


def image_folder(
    path: str | Path,
    *,
    size: int = 64,
    channels: str | int = "auto",
    crop: str = "centre",
    white: int | None = None,
    unreadable: str = "stop",
    limit: int | None = None,
    seed: int = 0,
    in_memory: bool = True,
) -> Inputs:
    """Read the images of a folder, in sorted order, as squares of one size in [0, 1].

    PNG, JPEG, TIFF, WebP and BMP files are read, as their content says. Each image is turned
    upright according to its EXIF data, made square as `crop` says, and resized bicubically with
    antialiasing. Values are divided by the white of the file: 255, 65535 for grey
    of 16 bits, 4095 for a TIFF of 12 bits. Transparent pixels become white. Hidden files are
    ignored. Only the first page of a file is read.

    What is passed over is listed in `skipped` and told in `passed_over`. There is a warning if all
    files are dark for their number of bits, and if a subfolder has no image.

    Args:
        path: A folder with images, or with one subfolder per class (searched to any depth). If at
            least two subfolders have images, their names are the classes.
        size: Height and width in pixels, at least 1.
        channels: 1, 3, or "auto": 1 if every file is grey, otherwise 3 (a palette counts as
            colour). Colour becomes grey by ITU-R 601 luminance, grey becomes colour by repetition.
        crop: How oblong images become square: "centre" cuts out the square of the shorter side,
            "none" squeezes the whole image, "pad" fills it up with black.
        white: The number that stands for white in every file, if it is not the largest of its type:
            4095 for 12 bits in files of 16. No file may have a larger number.
        unreadable: "stop" at a file that cannot be read, or "skip" it and list it in `skipped`.
        limit: Maximum number of files, chosen at random with `seed`; None reads every file.
        seed: The same seed chooses the same files.
        in_memory: Keep all images. False reads every file once, to check it and to take the digest,
            and again whenever its image is needed; memory does not grow with the number of files.

    Returns:
        Images of shape [n, channels, size, size], their files, and labels if there are classes.

    Raises:
        OrbitLensError: If the folder does not exist or has no image, images lie beside subfolders
            with images, or a file (for "skip", every file) cannot be read.

    Example:
        >>> image_folder("no/such/folder")
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: image folder: expected an existing folder, received ...
    """
    _check_settings(size, channels, crop, white, unreadable, limit)
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise missing_extra("pillow", extra="data") from None
    root = Path(path)
    found = find_files(root)
    files = found.images
    if limit is not None and limit < len(files):
        chosen = np.random.default_rng(seed).choice(len(files), limit, replace=False)
        files = [files[i] for i in np.sort(chosen)]
    reasons: dict[str, str] = {}
    seen: list[Picture] = []
    reader = picture_reader(size, channels, white, crop)
    images = _images(root, files, reader, unreadable, reasons, seen)
    values: Tensor | LazyInputs
    if in_memory:
        values, read = _hold_images(dict(images))
    else:
        values, read = _check_images(root, images, len(files), reader)
    if white is None:
        _warn_of_dark(root, seen)
    if found.empty:
        warn(
            f"image folder {root}",
            found=f"no images in the subfolders {_few(found.empty)}",
            remedy="put their images there, or remove them if they are no classes",
        )
    return Inputs(
        name=root.resolve().name,
        values=values,
        labels=_labels(read, found.classes) if found.classes else None,
        class_names=tuple(found.classes),
        files=tuple(read),
        skipped=(*reasons, *found.others, *found.special, *(f"{name}/" for name in found.empty)),
        passed_over=tuple(_passed_over(found, len(files), reasons, seen, crop)),
        oblong=sum(picture.oblong for picture in seen),
    )


def _passed_over(
    found: FolderFiles, chosen: int, reasons: dict[str, str], seen: list[Picture], crop: str
) -> Iterator[str]:
    """Yield a sentence for each kind of thing that was not read."""
    kinds = {
        "could not be read": list(reasons),
        "of other formats": found.others,
        "of no content (a pipe, a socket or a device)": found.special,
    }
    for kind, names in kinds.items():
        if names:
            yield f"{_count(names, 'file')} {kind}: {_few(names)}."
    if found.empty:
        yield f"{_count(found.empty, 'subfolder')} without images: {_few(found.empty)}."
    if chosen < len(found.images):
        yield f"{chosen} of {len(found.images)} files were chosen at random."
    cut = [picture.cut for picture in seen if picture.cut]
    if cut:
        yield (
            f"{_count(cut, 'oblong image')} cut to the centred square, at most {max(cut):.0%} of "
            "the area lost."
        )
    oblong = [picture for picture in seen if picture.oblong]
    if oblong and crop in _SQUARED:
        yield f"{_count(oblong, 'oblong image')} {_SQUARED[crop]}."
    pages = [picture for picture in seen if picture.pages]
    if pages:
        yield f"{_count(pages, 'file')} with several pages or frames, of which the first was read."


def _count(items: list[Any], word: str) -> str:
    return f"{len(items)} {word}" + ("s" if len(items) > 1 else "")


def _few(names: list[str]) -> str:
    shown = ", ".join(map(printable, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _warn_of_dark(root: Path, seen: list[Picture]) -> None:
    """Warn if the largest number in all files of a type suggests that they have fewer bits."""
    for white in sorted({picture.white for picture in seen}):
        most = max(picture.brightest for picture in seen if picture.white == white)
        if 0 < most <= _DARK.get(white, white // 4):
            guess = 2 ** most.bit_length() - 1
            warn(
                f"image folder {root}",
                found=f"the largest number in files whose white is {white} is {most}, so that all "
                f"values are at most {most / white:.3g}",
                remedy=f"if white is {guess} in them, pass white={guess} (command line: --white "
                f"{guess}); if they are dark, pass white={white}",
            )


def _check_settings(
    size: int,
    channels: str | int,
    crop: str,
    white: int | None,
    unreadable: str,
    limit: int | None,
) -> None:
    for name, value in (("size", size), ("limit", limit), ("white", white)):
        if value is not None and value < 1:
            raise out_of_range(name, "at least 1", value)
    if channels not in ("auto", 1, 3):
        raise OrbitLensError(
            "`channels`",
            expected='"auto", 1 or 3',
            received=repr(channels),
            remedy='choose "auto" to follow the files',
        )
    if crop not in CROPS:
        raise unknown_name("`crop`", crop, CROPS)
    if unreadable not in ("stop", "skip"):
        raise unknown_name("`unreadable`", unreadable, ["stop", "skip"])


def _labels(files: list[str], classes: list[str]) -> Int64[np.ndarray, " n"]:
    return np.array([classes.index(name.split("/")[0]) for name in files], dtype=np.int64)


def _images(
    root: Path,
    files: list[str],
    read: _Reader,
    unreadable: str,
    reasons: dict[str, str],
    seen: list[Picture],
) -> Iterator[tuple[str, Pixels]]:
    """Yield readable files with their images; record what was seen, and why others fail."""
    for name in files:
        try:
            picture = quietly(read, root / name)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise a dozen kinds for a damaged file
            reasons[name] = " ".join(str(error).split()) or type(error).__name__
            if unreadable == "stop":
                raise _unreadable(f"image {root / name}", reasons[name]) from None
            continue
        seen.append(replace(picture, pixels=_NO_PIXELS))
        yield name, picture.pixels
    if len(reasons) == len(files):
        first, reason = next(iter(reasons.items()))
        raise OrbitLensError(
            f"image folder {root}",
            expected="at least one readable image",
            received=f"{len(reasons)} that cannot be read, the first being {first} ({reason})",
            remedy="check that these files are whole images",
        )


def _hold_images(images: dict[str, Pixels]) -> tuple[Tensor, list[str]]:
    widest = max(map(len, images.values()))
    stacked = np.stack([_widen(pixels, widest) for pixels in images.values()])
    return torch.from_numpy(stacked), list(images)


def _check_images(
    root: Path, images: Iterator[tuple[str, Pixels]], n: int, read: _Reader
) -> tuple[LazyInputs, list[str]]:
    """Read every image once, and return inputs that read them again.

    The hashes are computed on the way, on the assumption that all n files can be read and none has
    more channels than the first. Where this proves wrong, they are computed on demand.
    """
    root = root.absolute()  # what is read later stays the same where the process goes
    names: list[str] = []
    widths: list[int] = []
    rows: list[int] = []
    content: Any = None
    for name, pixels in images:
        names.append(name)
        widths.append(len(pixels))
        if content is None:
            content = header_hash("float32", (n, *pixels.shape))
        widened = _widen(pixels, max(widths))
        content.update(widened.data)
        rows.append(hash(widened.tobytes()))
    widest = max(widths)

    def image(i: int) -> Float32[np.ndarray, "widest size size"]:
        try:
            return _widen(quietly(read, root / names[i]).pixels, widest)
        except Exception as error:
            raise _unreadable(f"image {root / names[i]}", one_line(error)) from None

    known = len(names) == n and widest == widths[0]
    told = {"content": content, "rows": rows} if known else {}
    return LazyInputs(image, len(names), **told), names


def _widen(pixels: Pixels, channels: int) -> Float32[np.ndarray, "widest size size"]:
    """Repeat grey to the number of channels."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (channels, *pixels.shape[1:])))


def _unreadable(subject: str, reason: str) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected="a whole PNG, JPEG, TIFF, WebP or BMP image of at most 16 bits per channel",
        received=f"an error: {reason}",
        remedy='repair, convert or shrink it, or pass unreadable="skip" (command line: '
        "--unreadable skip)",
    )
