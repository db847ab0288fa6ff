"""MLL23: single blood cells in 18 classes."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from orbitlens.data._download import PublishedFile, fetch, zenodo_files
from orbitlens.data.base import Inputs
from orbitlens.data.folder import image_folder
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.files import cache_folder, new_folder, one_at_a_time, one_line_errors

_RECORD = "https://zenodo.org/records/14277609"
_FILES = "https://zenodo.org/api/records/14277609"
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

    The folder has 18 subfolders, each called as its class: `basophil/`, `eosinophil/`, ...,
    `smudge_cell/`. In the cache folder, one that is missing is unpacked from its archive, such as
    `basophil.zip`, and that is downloaded from Zenodo (https://zenodo.org/records/14277609) if it
    is not there either: many gigabytes in all, and each is removed once it is unpacked.

    Args:
        root: The folder with one subfolder per class, where nothing is downloaded; None is `mll23`
            in the cache folder, `$ORBITLENS_CACHE` or `~/.cache/orbitlens`.
        size: Height and width in pixels that images are brought to, as by `image_folder`. All of
            them take 2 GB of memory at 64 and 25 GB at 224.
        limit: Read at most so many files, chosen at random with `seed`; None reads every file.
        seed: The same seed chooses the same files.

    Returns:
        Images of shape [n, 3, size, size], labels 0 to 17 in the alphabetical order of the classes,
        and their files.

    Raises:
        OrbitLensError: If there is no such folder, if its subfolders are not the 18 classes, if an
            archive can neither be found nor downloaded or is damaged, or if a file cannot be read.

    Example:
        >>> mll23("no/such/folder")
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: no/such/folder: expected the 18 class folders of MLL23, ...
    """
    folder = _cached() if root is None else Path(root)
    _check_classes(folder)
    cells = image_folder(folder, size=size, channels=3, limit=limit, seed=seed)
    if cells.class_names != CLASSES:
        empty = sorted(set(CLASSES) - set(cells.class_names))
        raise _not_there(folder, f"no images in {', '.join(empty)}")
    return replace(cells, name="mll23")


def _cached() -> Path:
    """The cache folder, once every class is there."""
    folder = cache_folder() / "mll23"
    with one_line_errors(folder), one_at_a_time(folder.parent):
        missing = [name for name in CLASSES if not (folder / name).is_dir()]
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
    """The archives of the record, all that are wanted among them."""
    try:
        published = zenodo_files(_FILES)
    except OrbitLensError as error:
        raise _not_there(folder, f"none called {', '.join(absent)}, and {error}") from error
    unknown = [name for name in absent if f"{name}.zip" not in published]
    if unknown:
        raise _not_there(folder, f"a record without {', '.join(unknown)}")
    return published


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the images of a class, wherever in the archive they lie."""
    try:
        with zipfile.ZipFile(archive) as packed, new_folder(folder) as part:
            for entry in packed.infolist():
                inside = PurePosixPath(entry.filename)
                # macOS packs a hidden companion of every file, and the folder __MACOSX for them.
                if entry.is_dir() or inside.name[0] == "." or "__MACOSX" in inside.parts:
                    continue
                with packed.open(entry) as source, (part / inside.name).open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, EOFError, FileExistsError) as error:
        raise OrbitLensError(
            str(archive),
            expected="a whole ZIP archive of images with distinct names",
            received=one_line(error),
            remedy="remove it to have it downloaded again",
        ) from error


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
