"""MLL23: single blood cells in 18 classes."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from orbitlens.data._download import PublishedFile, fetch, zenodo_files
from orbitlens.data._folder_files import find_files
from orbitlens.data.base import Inputs
from orbitlens.data.folder import image_folder
from orbitlens.errors import OrbitLensError, one_line, printable
from orbitlens.files import cache_folder, new_folder, one_at_a_time, one_line_errors

_RECORD = "https://zenodo.org/records/14277609"
_FILES = "https://zenodo.org/api/records/14277609"
MLL23_CLASSES = (
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

    The folder has one subfolder for each of the 18 classes: `basophil/`, `eosinophil/`, ...,
    `smudge_cell/`. In the cache folder, missing subfolders are unpacked from archives such as
    `basophil.zip`. Missing archives are downloaded from Zenodo
    (https://zenodo.org/records/14277609), many gigabytes in all, and removed after unpacking.

    Args:
        root: The folder with one subfolder per class; nothing is downloaded there. None is `mll23`
            in the cache folder, `$ORBITLENS_CACHE` or `~/.cache/orbitlens`.
        size: Height and width in pixels, as for `image_folder`. All images take 2 GB of memory at
            64 and 25 GB at 224.
        limit: Maximum number of files, chosen at random with `seed`; None reads every file.
        seed: The same seed chooses the same files.

    Returns:
        Images of shape [n, 3, size, size], labels 0 to 17 in the order of `MLL23_CLASSES`, which is
        alphabetical, and their files.

    Raises:
        OrbitLensError: If there is no such folder, its subfolders are not the 18 classes, an
            archive is damaged or cannot be found or downloaded, or a file cannot be read.

    Example:
        >>> mll23("no/such/folder")
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: no/such/folder: expected the 18 class folders of MLL23, ...
    """
    folder = _fill_cache() if root is None else Path(root)
    _check_classes(folder)
    empty = find_files(folder).empty
    if empty:
        raise _not_there(folder, f"no images in {', '.join(empty)}")
    cells = image_folder(folder, size=size, channels=3, limit=limit, seed=seed)
    return replace(cells, name="mll23")


def _fill_cache() -> Path:
    """Fill the cache folder with every class, and return it."""
    folder = cache_folder() / "mll23"
    with one_line_errors(folder), one_at_a_time(folder.parent):
        missing = [name for name in MLL23_CLASSES if not (folder / name).is_dir()]
        absent = [name for name in missing if not (folder / f"{name}.zip").exists()]
        published = _published(folder, absent) if absent else {}
        for name in missing:
            archive = folder / f"{name}.zip"
            if name in absent:
                file = published[archive.name]
                fetch(file.url, archive, md5=file.md5, size=file.size)
            _unpack(archive, folder / name)
            if name in absent:
                archive.unlink()
    return folder


def _published(folder: Path, absent: list[str]) -> dict[str, PublishedFile]:
    """Return the archives of the record by name; all absent classes are among them."""
    try:
        published = zenodo_files(_FILES)
    except OrbitLensError as error:
        raise _not_there(folder, f"none called {', '.join(absent)}, and {error}") from error
    unknown = [name for name in absent if f"{name}.zip" not in published]
    if unknown:
        raise _not_there(folder, f"a record without {', '.join(unknown)}")
    return published


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the images of a class from any folder of the archive."""
    try:
        with zipfile.ZipFile(archive) as packed, new_folder(folder) as part:
            for entry in packed.infolist():
                inside = PurePosixPath(entry.filename)
                # macOS adds a hidden companion of every file, and the folder __MACOSX for them.
                if entry.is_dir() or inside.name[0] == "." or "__MACOSX" in inside.parts:
                    continue
                if (part / inside.name).exists():
                    raise zipfile.BadZipFile(f"two files called {printable(inside.name)}")
                with packed.open(entry) as source, (part / inside.name).open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, EOFError) as error:
        raise OrbitLensError(
            str(archive),
            expected="a whole ZIP archive of images with distinct names",
            received=one_line(error),
            remedy="remove it to have it downloaded again",
        ) from error


def _check_classes(folder: Path) -> None:
    if not folder.is_dir():
        raise _not_there(folder, "no such folder")
    names = {entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."}
    missing = sorted(set(MLL23_CLASSES) - names)
    if missing:
        raise _not_there(folder, f"none called {', '.join(missing)}")
    # macOS adds the folder __MACOSX, without images.
    unknown = sorted(names - {*MLL23_CLASSES, "__MACOSX"})
    if unknown:
        raise _not_there(folder, f"also {', '.join(unknown)}")


def _not_there(folder: Path, received: str) -> OrbitLensError:
    return OrbitLensError(
        str(folder),
        expected="the 18 class folders of MLL23",
        received=received,
        remedy=f"unpack the archives of {_RECORD} there, one folder per class",
    )
