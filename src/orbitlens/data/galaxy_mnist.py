"""GalaxyMNIST: 10,000 galaxies in four classes of shape."""

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from orbitlens.data._download import fetch
from orbitlens.data.base import Inputs
from orbitlens.errors import (
    OrbitLensError,
    missing_extra,
    one_line,
    out_of_range,
    printable,
    unknown_name,
)
from orbitlens.files import cache_folder, new_file, one_line_errors

_CLASSES = ("smooth and round", "smooth and cigar-shaped", "edge-on disk", "unbarred spiral")
_SPLITS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}

# Addresses and MD5 sums of the authors' loader, github.com/mwalmsley/galaxy_mnist.
_HOST = "https://dl.dropboxusercontent.com/s"
_ARCHIVES = {
    (64, "train"): ("5a14de0o7slyif9", "e408ae294e9b975482dc1abffeb373a6"),
    (64, "test"): ("5rza12nn24cwd2k", "7a940e4cea64a8b7cb60339098f74490"),
    (224, "train"): ("xenuo0ekgyi10ru", "3391dcddac14d5b4055db73fb600ae63"),
    (224, "test"): ("lczri4sb4bbcgyh", "fb272c4e94000b4d99a09d638977b0b9"),
}

_Pixels = UInt8[np.ndarray, "n height width 3"]
_ClassIds = UInt8[np.ndarray, " n"]


def galaxy_mnist(split: str = "train", size: int = 64, root: str | Path | None = None) -> Inputs:
    """Return colour images of galaxies, labelled with their shapes by volunteers.

    Classes: 0 smooth and round, 1 smooth and cigar-shaped, 2 edge-on disk, 3 unbarred spiral;
    2,500 galaxies each. Labels from Galaxy Zoo DECaLS, Walmsley et al. 2022, MNRAS 509, 3966.

    The files are `train_dataset.hdf5` and `test_dataset.hdf5` with the datasets `images`
    [n, size, size, 3] and `labels` [n], both uint8. A missing file is unpacked from its `.hdf5.gz`,
    and a missing archive is downloaded. The authors' addresses have been reported as gone
    (github.com/mwalmsley/galaxy_mnist, issue 3). If the download fails, put the files into the
    folder by hand.

    Args:
        split: "train" (8,000), "test" (2,000), or "all", train before test.
        size: Height and width in pixels, 64 or 224, the published sizes. At 224, "all" takes 6 GB
            of memory.
        root: Folder of the files; None is `galaxy_mnist/64` or `/224` in the cache folder,
            `$ORBITLENS_CACHE` or `~/.cache/orbitlens`.

    Returns:
        Images of shape [n, 3, size, size], labels 0 to 3.

    Raises:
        OrbitLensError: If the split or the size is unknown, h5py is not installed, or a file cannot
            be found or downloaded, is damaged, or holds something else.

    Example:
        >>> galaxy_mnist("validation")
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: `split`: expected one of train, test, all, received ...
    """
    if split not in _SPLITS:
        raise unknown_name("`split`", split, _SPLITS)
    if (size, "train") not in _ARCHIVES:
        raise out_of_range("size", "64 or 224 pixels", size)
    try:
        import h5py  # noqa: F401
    except ImportError:
        raise missing_extra("h5py", extra="galaxy") from None
    folder = cache_folder() / "galaxy_mnist" / str(size) if root is None else Path(root)
    paths = [_find(folder, part, size) for part in _SPLITS[split]]
    parts = [_read(path, size) for path in paths]
    pixels = np.concatenate([pixels for pixels, _, _ in parts])
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return Inputs(
        name="galaxy_mnist",
        values=values.to(torch.float32, memory_format=torch.contiguous_format).div_(255),
        labels=np.concatenate([classes for _, classes, _ in parts]).astype(np.int64),
        class_names=_CLASSES,
        passed_over=tuple(
            f"{path.name} also has {', '.join(map(printable, others))}, not read."
            for path, (_, _, others) in zip(paths, parts, strict=True)
            if others
        ),
    )


def _find(folder: Path, part: str, size: int) -> Path:
    path = folder / f"{part}_dataset.hdf5"
    if path.exists():
        return path
    key, md5 = _ARCHIVES[size, part]
    archive = path.with_name(f"{path.name}.gz")
    fetch(f"{_HOST}/{key}/{archive.name}", archive, md5=md5)
    with (
        one_line_errors(path),
        new_file(path) as partial,
        gzip.open(archive) as packed,
        partial.open("wb") as unpacked,
    ):
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    return path


def _read(path: Path, size: int) -> tuple[_Pixels, _ClassIds, list[str]]:
    """Return images and labels of a file, and the names of what else is in it."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _check_layout(path, file, size)
            pixels, classes = file["images"][:], file["labels"][:]
            others = sorted(set(file) - {"images", "labels"})
    except (OSError, RuntimeError) as error:
        raise OrbitLensError(
            str(path),
            expected="a whole HDF5 file",
            received=f"an error: {one_line(error)}",
            remedy="remove it to have it unpacked or downloaded again",
        ) from error
    if classes.size and classes.max() >= len(_CLASSES):
        raise _not_galaxies(path, "labels 0 to 3", f"labels up to {classes.max()}")
    return pixels, classes, others


def _check_layout(path: Path, file: Any, size: int) -> None:
    import h5py

    datasets = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
    if not {"images", "labels"} <= set(datasets):
        found = ", ".join(datasets) or "none"
        raise _not_galaxies(path, "the datasets images and labels", found)
    images, labels = file["images"], file["labels"]
    n = images.shape[0] if images.shape else 0
    wanted = f"uint8 images [n, {size}, {size}, 3] and labels [n]"
    if (
        images.shape != (n, size, size, 3)
        or labels.shape != (n,)
        or {images.dtype, labels.dtype} != {np.dtype(np.uint8)}
    ):
        found = f"{images.dtype} {list(images.shape)} and {labels.dtype} {list(labels.shape)}"
        raise _not_galaxies(path, wanted, found)


def _not_galaxies(path: Path, expected: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        str(path),
        expected=f"{expected}, as in GalaxyMNIST",
        received=received,
        remedy="check `size`, and that the file is one of GalaxyMNIST",
    )
