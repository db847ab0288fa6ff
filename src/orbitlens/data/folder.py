"""Images from a folder of PNG, JPEG and TIFF files, flat or with one subfolder per class."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from orbitlens.data._digest import header_hash
from orbitlens.data.base import Inputs
from orbitlens.data.lazy import LazyInputs
from orbitlens.errors import OrbitLensError, missing_extra, one_line, out_of_range, unknown_name

if TYPE_CHECKING:
    from PIL import Image

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

_Pixels = Float32[np.ndarray, "channels size size"]


def image_folder(
    path: str | Path,
    *,
    size: int = 64,
    channels: str | int = "auto",
    unreadable: str = "stop",
    limit: int | None = None,
    seed: int = 0,
    in_memory: bool = True,
) -> Inputs:
    """Read the images of a folder, in sorted order, as squares of one size in [0, 1].

    Each image is turned upright according to its EXIF data, cut to the centred square of its
    shorter side, and resized bicubically with antialiasing. Values are divided by 255, or by 65535
    for 16-bit grey images. Transparent pixels become white. Hidden files are ignored. Only the
    first page of a file is read.

    Args:
        path: A folder with images, or with one subfolder per class (searched to any depth). If at
            least two subfolders have images, their names are the classes.
        size: Height and width in pixels, at least 1.
        channels: 1, 3, or "auto": 1 if every file is grey, otherwise 3 (a palette counts as
            colour). Colour becomes grey by ITU-R 601 luminance, grey becomes colour by repetition.
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
    _check_settings(size, channels, unreadable, limit)
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise missing_extra("pillow", extra="data") from None
    root = Path(path)
    files, classes = _find(root)
    if limit is not None and limit < len(files):
        chosen = np.random.default_rng(seed).choice(len(files), limit, replace=False)
        files = [files[i] for i in np.sort(chosen)]
    reasons: dict[str, str] = {}
    reader = _reader(size, channels)
    images = _images(root, files, reader, unreadable, reasons)
    values: Tensor | LazyInputs
    if in_memory:
        values, read = _hold_images(dict(images))
    else:
        values, read = _check_images(root, images, len(files), reader)
    return Inputs(
        name=root.resolve().name,
        values=values,
        labels=_labels(read, classes) if classes else None,
        class_names=tuple(classes),
        files=tuple(read),
        skipped=tuple(reasons),
    )


def _check_settings(size: int, channels: str | int, unreadable: str, limit: int | None) -> None:
    for name, value in (("size", size), ("limit", limit)):
        if value is not None and value < 1:
            raise out_of_range(name, "at least 1", value)
    if channels not in ("auto", 1, 3):
        raise OrbitLensError(
            "`channels`",
            expected='"auto", 1 or 3',
            received=repr(channels),
            remedy='choose "auto" to follow the files',
        )
    if unreadable not in ("stop", "skip"):
        raise unknown_name("`unreadable`", unreadable, ["stop", "skip"])


def _find(root: Path) -> tuple[list[str], list[str]]:
    """Return the image files, sorted and relative to the root, and the classes, if any."""
    if not root.is_dir():
        raise OrbitLensError(
            "image folder",
            expected="a folder, not a file" if root.exists() else "an existing folder",
            received=root,
            remedy="pass the folder that holds it" if root.exists() else "check the path",
        )
    files = sorted(_walk(root))
    if not files:
        raise OrbitLensError(
            f"image folder {root}",
            expected=f"files ending in {', '.join(_ENDINGS)} (any case), here or in subfolders",
            received="none",
            remedy="convert the images to one of these, or check the path",
        )
    loose = [name for name in files if "/" not in name]
    subfolders = sorted({name.split("/")[0] for name in files if "/" in name})
    if loose and subfolders:
        raise OrbitLensError(
            f"image folder {root}",
            expected="images either in the folder itself or in one subfolder per class",
            received=f"{len(loose)} beside the subfolders {', '.join(subfolders[:3])}, "
            f"the first being {loose[0]}",
            remedy="move these images into a subfolder",
        )
    return files, subfolders if len(subfolders) > 1 else []


