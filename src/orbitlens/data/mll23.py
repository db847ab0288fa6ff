"""MLL23: single blood cells in 18 classes."""

from dataclasses import replace
from pathlib import Path

from orbitlens.data.base import Inputs
from orbitlens.data.download import cache_folder
from orbitlens.data.folder import image_folder
from orbitlens.errors import OrbitLensError

_RECORD = "https://zenodo.org/records/14277609"
CLASSES = (
    "basophil",
    "eosinophil",
    "hairy_cell",
    "lymphocyte",
    "lymphocyte_large_granular",
    "lymphocyte_neoplastic",
    "lymphocyte_reactive",
    "metamyelocyte",
    "monocyte",
    "myeloblast",
    "myelocyte",
    "neutrophil_band",
    "neutrophil_segmented",
    "normoblast",
    "plasma_cell",
    "promyelocyte",
    "promyelocyte_atypical",
    "smudge_cell",
)


def mll23(
    root: str | Path | None = None, *, size: int = 64, limit: int | None = None, seed: int = 0
) -> Inputs:
    """Read colour images of single cells in peripheral blood, labelled by cytomorphologists.

    41,906 TIFF images of 288 x 288 pixels, 25 micrometres wide. Shetab Boushehri et al. 2025,
    Scientific Data 12, 1773.

    Nothing is downloaded: the data are one ZIP archive per class, of many gigabytes in all, on
    Zenodo (https://zenodo.org/records/14277609). Unpack them side by side, so that the folder
    has 18 subfolders, each called as its class: `basophil/`, `eosinophil/`, ..., `smudge_cell/`.

    Args:
        root: The folder with one subfolder per class; None is `mll23` in the cache folder,
            `$ORBITLENS_CACHE` or `~/.cache/orbitlens`.
        size: Height and width in pixels that images are brought to, as by `image_folder`. All of
            them take 2 GB of memory at 64 and 25 GB at 224.
        limit: Read at most so many files, chosen at random with `seed`; None reads every file.
        seed: The same seed chooses the same files.

    Returns:
        Images of shape [n, 3, size, size], labels 0 to 17 in the alphabetical order of the classes,
        and their files.

    Raises:
        OrbitLensError: If there is no such folder, if its subfolders are not the 18 classes, or if
            a file cannot be read.

    Example:
        >>> mll23("no/such/folder")
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: no/such/folder: expected the 18 class folders of MLL23, ...
    """
    folder = cache_folder() / "mll23" if root is None else Path(root)
    _check_classes(folder)
    cells = image_folder(folder, size=size, channels=3, limit=limit, seed=seed)
    if cells.class_names != CLASSES:
        empty = sorted(set(CLASSES) - set(cells.class_names))
        raise _not_there(folder, f"no images in {', '.join(empty)}")
    return replace(cells, name="mll23")


def _check_classes(folder: Path) -> None:
    if not folder.is_dir():
        raise _not_there(folder, "no such folder")
    # macOS leaves the folder __MACOSX, without images, beside what it packs.
    ignored = {"__MACOSX"}
    names = {entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."}
    missing = sorted(set(CLASSES) - names)
    if missing:
        raise _not_there(folder, f"none called {', '.join(missing)}")
    unknown = sorted(names - set(CLASSES) - ignored)
    if unknown:
        raise _not_there(folder, f"also {', '.join(unknown)}")


def _not_there(folder: Path, received: str) -> OrbitLensError:
    return OrbitLensError(
        str(folder),
        expected="the 18 class folders of MLL23",
        received=received,
        remedy=f"unpack the archives of {_RECORD} there, one folder per class",
    )