def _walk(root: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise OrbitLensError(
            f"image folder {error.filename}",
            expected="a folder that can be listed",
            received=f"an error: {error.strerror}",
            remedy="check its permissions",
        )

    visited = set()
    for folder, subfolders, names in os.walk(root, onerror=stop, followlinks=True):
        # A link to a folder above would otherwise be followed forever.
        visited.add(os.path.realpath(folder))
        subfolders[:] = [
            name
            for name in subfolders
            if name[0] != "." and os.path.realpath(os.path.join(folder, name)) not in visited
        ]
        for name in names:
            if name[0] != "." and Path(name).suffix.lower() in _ENDINGS:
                yield (Path(folder) / name).relative_to(root).as_posix()


def _labels(files: list[str], classes: list[str]) -> Int64[np.ndarray, " n"]:
    return np.array([classes.index(name.split("/")[0]) for name in files], dtype=np.int64)


def _images(
    root: Path,
    files: list[str],
    read: Callable[[Path], _Pixels],
    unreadable: str,
    reasons: dict[str, str],
) -> Iterator[tuple[str, _Pixels]]:
    """Yield readable files with their images, and record why other files cannot be read."""
    for name in files:
        try:
            pixels = _read(read, root / name)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise a dozen kinds for a damaged file
            reasons[name] = " ".join(str(error).split()) or type(error).__name__
            if unreadable == "stop":
                raise _unreadable(f"image {root / name}", reasons[name]) from None
            continue
        yield name, pixels
    if len(reasons) == len(files):
        first, reason = next(iter(reasons.items()))
        raise OrbitLensError(
            f"image folder {root}",
            expected="at least one readable image",
            received=f"{len(reasons)} that cannot be read, the first being {first} ({reason})",
            remedy="check that these files are whole images",
        )


def _read(read: Callable[[Path], _Pixels], path: Path) -> _Pixels:
    from PIL import Image

    with warnings.catch_warnings():
        # Odd metadata do not make an image unreadable. A size that suggests an attack does.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return read(path)


def _hold_images(images: dict[str, _Pixels]) -> tuple[Tensor, list[str]]:
    widest = max(map(len, images.values()))
    stacked = np.stack([_widen(pixels, widest) for pixels in images.values()])
    return torch.from_numpy(stacked), list(images)


def _check_images(
    root: Path, images: Iterator[tuple[str, _Pixels]], n: int, read: Callable[[Path], _Pixels]
) -> tuple[LazyInputs, list[str]]:
    """Read every image once, and return inputs that read them again.

    The hash is computed on the way, on the assumption that all n files can be read and none has
    more channels than the first. Where this proves wrong, it is computed on demand.
    """
    names: list[str] = []
    widths: list[int] = []
    content: Any = None
    for name, pixels in images:
        names.append(name)
        widths.append(len(pixels))
        if content is None:
            content = header_hash("float32", (n, *pixels.shape))
        content.update(_widen(pixels, max(widths)).data)
    widest = max(widths)

    def image(i: int) -> Float32[np.ndarray, "widest size size"]:
        try:
            return _widen(_read(read, root / names[i]), widest)
        except Exception as error:
            raise _unreadable(f"image {root / names[i]}", one_line(error)) from None

    known = len(names) == n and widest == widths[0]
    return LazyInputs(image, len(names), content=content if known else None), names


def _widen(pixels: _Pixels, channels: int) -> Float32[np.ndarray, "widest size size"]:
    """Repeat grey to the number of channels."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (channels, *pixels.shape[1:])))


def _unreadable(subject: str, reason: str) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected="a whole PNG, JPEG or TIFF image of at most 16 bits per channel",
        received=f"an error: {reason}",
        remedy='repair or shrink it, or pass unreadable="skip" (command line: --unreadable skip)',
    )


def _reader(size: int, channels: str | int) -> Callable[[Path], _Pixels]:
    from PIL import Image, ImageOps

    def read(path: Path) -> _Pixels:
        with Image.open(path) as opened:
            image, brightest = _plain(ImageOps.exif_transpose(opened))
        if channels == 1 and image.mode == "RGB":
            image = image.convert("L")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        resized = square.resize((size, size), Image.Resampling.BICUBIC)
        pixels = np.atleast_3d(np.asarray(resized, dtype=np.float32)) / np.float32(brightest)
        pixels = np.ascontiguousarray(pixels.clip(0, 1).transpose(2, 0, 1))
        return np.repeat(pixels, 3, axis=0) if channels == 3 and len(pixels) == 1 else pixels

    return read


def _plain(image: "Image.Image") -> tuple["Image.Image", int]:
    """Return the image in mode L, RGB, or F (16-bit grey), and the value of white."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image).astype(np.float32)), 65535
    if image.mode in ("I", "F"):
        raise ValueError(f"32 bits per pixel (mode {image.mode}), whose white is not known")
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        solid = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid)
    return image.convert("L" if grey else "RGB"), 255
